//! Reading the journal, and following it by inotify(7).

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, inotify};
use rustix::io::Errno;

use super::parse::{Damage, Found, Lines};
use super::{Event, Filters, JOURNAL, Journal, OLDER};
use crate::clock::{self, Instant};
use crate::error::{Error, Result, file};
use crate::home::make_directory;

/// How long a record without its end is given to be written to its end: a reader can see a part
/// of a write(2) that is under way.
const PATIENCE: Duration = Duration::from_millis(20);

/// Which events are wanted.
#[derive(Debug, Default)]
pub struct EventRequest {
    /// Events no earlier than this, those of before the call included; `None` for what happens
    /// from now on.
    pub since: Option<Instant>,
    /// Events no later than this; `None` for no end.
    pub until: Option<Instant>,
    /// Events that pass these.
    pub filters: Filters,
    /// When this becomes readable, or is closed at its other end, [`read`] returns.
    pub stop: Option<OwnedFd>,
}

/// What the journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event that was asked for.
    Event(Event),
    /// A part that could not be read, and was skipped.
    Damage(Damage),
}

/// Hands events to `sink` in the order of the journal, those to come as they happen, until
/// `until` or `stop`; ends with the sink's error.
///
/// # Errors
/// A journal that cannot be read or watched; what `sink` returns.
pub fn read(
    journal: &Journal,
    request: &EventRequest,
    sink: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let is_past = |until: Instant| until <= clock::now();
    let mut reader = Reader::new(journal, request)?;
    // Decided before the journal is read: what was written until then is read after it.
    while !request.until.is_some_and(is_past) {
        reader.read_all(sink)?;
        if reader.wait()? == Woken::Stopped {
            return Ok(());
        }
    }
    reader.read_all(sink)?;
    reader.read_partial(sink)
}

#[derive(PartialEq, Eq)]
enum Woken {
    Changed,
    Stopped,
}

/// One file of the journal.
struct Part {
    file: File,
    path: PathBuf,
    lines: Lines,
}

impl Part {
    fn open(path: PathBuf) -> Result<Option<Self>> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let opened = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(file("open", &path))?,
        };
        if !opened.metadata().map_err(file("stat", &path))?.is_file() {
            let path = path.display();
            return Err(Error::other(format_args!("{path}: not a regular file; remove it")));
        }
        Ok(Some(Self { file: opened, path, lines: Lines::default() }))
    }

    fn skip_to_end(&mut self) -> Result<()> {
        let end = self.file.seek(SeekFrom::End(0)).map_err(file("seek in", &self.path))?;
        self.lines = Lines::at(end);
        Ok(())
    }

    fn is_at(&self, path: &std::path::Path) -> bool {
        let named = std::fs::metadata(path);
        let own = self.file.metadata();
        named.is_ok_and(|named| {
            own.is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
        })
    }

    fn read(
        &mut self,
        request: &EventRequest,
        sink: &mut dyn FnMut(&Entry) -> Result<()>,
    ) -> Result<()> {
        let length = self.file.metadata().map_err(file("stat", &self.path))?.len();
        if length < self.lines.position() {
            // Somebody has cut it.
            self.file.seek(SeekFrom::Start(0)).map_err(file("seek in", &self.path))?;
            self.lines = Lines::default();
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = self.file.read(&mut buffer).map_err(file("read", &self.path))?;
            if length == 0 {
                return Ok(());
            }
            let bytes = buffer.get(..length).unwrap_or_default();
            let path = &self.path;
            self.lines.push(bytes, &mut |found| hand_on(found, path, request, sink))?;
        }
    }
}

fn hand_on(
    found: Found,
    path: &std::path::Path,
    request: &EventRequest,
    sink: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let Found { offset, damaged, event } = found;
    if damaged > 0 {
        sink(&Entry::Damage(Damage { path: path.to_owned(), offset, length: damaged }))?;
    }
    let in_time = |event: &Event| {
        request.since.is_none_or(|since| event.time() >= since)
            && request.until.is_none_or(|until| event.time() <= until)
    };
    match event.filter(|event| in_time(event) && request.filters.include(event)) {
        Some(event) => sink(&Entry::Event(event)),
        None => Ok(()),
    }
}

struct Reader<'a> {
    journal: &'a Journal,
    request: &'a EventRequest,
    changes: OwnedFd,
    /// The file before the current one: who had it open may still write to it.
    older: Option<Part>,
    current: Option<Part>,
}

impl<'a> Reader<'a> {
    fn new(journal: &'a Journal, request: &'a EventRequest) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).map_err(|errno| {
            Error::other(format_args!(
                "cannot follow events: inotify_init1: {errno}; fs.inotify.max_user_instances \
                 limits how many programs can watch files"
            ))
        })?;
        let directory = &journal.directory;
        make_directory(directory)?;
        let wanted = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE;
        // Before anything is read: what is written from here on is reported.
        inotify::add_watch(&changes, directory, wanted).map_err(file("watch", directory))?;
        let mut current = Part::open(directory.join(JOURNAL))?;
        let mut older = Part::open(directory.join(OLDER))?;
        if request.since.is_none() {
            for part in [&mut older, &mut current].into_iter().flatten() {
                part.skip_to_end()?;
            }
        }
        Ok(Self { journal, request, changes, older, current })
    }

    fn read_all(&mut self, sink: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<()> {
        loop {
            for part in [&mut self.older, &mut self.current].into_iter().flatten() {
                part.read(self.request, sink)?;
            }
            let path = self.journal.directory.join(JOURNAL);
            let older = self.journal.directory.join(OLDER);
            let is_at = |path| self.current.as_ref().is_none_or(|part| part.is_at(path));
            if self.current.is_some() && is_at(&path) {
                return Ok(());
            }
            // Replaced; twice since the last look if it is not even the older one.
            let next = if is_at(&older) { path } else { older };
            // There is none until somebody writes.
            let Some(next) = Part::open(next)? else { return Ok(()) };
            if let Some(last) = self.current.replace(next) {
                self.older = Some(last);
            }
        }
    }

    /// What the last record's writer has left of it.
    fn read_partial(&mut self, sink: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<()> {
        let is_partial =
            |part: &Option<Part>| part.as_ref().is_some_and(|one| one.lines.is_partial());
        if is_partial(&self.older) || is_partial(&self.current) {
            std::thread::sleep(PATIENCE);
            self.read_all(sink)?;
        }
        for part in [&mut self.older, &mut self.current].into_iter().flatten() {
            if part.lines.is_partial() {
                hand_on(part.lines.take_partial(), &part.path, self.request, sink)?;
            }
        }
        Ok(())
    }

    /// Until something is written, or `until` has come.
    fn wait(&self) -> Result<Woken> {
        let limit = self.request.until.map(clock::until);
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN)];
        if let Some(stop) = &self.request.stop {
            fds.push(PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(file("poll", "the journal's changes")(errno)),
        }
        if fds.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
            return Ok(Woken::Stopped);
        }
        // What has changed is looked for in the files.
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.changes, &mut buffer[..]).is_ok_and(|length| length > 0) {}
        Ok(Woken::Changed)
    }
}
