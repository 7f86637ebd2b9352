//! Reading a container's log.
//!
//! A line is what ends in a line feed, and not an entry of the log's file: a long one is written
//! in several entries, which rotation may put into several files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::cancel::Cancel;
use crate::clock::{self, Instant};
use crate::container::Container;
use crate::error::{Error, Result, file};
use crate::monitor::protocol::{Attachment, Event, Request};
use crate::monitor::{Entry, log_files};

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    /// The last so many lines; `None` for all.
    pub tail: Option<usize>,
    /// Lines that began no earlier.
    pub since: Option<Instant>,
    /// Lines that began no later.
    pub until: Option<Instant>,
    /// Go on as more is written, until the container has ended.
    pub follow: bool,
    /// Ends that.
    pub cancel: Option<Arc<Cancel>>,
}

/// A line, or a part of one that is longer than an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether it was written to standard error.
    pub stderr: bool,
    /// When, RFC 3339.
    pub time: String,
    /// The text, with the line feed where it is the line's end.
    pub text: String,
    /// Whether it is the line's beginning.
    pub begins: bool,
    /// The labels and variables that were selected for the log.
    pub attributes: BTreeMap<String, String>,
}

impl Piece {
    /// The attributes in the form of `--details`: `NAME=VALUE`, by name, with commas between
    /// and both escaped as in a query of a URL.
    pub fn details(&self) -> String {
        let escaped = |text: &str| {
            let mut out = String::new();
            for byte in text.bytes() {
                match byte {
                    b' ' => out.push('+'),
                    b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
                    byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
                    byte => out.push_str(&format!("%{byte:02X}")),
                }
            }
            out
        };
        let pairs = self.attributes.iter();
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        pairs.join(",")
    }
}

/// Hands the wanted part of a log to `sink`, piece by piece; ends with the sink's error.
///
/// # Errors
/// A container without a log; a file that cannot be read.
pub fn read(
    container: &Container,
    request: &LogRequest,
    sink: &mut dyn FnMut(&Piece) -> Result<()>,
) -> Result<()> {
    if container.record.config.log.disabled {
        return Err(Error::other(format_args!(
            "container {} has no log: its log driver is none",
            container.record.name
        )));
    }
    // Before the log is read: what is written from here on is told.
    let follower = request.follow.then(|| Follower::new(container)).transpose()?;
    let mut files = open_all(&container.directory)?;
    let mut skip = 0;
    if let Some(tail) = request.tail {
        let mut count = 0_usize;
        let mut selection = Selection::new(request, 0);
        for (opened, _) in &mut files {
            each_piece(opened, &mut selection, &mut |piece| {
                count += usize::from(piece.begins);
                Ok(())
            })?;
            opened.seek(SeekFrom::Start(0)).map_err(file("seek in", "the log"))?;
        }
        skip = count.saturating_sub(tail);
    }
    let mut selection = Selection::new(request, skip);
    for (opened, _) in &mut files {
        each_piece(opened, &mut selection, sink)?;
    }
    match (follower, files.pop()) {
        (Some(follower), Some((opened, _))) => {
            follower.follow(container, opened, request, &mut selection, sink)
        }
        (Some(follower), None) => {
            let path = container.directory.join("log.json");
            match File::open(&path) {
                Ok(opened) => {
                    let opened = BufReader::new(opened);
                    follower.follow(container, opened, request, &mut selection, sink)
                }
                // It was never started.
                Err(_) => Ok(()),
            }
        }
        (None, _) => Ok(()),
    }
}

type Opened = BufReader<File>;

/// The files, oldest first, all open before one is read: a rotation meanwhile takes none away.
/// One that is rotated between is there twice, and is taken once.
fn open_all(directory: &Path) -> Result<Vec<(Opened, u64)>> {
    let mut files: Vec<(Opened, u64)> = Vec::new();
    for path in log_files(directory) {
        let Some((opened, inode)) = open(&path)? else { continue };
        if files.iter().all(|(_, known)| *known != inode) {
            files.push((opened, inode));
        }
    }
    Ok(files)
}

