//! epoll(7) and timers: what the shim waits for, in one place.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// What a descriptor or a timer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// The socket on which containerd connects.
    Listener,
    /// signalfd(2).
    Signals,
    /// A connection, by its number.
    Connection(u32),
    /// The connection to containerd's event service.
    Publisher,
    /// Where a stream reads, by the stream's number.
    Source(u32),
    /// Where a stream writes.
    Sink(u32),
    /// OOM events of a container, by the container's number.
    Oom(u32),
    /// The ready pipe of a logging program, by the number of the pending process.
    Logger(u32),
    /// The end of a deletion's patience, by the container's number; a timer.
    Drain(u32),
    /// The next attempt to reach containerd; a timer.
    Retry,
}

impl Token {
    fn encode(self) -> EventData {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Connection(number) => (2, number),
            Self::Publisher => (3, 0),
            Self::Source(number) => (4, number),
            Self::Sink(number) => (5, number),
            Self::Oom(number) => (6, number),
            Self::Logger(number) => (7, number),
            Self::Drain(number) => (8, number),
            Self::Retry => (9, 0),
        };
        EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn decode(data: EventData) -> Self {
        let number = data.u64() as u32;
        match data.u64() >> 32 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(number),
            3 => Self::Publisher,
            4 => Self::Source(number),
            5 => Self::Sink(number),
            6 => Self::Oom(number),
            7 => Self::Logger(number),
            8 => Self::Drain(number),
            _ => Self::Retry,
        }
    }
}

/// Descriptors and timers that are waited for.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: std::os::fd::OwnedFd,
    timers: BTreeMap<(Instant, Token), ()>,
}

impl Poller {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The errno of epoll_create1(2).
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, timers: BTreeMap::new() })
    }

    /// Waits for a descriptor.
    ///
    /// # Errors
    /// The errno of epoll_ctl(2).
    pub(crate) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, token.encode(), flags)
    }

    /// Waits for other events of a descriptor, or, with none, for none but its hang-up.
    ///
    /// # Errors
    /// The errno of epoll_ctl(2).
    pub(crate) fn change(
        &self,
        fd: impl AsFd,
        token: Token,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, token.encode(), flags)
    }

    /// Waits for a descriptor no longer. That it was not waited for is no error.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Wakes once after a time.
    pub(crate) fn set_timer(&mut self, token: Token, after: Duration) {
        self.clear_timer(token);
        self.timers.insert((Instant::now() + after, token), ());
    }

    /// Forgets a timer.
    pub(crate) fn clear_timer(&mut self, token: Token) {
        self.timers.retain(|(_, other), ()| *other != token);
    }

    /// Waits, and gives what is ready.
    ///
    /// # Errors
    /// The errno of epoll_wait(2).
    pub(crate) fn wait(&mut self) -> Result<Vec<(Token, EventFlags)>, Errno> {
        let timeout = self.timers.keys().next().map(|(at, _)| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut events = Vec::with_capacity(32);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready: Vec<_> =
            events.into_iter().map(|event| (Token::decode(event.data), event.flags)).collect();
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            ready.push((entry.key().1, EventFlags::empty()));
            entry.remove();
        }
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Listener,
            Token::Signals,
            Token::Connection(7),
            Token::Publisher,
            Token::Source(u32::MAX),
            Token::Sink(0),
            Token::Oom(3),
            Token::Logger(9),
            Token::Drain(1),
            Token::Retry,
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }

    #[test]
    fn timers_fire_in_order() {
        let mut poller = Poller::new().expect("epoll");
        poller.set_timer(Token::Retry, Duration::from_millis(2));
        poller.set_timer(Token::Drain(1), Duration::from_millis(1));
        poller.set_timer(Token::Drain(2), Duration::from_secs(100));
        poller.clear_timer(Token::Drain(2));
        let mut fired = Vec::new();
        while fired.len() < 2 {
            fired.extend(poller.wait().expect("wait").into_iter().map(|(token, _)| token));
        }
        assert_eq!(fired, [Token::Drain(1), Token::Retry]);
    }
}
