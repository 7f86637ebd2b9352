//! From bytes of the journal to events, whatever a power failure or a full disk has left there.

use std::path::PathBuf;

use super::Event;

/// How every record begins. In a record this cannot occur a second time: quotation marks of
/// texts are escaped, and no other object has a member `type`.
const BEGIN: &[u8] = b"{\"type\":";

/// No record is longer: what is, is not one.
const MAX_RECORD: usize = 1 << 20;

/// A part of the journal that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// What a line consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Bytes at its beginning that are no event.
    pub(super) damaged: usize,
    /// The event after them.
    pub(super) event: Option<Event>,
}

/// Reads one line, without its line feed.
pub(super) fn line(bytes: &[u8]) -> Line {
    if let Ok(event) = serde_json::from_slice(bytes) {
        return Line { damaged: 0, event: Some(event) };
    }
    // A record that was cut short has no line feed: the next one follows it. What a power
    // failure has filled with zeros is of that kind.
    let begin = bytes.windows(BEGIN.len()).rposition(|window| window == BEGIN);
    let rest = begin.and_then(|begin| Some((begin, bytes.get(begin..)?)));
    match rest.and_then(|(begin, rest)| Some((begin, serde_json::from_slice(rest).ok()?))) {
        Some((damaged, event)) => Line { damaged, event: Some(event) },
        None => Line { damaged: bytes.len(), event: None },
    }
}

/// Lines out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line.
    pending: Vec<u8>,
    /// What was dropped of it for being too long.
    dropped: usize,
    /// Where it begins in the file.
    offset: u64,
}

/// A line and where it is.
pub(super) struct Found {
    pub(super) offset: u64,
    /// Of what is damaged at its beginning.
    pub(super) damaged: u64,
    pub(super) event: Option<Event>,
}

impl Lines {
    /// Lines from here on.
    pub(super) fn at(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }

    /// Where the bytes go on.
    pub(super) fn position(&self) -> u64 {
        self.offset + (self.dropped + self.pending.len()) as u64
    }

    /// Whether the last line has no end yet.
    pub(super) fn is_partial(&self) -> bool {
        self.dropped + self.pending.len() > 0
    }

    /// Takes bytes in, and hands out the lines that they complete.
    pub(super) fn push<E>(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(part);
            if part.last() != Some(&b'\n') {
                if self.pending.len() > MAX_RECORD {
                    // Its end may be an event, which is found by its beginning.
                    let excess = self.pending.len() - MAX_RECORD / 2;
                    self.pending.drain(..excess);
                    self.dropped += excess;
                }
                continue;
            }
            self.pending.pop();
            let found = self.take(1);
            // An empty line is nothing.
            if found.event.is_some() || found.damaged > 0 {
                sink(found)?;
            }
        }
        Ok(())
    }

    /// What there is of a line that was never ended.
    pub(super) fn take_partial(&mut self) -> Found {
        self.take(0)
    }

    fn take(&mut self, ending: u64) -> Found {
        let Line { damaged, event } = line(&self.pending);
        let (offset, damaged) = (self.offset, (self.dropped + damaged) as u64);
        self.offset = self.position() + ending;
        self.dropped = 0;
        self.pending.clear();
        Found { offset, damaged, event }
    }
}