fn open(path: &Path) -> Result<Option<(Opened, u64)>> {
    match File::open(path) {
        Ok(opened) => {
            let inode = opened.metadata().map_err(file("stat", path))?.ino();
            Ok(Some((BufReader::new(opened), inode)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("open", path)(error)),
    }
}

/// What has been decided about lines, of which more may come.
struct Selection {
    since: Option<Instant>,
    until: Option<Instant>,
    /// So many lines are left out.
    skip: usize,
    /// Of standard output and standard error: whether a line has begun that has not ended, and
    /// whether it is wanted.
    lines: [Option<bool>; 2],
}

impl Selection {
    fn new(request: &LogRequest, skip: usize) -> Self {
        Self { since: request.since, until: request.until, skip, lines: [None; 2] }
    }

    /// The entry as a piece, where it is wanted.
    fn take(&mut self, entry: Entry) -> Option<Piece> {
        let stderr = entry.stream == "stderr";
        let [of_stdout, of_stderr] = self.lines;
        let begun = if stderr { of_stderr } else { of_stdout };
        let wanted = begun.unwrap_or_else(|| self.wants(&entry.time));
        let ends = entry.log.ends_with('\n');
        let [of_stdout, of_stderr] = &mut self.lines;
        *(if stderr { of_stderr } else { of_stdout }) = (!ends).then_some(wanted);
        let Entry { log: text, time, attributes, .. } = entry;
        wanted.then_some(Piece { stderr, time, text, begins: begun.is_none(), attributes })
    }

    /// Whether a line that begins at this time is wanted.
    fn wants(&mut self, time: &str) -> bool {
        // What has no time that can be read is rather shown than hidden.
        let in_time = clock::instant(time).is_none_or(|time| {
            self.since.is_none_or(|since| time >= since)
                && self.until.is_none_or(|until| time <= until)
        });
        if in_time && self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        in_time
    }
}

/// Reads whole entries up to the end of the file; a half one is left for the next time.
fn each_piece(
    opened: &mut Opened,
    selection: &mut Selection,
    sink: &mut dyn FnMut(&Piece) -> Result<()>,
) -> Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = opened.read_until(b'\n', &mut line).map_err(file("read", "the log"))?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let back = i64::try_from(length).unwrap_or_default();
            opened.seek_relative(-back).map_err(file("seek in", "the log"))?;
            return Ok(());
        }
        if let Ok(entry) = serde_json::from_slice(&line)
            && let Some(piece) = selection.take(entry)
        {
            sink(&piece)?;
        }
    }
}

/// Waits for more: inotify(7) for the log's directory, the monitor for the container's end.
struct Follower {
    changes: OwnedFd,
    /// `None` where no monitor lives.
    end: Option<Attachment>,
}

impl Follower {
    fn new(container: &Container) -> Result<Self> {
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(file("make", "an inotify instance"))?;
        let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&changes, &container.directory, wanted)
            .map_err(file("watch", &container.directory))?;
        let end = Attachment::connect(&container.run)?;
        let end = end.filter(|end| end.send(&Request::Wait).is_ok());
        Ok(Self { changes, end })
    }

    fn follow(
        mut self,
        container: &Container,
        mut opened: Opened,
        request: &LogRequest,
        selection: &mut Selection,
        sink: &mut dyn FnMut(&Piece) -> Result<()>,
    ) -> Result<()> {
        loop {
            // Decided before the log is read: what was written until the end is read after it.
            let over =
                self.end.is_none() || request.until.is_some_and(|until| clock::now() > until);
            each_piece(&mut opened, selection, sink)?;
            while let Some(next) = next_file(&container.directory, &opened)? {
                // What was written between the last look and the rotation.
                each_piece(&mut opened, selection, sink)?;
                opened = next;
                each_piece(&mut opened, selection, sink)?;
            }
            if over {
                return Ok(());
            }
            self.wait(request)?;
        }
    }

    /// Until something is written, or the container has ended, or `--until` has come.
    fn wait(&mut self, request: &LogRequest) -> Result<()> {
        let Some(end) = &self.end else { return Ok(()) };
        let limit = request.until.map(clock::until);
        let spec = limit.and_then(|limit| Timespec::try_from(limit).ok());
        // Where nothing can cancel it, a third descriptor is as good as none.
        let cancel = request.cancel.as_ref().map_or(self.changes.as_fd(), |cancel| cancel.as_fd());
        let mut fds = [
            PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(end.0.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(cancel, PollFlags::IN),
        ];
        match poll(&mut fds, spec.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(file("poll", "the log's changes")(errno)),
        }
        let [changes, ended, cancelled] = fds.map(|fd| !fd.revents().is_empty());
        if cancelled && request.cancel.is_some() {
            return Err(Error::ConsumerGone);
        }
        if changes {
            // What has changed is looked for in the files.
            let mut buffer = [0; 4096];
            while rustix::io::read(&self.changes, &mut buffer[..]).is_ok_and(|length| length > 0) {}
        }
        if ended {
            match end.receive().map_err(file("read from", "the container's monitor"))? {
                Some(Event::Exited(_)) | None => self.end = None,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The file that is written after `opened` where the log was rotated; one that was cut to nothing
/// is read from its beginning again.
fn next_file(directory: &Path, opened: &Opened) -> Result<Option<Opened>> {
    let meta = opened.get_ref().metadata().map_err(file("stat", "the log"))?;
    let paths: Vec<PathBuf> = log_files(directory);
    let mut at = None;
    for (index, path) in paths.iter().enumerate() {
        if std::fs::metadata(path)
            .is_ok_and(|one| one.ino() == meta.ino() && one.dev() == meta.dev())
        {
            at = Some(index);
        }
    }
    let next = match at {
        Some(index) if index + 1 == paths.len() => {
            let mut position = opened.get_ref();
            let position = position.stream_position().map_err(file("seek in", "the log"))?;
            if meta.len() >= position {
                return Ok(None);
            }
            paths.get(index)
        }
        Some(index) => paths.get(index + 1),
        // It was removed: the oldest that is left comes next.
        None => paths.first(),
    };
    let Some(next) = next else { return Ok(None) };
    Ok(open(next)?.map(|(opened, _)| opened))
}
