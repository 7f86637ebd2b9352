//! A container's output in json-file form: one JSON object a line, rotated by size.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::config::LogOptions;
use crate::error::{Result, file};

/// A line longer than this is written in several entries, of which only the last ends
/// with a line feed; as Docker's.
const MAX_LINE: usize = 16 << 10;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The text, with its line feed.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339.
    pub time: String,
}

/// The log's current file.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("log.json")
}

/// The files of a log, oldest first.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let older = (1..).map(|number| numbered(directory, number)).take_while(|path| path.exists());
    let mut files: Vec<PathBuf> = older.collect();
    files.reverse();
    files.push(path(directory));
    files
}

fn numbered(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("log.json.{number}"))
}

/// Writes entries.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn open(directory: &Path) -> Result<(File, u64)> {
    let path = path(directory);
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create(true).mode(0o600).open(&path).map_err(file("open", &path))?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    Ok((file, size))
}

impl Log {
    /// Goes on where an earlier run ended; `None` where nothing is to be kept.
    ///
    /// # Errors
    /// The errno of open(2).
    pub(super) fn open(directory: &Path, options: &LogOptions) -> Result<Option<Self>> {
        if options.disabled {
            return Ok(None);
        }
        let (file, size) = open(directory)?;
        Ok(Some(Self {
            directory: directory.to_owned(),
            options: options.clone(),
            file,
            size,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }))
    }

    /// Takes output, and writes the lines that are complete.
    ///
    /// # Errors
    /// The errno of write(2), for example of a full disk; what was not written is lost.
    pub(super) fn write(&mut self, stderr: bool, data: &[u8]) -> Result<()> {
        let buffer = if stderr { &mut self.stderr } else { &mut self.stdout };
        let mut kept = std::mem::take(buffer);
        kept.extend_from_slice(data);
        let mut rest = kept.as_slice();
        let mut written = Ok(());
        loop {
            let end = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) if end < MAX_LINE => end + 1,
                _ if rest.len() >= MAX_LINE => MAX_LINE,
                _ => break,
            };
            let (line, more) = rest.split_at(end);
            rest = more;
            written = written.and(self.entry(stderr, line));
        }
        let rest = rest.to_vec();
        *(if stderr { &mut self.stderr } else { &mut self.stdout }) = rest;
        written
    }

    /// Writes what has no line feed yet.
    ///
    /// # Errors
    /// The errno of write(2).
    pub(super) fn finish(&mut self) -> Result<()> {
        for stderr in [false, true] {
            let buffer = if stderr { &mut self.stderr } else { &mut self.stdout };
            let rest = std::mem::take(buffer);
            if !rest.is_empty() {
                self.entry(stderr, &rest)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, stderr: bool, line: &[u8]) -> Result<()> {
        let entry = Entry {
            log: String::from_utf8_lossy(line).into_owned(),
            stream: if stderr { "stderr" } else { "stdout" }.to_owned(),
            time: crate::clock::timestamp(),
        };
        let mut text = serde_json::to_vec(&entry).unwrap_or_default();
        text.push(b'\n');
        let length = text.len() as u64;
        if self.size > 0 && self.size + length > self.options.max_size {
            self.rotate()?;
        }
        self.file.write_all(&text).map_err(file("write", path(&self.directory)))?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let keep = self.options.max_files.saturating_sub(1);
        let current = path(&self.directory);
        if keep == 0 {
            self.file.set_len(0).map_err(file("truncate", &current))?;
            self.size = 0;
            return Ok(());
        }
        for number in (1..keep).rev() {
            let from = numbered(&self.directory, number);
            if from.exists() {
                let to = numbered(&self.directory, number + 1);
                std::fs::rename(&from, &to).map_err(file("rename", &from))?;
            }
        }
        let first = numbered(&self.directory, 1);
        std::fs::rename(&current, &first).map_err(file("rename", &current))?;
        (self.file, self.size) = open(&self.directory)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path) -> Vec<Entry> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_put_together() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), &LogOptions::default()).unwrap().unwrap();
        log.write(false, b"one\ntw").unwrap();
        log.write(true, b"error\n").unwrap();
        log.write(false, b"o\nrest").unwrap();
        log.finish().unwrap();
        let texts: Vec<(String, String)> =
            entries(&path(directory.path())).into_iter().map(|e| (e.stream, e.log)).collect();
        let expected =
            [("stdout", "one\n"), ("stderr", "error\n"), ("stdout", "two\n"), ("stdout", "rest")];
        assert_eq!(texts, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn rotates_and_keeps_as_many_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let options = LogOptions { disabled: false, max_size: 200, max_files: 2 };
        let mut log = Log::open(directory.path(), &options).unwrap().unwrap();
        for number in 0..20 {
            log.write(false, format!("line {number}\n").as_bytes()).unwrap();
        }
        let files = files(directory.path());
        assert_eq!(files.len(), 2);
        for file in &files {
            assert!(std::fs::metadata(file).unwrap().len() <= 200);
        }
        assert_eq!(entries(files.last().unwrap()).last().unwrap().log, "line 19\n");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), &LogOptions::default()).unwrap().unwrap();
        log.write(false, &vec![b'x'; MAX_LINE * 2 + 1]).unwrap();
        log.finish().unwrap();
        let lengths: Vec<usize> =
            entries(&path(directory.path())).iter().map(|entry| entry.log.len()).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 1]);
    }
}
