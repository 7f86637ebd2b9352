//! One direction of a standard stream: bytes go from the container to containerd's FIFO, file or
//! logging program, or the other way.
//!
//! Between two pipes splice(2) moves them without a copy, and no buffer is held for a reader
//! that has stopped: the pipe fills up, and the container waits, as at a shell.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

/// The most that is moved in one call.
const CHUNK: usize = 64 << 10;
/// The most that is read at once where splice(2) cannot be used.
const COPY: usize = 4096;
/// Calls in one turn, so that one busy stream does not keep the others waiting.
const TURNS: usize = 16;

/// How a turn of a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is nothing to read at the moment.
    Idle,
    /// The sink takes nothing at the moment.
    Blocked,
    /// There may be more to do.
    More,
    /// The source is at its end, or the sink is gone.
    Ended,
}

/// A source and a sink, both non-blocking.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) source: OwnedFd,
    pub(crate) sink: OwnedFd,
    /// Read, but not yet written.
    pending: Vec<u8>,
    /// Whether splice(2) works between the two.
    splices: bool,
}

impl Stream {
    /// Joins two descriptors.
    pub(crate) fn new(source: OwnedFd, sink: OwnedFd) -> Self {
        Self { source, sink, pending: Vec::new(), splices: true }
    }

    /// Moves what can be moved now.
    pub(crate) fn pump(&mut self) -> Progress {
        for _ in 0..TURNS {
            let progress = if self.splices { self.splice() } else { self.copy() };
            match progress {
                Progress::More => {}
                other => return other,
            }
        }
        Progress::More
    }

    fn splice(&mut self) -> Progress {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(&self.source, None, &self.sink, None, CHUNK, flags) {
            Ok(0) => Progress::Ended,
            Ok(_) | Err(Errno::INTR) => Progress::More,
            // One errno for two conditions: is there something to read?
            Err(Errno::AGAIN) => match self.is_readable() {
                true => Progress::Blocked,
                false => Progress::Idle,
            },
            Err(Errno::INVAL) => {
                self.splices = false;
                Progress::More
            }
            Err(_) => Progress::Ended,
        }
    }

    fn copy(&mut self) -> Progress {
        if !self.pending.is_empty() {
            return match rustix::io::write(&self.sink, &self.pending) {
                Ok(written) => {
                    self.pending.drain(..written);
                    if self.pending.is_empty() {
                        self.pending = Vec::new();
                    }
                    Progress::More
                }
                Err(Errno::INTR) => Progress::More,
                Err(Errno::AGAIN) => Progress::Blocked,
                Err(_) => Progress::Ended,
            };
        }
        let mut buffer = [0; COPY];
        match rustix::io::read(&self.source, &mut buffer) {
            Ok(0) => Progress::Ended,
            Ok(length) => {
                self.pending = buffer.get(..length).unwrap_or_default().to_vec();
                Progress::More
            }
            Err(Errno::INTR) => Progress::More,
            Err(Errno::AGAIN) => Progress::Idle,
            // EIO: the last descriptor of a terminal's other side is closed.
            Err(_) => Progress::Ended,
        }
    }

    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.source.as_fd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
            && fds.iter().any(|fd| fd.revents().contains(PollFlags::IN))
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe2")
    }

    #[test]
    fn a_blocked_sink_is_told_from_an_empty_source() {
        let (source, writer) = pipe();
        let (reader, sink) = pipe();
        let mut stream = Stream::new(source, sink);
        assert_eq!(stream.pump(), Progress::Idle);
        let mut written = 0;
        while let Ok(length) = rustix::io::write(&writer, &[7; 4096]) {
            written += length;
            if stream.pump() == Progress::Blocked {
                break;
            }
        }
        assert_eq!(stream.pump(), Progress::Blocked);
        drop(writer);
        let mut got = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let progress = stream.pump();
            while let Ok(length @ 1..) = rustix::io::read(&reader, &mut buffer) {
                got += length;
            }
            if progress == Progress::Ended {
                break;
            }
        }
        assert_eq!(got, written);
    }

    #[test]
    fn a_file_opened_to_append_is_written() {
        use rustix::fs::{Mode, OFlags, openat};
        let directory = std::env::temp_dir();
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let file = openat(rustix::fs::CWD, &directory, flags, Mode::RUSR | Mode::WUSR);
        let Ok(file) = file else {
            return;
        };
        let (source, writer) = pipe();
        let mut stream = Stream::new(source, file);
        rustix::io::write(&writer, b"hello").expect("write");
        drop(writer);
        while stream.pump() != Progress::Ended {}
        assert_eq!(rustix::fs::fstat(&stream.sink).expect("fstat").st_size, 5);
    }
}
