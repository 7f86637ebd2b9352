//! A container's output in json-file form: one JSON object a line, rotated by size.

use std::collections::BTreeMap;
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
    /// The labels and variables that `--log-opt labels` and `env` select.
    #[serde(default, rename = "attrs", skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
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
///
/// A disk that is full does not end the log: what cannot be written is counted, and where there
/// is room again an entry says how much is missing.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
    /// What has no line feed yet, of standard output and standard error.
    partial: [Vec<u8>; 2],
    /// Whether the last entry of each stream has no line feed.
    open_line: [bool; 2],
    missing: Option<Missing>,
}

/// Output that could not be written.
#[derive(Debug)]
struct Missing {
    bytes: u64,
    why: String,
}

impl Missing {
    fn sentence(&self) -> String {
        format!("{} bytes of output are missing here: {}", self.bytes, self.why)
    }
}

fn open(directory: &Path) -> Result<(File, u64)> {
    let path = path(directory);
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create(true).mode(0o600).open(&path).map_err(file("open", &path))?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    Ok((file, size))
}

/// Where to cut `bytes` so that at most `most` of them are before, and no character is on both
/// sides (UTF-8, RFC 3629).
fn cut(bytes: &[u8], most: usize) -> usize {
    for back in 1..=3.min(most) {
        let length = match bytes.get(most - back) {
            Some(0x80..=0xbf) => continue,
            Some(0xc2..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf4) => 4,
            _ => 1,
        };
        return if length > back { most - back } else { most };
    }
    most
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
            partial: Default::default(),
            open_line: Default::default(),
            missing: None,
        }))
    }

    /// Takes output, and writes the lines that are complete. Gives a remark where the log has
    /// begun to miss output.
    pub(super) fn write(&mut self, stderr: bool, data: &[u8]) -> Option<String> {
        let was_missing = self.missing.is_some();
        let mut kept = std::mem::take(self.partial(stderr));
        kept.extend_from_slice(data);
        let mut rest = kept.as_slice();
        loop {
            let end = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) if end < MAX_LINE => end + 1,
                _ if rest.len() >= MAX_LINE => cut(rest, MAX_LINE),
                _ => break,
            };
            let (line, more) = rest.split_at(end);
            rest = more;
            self.entry(stderr, line);
        }
        *self.partial(stderr) = rest.to_vec();
        let missing = self.missing.as_ref().filter(|_| !was_missing)?;
        Some(format!("the log misses output until there is room again: {}", missing.why))
    }

    fn partial(&mut self, stderr: bool) -> &mut Vec<u8> {
        let [stdout, of_stderr] = &mut self.partial;
        if stderr { of_stderr } else { stdout }
    }

    /// Writes what has no line feed yet, and what is missing.
    pub(super) fn finish(&mut self) {
        for stderr in [false, true] {
            let rest = std::mem::take(self.partial(stderr));
            if !rest.is_empty() {
                self.entry(stderr, &rest);
            }
        }
        let _ = self.close_gap();
    }

    /// What is missing at the end of the log, in words.
    pub(super) fn gap(&self) -> Option<String> {
        self.missing.as_ref().map(|missing| format!("the log: {}", missing.sentence()))
    }

    /// Writes an entry, or counts what is missing.
    fn entry(&mut self, stderr: bool, line: &[u8]) {
        let written = self.close_gap().and_then(|()| self.append(stderr, line));
        if let Err(error) = written {
            let missing =
                self.missing.get_or_insert_with(|| Missing { bytes: 0, why: error.to_string() });
            missing.bytes += line.len() as u64;
        }
    }

    /// Says what is missing, where that can be written by now. A line that was cut off by the
    /// gap ends there.
    fn close_gap(&mut self) -> Result<()> {
        let Some(missing) = &self.missing else { return Ok(()) };
        let text = format!("husk: {}\n", missing.sentence());
        let [stdout, stderr] = self.open_line;
        if stdout {
            self.append(false, b"\n")?;
        }
        if stderr {
            self.append(true, b"\n")?;
        }
        self.append(true, text.as_bytes())?;
        self.missing = None;
        Ok(())
    }

    fn append(&mut self, stderr: bool, line: &[u8]) -> Result<()> {
        let entry = Entry {
            log: String::from_utf8_lossy(line).into_owned(),
            stream: if stderr { "stderr" } else { "stdout" }.to_owned(),
            attributes: self.options.attributes.clone(),
            time: crate::clock::timestamp(),
        };
        let mut text = serde_json::to_vec(&entry).unwrap_or_default();
        text.push(b'\n');
        let length = text.len() as u64;
        if self.size > 0 && self.size + length > self.options.max_size {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(&text) {
            // Half an entry would make the next one unreadable, too.
            let _ = self.file.set_len(self.size);
            return Err(file("write", path(&self.directory))(error));
        }
        self.size += length;
        let [of_stdout, of_stderr] = &mut self.open_line;
        *(if stderr { of_stderr } else { of_stdout }) = line.last() != Some(&b'\n');
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
        // The new file first: where there is no room for it everything stays as it is.
        let new = self.directory.join("log.json.new");
        let mut options = OpenOptions::new();
        options.append(true).create(true).truncate(false).mode(0o600);
        let opened = options.open(&new).map_err(file("open", &new))?;
        for number in (1..keep).rev() {
            let from = numbered(&self.directory, number);
            if from.exists() {
                let to = numbered(&self.directory, number + 1);
                std::fs::rename(&from, &to).map_err(file("rename", &from))?;
            }
        }
        let first = numbered(&self.directory, 1);
        std::fs::rename(&current, &first).map_err(file("rename", &current))?;
        std::fs::rename(&new, &current).map_err(file("rename", &new))?;
        (self.file, self.size) = (opened, 0);
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
        assert_eq!(log.write(false, b"one\ntw"), None);
        assert_eq!(log.write(true, b"error\n"), None);
        assert_eq!(log.write(false, b"o\nrest"), None);
        log.finish();
        let texts: Vec<(String, String)> =
            entries(&path(directory.path())).into_iter().map(|e| (e.stream, e.log)).collect();
        let expected =
            [("stdout", "one\n"), ("stderr", "error\n"), ("stdout", "two\n"), ("stdout", "rest")];
        assert_eq!(texts, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn rotates_and_keeps_as_many_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size: 200, max_files: 2, ..LogOptions::default() };
        let mut log = Log::open(directory.path(), &options).unwrap().unwrap();
        for number in 0..20 {
            assert_eq!(log.write(false, format!("line {number}\n").as_bytes()), None);
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
        assert_eq!(log.write(false, &vec![b'x'; MAX_LINE * 2 + 1]), None);
        log.finish();
        let lengths: Vec<usize> =
            entries(&path(directory.path())).iter().map(|entry| entry.log.len()).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 1]);
    }

    #[test]
    fn a_cut_is_between_characters() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), &LogOptions::default()).unwrap().unwrap();
        for character in ["ä", "€", "😀"] {
            let line = format!("{}{character}\n", "x".repeat(MAX_LINE - 1));
            assert_eq!(log.write(false, line.as_bytes()), None);
        }
        let texts: Vec<String> =
            entries(&path(directory.path())).into_iter().map(|entry| entry.log).collect();
        assert!(texts.iter().all(|text| !text.contains('\u{fffd}')));
        assert_eq!(texts.get(1).unwrap(), "ä\n");
        assert_eq!(cut(b"\x80\x80\x80\x80\x80", 4), 4, "what is not UTF-8 is cut anywhere");
        assert_eq!(cut("aä".as_bytes(), 3), 3);
        assert_eq!(cut("aä".as_bytes(), 2), 1);
    }

    #[test]
    fn a_log_goes_on_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), &LogOptions::default()).unwrap().unwrap();
        assert_eq!(log.write(false, b"before\n"), None);
        let good = std::mem::replace(
            &mut log.file,
            OpenOptions::new().append(true).open("/dev/full").unwrap(),
        );
        let remark = log.write(false, b"lost\n").unwrap();
        assert!(remark.contains("No space left on device"), "{remark}");
        assert_eq!(log.write(false, b"lost too\n"), None, "it is told once");
        assert!(log.gap().unwrap().contains("14 bytes"), "{:?}", log.gap());
        log.file = good;
        assert_eq!(log.write(false, b"after\n"), None);
        assert_eq!(log.gap(), None);
        let texts: Vec<(String, String)> =
            entries(&path(directory.path())).into_iter().map(|e| (e.stream, e.log)).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert_eq!(texts[0].1, "before\n");
        assert_eq!(texts[1].0, "stderr");
        assert!(texts[1].1.starts_with("husk: 14 bytes of output are missing here: "), "{texts:?}");
        assert_eq!(texts[2].1, "after\n");
    }
}
