//! An event loop: registered descriptors and timers, each with a token, over poll(2).
//!
//! The loop shares the ownership of what it watches, so that a registration never outlives its
//! descriptor and a number that is used again is never mistaken for the old one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// After so long without an event the process gives back memory that it does not need to wait.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Source {
    fd: Rc<OwnedFd>,
    interest: PollFlags,
}

/// Sources and timers by token.
#[derive(Debug)]
pub(super) struct EventLoop<T> {
    sources: BTreeMap<T, Source>,
    timers: BTreeMap<T, Instant>,
}

impl<T: Copy + Ord> EventLoop<T> {
    pub(super) fn new() -> Self {
        Self { sources: BTreeMap::new(), timers: BTreeMap::new() }
    }

    /// Watches a descriptor, in place of what had the token before. Without any interest only
    /// errors and the end of the other side are reported (POLLERR, POLLHUP).
    pub(super) fn watch(&mut self, token: T, fd: &Rc<OwnedFd>, interest: PollFlags) {
        self.sources.insert(token, Source { fd: Rc::clone(fd), interest });
    }

    /// Stops watching.
    pub(super) fn forget(&mut self, token: T) {
        self.sources.remove(&token);
    }

    /// Watches while there is something to wait for, and stops otherwise.
    pub(super) fn watch_if(&mut self, token: T, fd: Option<&Rc<OwnedFd>>, interest: PollFlags) {
        match fd.filter(|_| !interest.is_empty()) {
            Some(fd) => self.watch(token, fd, interest),
            None => self.forget(token),
        }
    }

    /// Reports the token once at the time given, or no more with `None`.
    pub(super) fn set_timer(&mut self, token: T, at: Option<Instant>) {
        match at {
            Some(at) => drop(self.timers.insert(token, at)),
            None => drop(self.timers.remove(&token)),
        }
    }

    /// Waits for the next events: the tokens of ready sources and of timers that are due, each
    /// once.
    ///
    /// # Errors
    /// The errno of poll(2), for example ENOMEM; not EINTR.
    pub(super) fn wait(&mut self) -> Result<Vec<T>, Errno> {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(self.sources.len());
        for source in self.sources.values() {
            fds.push(PollFd::from_borrowed_fd(source.fd.as_fd(), source.interest));
        }
        let next = self.timers.values().min().copied();
        poll_quietly(&mut fds, next)?;
        let mut ready: Vec<T> = self
            .sources
            .keys()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(token, _)| *token)
            .collect();
        let now = Instant::now();
        for (token, at) in &self.timers {
            if *at <= now && !ready.contains(token) {
                ready.push(*token);
            }
        }
        self.timers.retain(|_, at| *at > now);
        Ok(ready)
    }
}

/// poll(2) that trims heap and stack and drops clean pages of code after [`QUIET`], so that idle
/// monitors, of which there is one a container, stay small.
fn poll_quietly(fds: &mut [PollFd<'_>], until: Option<Instant>) -> Result<(), Errno> {
    let first = until.map_or(QUIET, |until| remaining(until).min(QUIET));
    let found = poll_once(fds, Some(first))?;
    if found || until.is_some_and(|until| Instant::now() >= until) {
        return Ok(());
    }
    husk_sys::heap::trim();
    husk_sys::heap::trim_stack();
    let _ = husk_sys::text::forget();
    poll_once(fds, until.map(remaining)).map(drop)
}

fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Whether anything is ready; a signal counts as an event.
fn poll_once(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> Result<bool, Errno> {
    // Rounded up: a timer must be due when poll(2) returns for it.
    let limit = limit.map(|limit| limit + Duration::from_micros(100));
    let spec = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(fds, spec.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (Rc<OwnedFd>, Rc<OwnedFd>) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (Rc::new(reader), Rc::new(writer))
    }

    #[test]
    fn reports_sources_that_are_ready() {
        let ((idle, _keep), (busy, writer)) = (pipe(), pipe());
        let mut events = EventLoop::new();
        events.watch(1, &idle, PollFlags::IN);
        events.watch(2, &busy, PollFlags::IN);
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(events.wait().unwrap(), [2]);
        events.forget(2);
        events.set_timer(3, Some(Instant::now()));
        assert_eq!(events.wait().unwrap(), [3], "a source that was forgotten is silent");
    }

    #[test]
    fn a_source_outlives_its_owner_until_it_is_forgotten() {
        let (reader, writer) = pipe();
        let mut events = EventLoop::new();
        events.watch(1, &reader, PollFlags::IN);
        drop(reader);
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(events.wait().unwrap(), [1]);
        events.forget(1);
        assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE), "it is closed now");
    }

    #[test]
    fn timers_are_due_once_and_in_time() {
        let mut events = EventLoop::new();
        let begin = Instant::now();
        events.set_timer('b', Some(begin + Duration::from_millis(40)));
        events.set_timer('a', Some(begin + Duration::from_millis(20)));
        events.set_timer('c', Some(begin + Duration::from_millis(1)));
        events.set_timer('c', None);
        assert_eq!(events.wait().unwrap(), ['a']);
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert_eq!(events.wait().unwrap(), ['b']);
        assert!(begin.elapsed() >= Duration::from_millis(40));
    }

    #[test]
    fn a_timer_beyond_the_quiet_time_is_kept() {
        let mut events = EventLoop::new();
        let begin = Instant::now();
        events.set_timer(1, Some(begin + QUIET + Duration::from_millis(50)));
        assert_eq!(events.wait().unwrap(), [1]);
        assert!(begin.elapsed() >= QUIET + Duration::from_millis(50));
    }

    #[test]
    fn no_interest_is_no_registration() {
        let (reader, writer) = pipe();
        let mut events = EventLoop::new();
        events.watch_if(1, Some(&reader), PollFlags::empty());
        drop(writer);
        events.set_timer(2, Some(Instant::now()));
        assert_eq!(events.wait().unwrap(), [2], "the end of the pipe is not asked for");
    }
}
