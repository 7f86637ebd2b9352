//! Waiting for a container's end or removal, by a descriptor that can be polled beside others.
//!
//! Whoever waits is told by the container's monitor, where it has one. What has none is waited
//! for by its files: a start replaces state.json, and a removal takes its directory away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::Container;
use crate::container::state::{State, Status};
use crate::error::{Error, Result, file};
use crate::monitor::protocol::{Attachment, Event, Received, Request};

/// What is waited for, as Docker's API has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; at once where it does not. One that its restart policy is about to run
    /// again counts as running.
    #[default]
    NotRunning,
    /// The end of the run that is on, or of the next.
    NextExit,
    /// There is no such container any more.
    Removed,
}

impl WaitCondition {
    /// Reads Docker's word for it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "not-running" => Self::NotRunning,
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            _ => return None,
        })
    }
}

/// A condition that is waited for.
#[derive(Debug)]
pub struct Waiting {
    container: Container,
    condition: WaitCondition,
    /// Readable when there may be something new.
    ready: OwnedFd,
    changes: OwnedFd,
    monitor: Option<Attachment>,
    /// The program of a container whose monitor was killed.
    orphan: Option<OwnedFd>,
    /// The last exit status that is known.
    exit_code: Option<i32>,
    /// Only an end after the beginning counts.
    has_ended: bool,
}

impl Waiting {
    /// Begins to wait: nothing that happens from now on is missed.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; what keeps us from looking.
    pub fn begin(container: &Container, condition: WaitCondition) -> Result<Self> {
        let at = &container.directory;
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(file("watch", at))?;
        let events = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        match inotify::add_watch(&changes, at, events) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Err(Error::NoContainer(container.record.name.clone())),
            Err(errno) => return Err(file("watch", at)(errno)),
        }
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(file("watch", at))?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&ready, &changes, data, epoll::EventFlags::IN).map_err(file("watch", at))?;
        let mut waiting = Self {
            container: container.clone(),
            condition,
            ready,
            changes,
            monitor: None,
            orphan: None,
            exit_code: None,
            has_ended: false,
        };
        waiting.connect()?;
        Ok(waiting)
    }

    /// Connects to the monitor, where there is one and we are not connected.
    fn connect(&mut self) -> Result<()> {
        if self.monitor.is_some() || self.has_ended {
            return Ok(());
        }
        let Some(monitor) = Attachment::connect(&self.container.run)? else { return Ok(()) };
        if monitor.send(&Request::Wait).is_ok() {
            let at = &self.container.directory;
            let data = epoll::EventData::new_u64(1);
            epoll::add(&self.ready, &monitor.0, data, epoll::EventFlags::IN)
                .map_err(file("watch", at))?;
            self.monitor = Some(monitor);
        }
        Ok(())
    }

    /// Looks whether what is waited for has come, without waiting: the exit status of the last
    /// run then. To be called when the descriptor is readable, and once before that.
    ///
    /// # Errors
    /// What keeps us from looking.
    pub fn look(&mut self) -> Result<Option<i32>> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.changes, &mut buffer);
        while reader.next().is_ok() {}
        self.hear()?;
        if !self.container.directory.join("container.json").exists() {
            // Its monitor, which removes it with --rm, has yet to say how it ended.
            let is_known = self.has_ended || self.monitor.is_none();
            return Ok(is_known.then_some(self.exit_code.unwrap_or_default()));
        }
        self.connect()?;
        self.hear()?;
        let state = match self.container.state() {
            Ok(state) => state,
            // Removed meanwhile.
            Err(_) if !self.container.directory.exists() => {
                let is_known = self.has_ended || self.monitor.is_none();
                return Ok(is_known.then_some(self.exit_code.unwrap_or_default()));
            }
            Err(error) => return Err(error),
        };
        let runs = matches!(state.status, Status::Running | Status::Restarting);
        if !runs && state.status == Status::Exited && !self.has_ended {
            self.exit_code = Some(state.exit_code);
        }
        if runs && self.monitor.is_none() {
            self.watch_orphan(&state)?;
        } else if !runs && self.orphan.take().is_some() {
            self.has_ended = true;
        }
        let is_met = match self.condition {
            WaitCondition::NotRunning => self.has_ended || (!runs && self.monitor.is_none()),
            WaitCondition::NextExit => self.has_ended,
            WaitCondition::Removed => false,
        };
        Ok(is_met.then_some(self.exit_code.unwrap_or_default()))
    }

    /// Has the descriptor tell the end of a program that no monitor tells of.
    fn watch_orphan(&mut self, state: &State) -> Result<()> {
        let Some(pid) = Pid::from_raw(state.pid).filter(|_| self.orphan.is_none()) else {
            return Ok(());
        };
        // Gone meanwhile: the state says so when it is read again.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if state.is_alive() {
            let data = epoll::EventData::new_u64(2);
            epoll::add(&self.ready, &pidfd, data, epoll::EventFlags::IN)
                .map_err(file("watch", &self.container.directory))?;
            self.orphan = Some(pidfd);
        }
        Ok(())
    }

    /// Takes what the monitor has said.
    fn hear(&mut self) -> Result<()> {
        while let Some(monitor) = &self.monitor {
            let received = monitor.receive_until(Some(Instant::now()));
            match received.map_err(file("read from", "the container's monitor"))? {
                Received::Event(Event::Exited(code)) => {
                    self.exit_code = Some(code);
                    self.has_ended = true;
                }
                Received::Event(_) => {}
                Received::TimedOut => return Ok(()),
                // The descriptor that is closed leaves the epoll instance.
                Received::End => self.monitor = None,
            }
        }
        Ok(())
    }

    /// Waits until it has come, or until a time at most; `None` then. Gives the exit status.
    ///
    /// # Errors
    /// As [`Waiting::look`].
    pub fn wait(&mut self, until: Option<Instant>) -> Result<Option<i32>> {
        loop {
            if let Some(code) = self.look()? {
                return Ok(Some(code));
            }
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            let spec = rest.and_then(|rest| Timespec::try_from(rest).ok());
            let mut fds = [PollFd::new(&self.ready, PollFlags::IN)];
            match poll(&mut fds, spec.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(file("poll", "a container's files")(errno)),
            }
        }
    }
}

impl AsFd for Waiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
