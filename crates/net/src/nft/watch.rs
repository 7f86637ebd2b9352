//! Watches the host's packet filter, so that rules which another program removes are
//! put back at once, and keeps the guard ([`crate::nft::guard`]).
//!
//! Of all monitors of an installation one does it, so that a change on the host does
//! not wake a hundred processes. The others wait for its end:
//!
//! ```text
//! <runtime>/watch.lock   held by the monitor that watches (flock(2))
//! <runtime>/watch        a FIFO; the one that watches has it open for reading, the
//!                        others for writing: poll(2) reports POLLERR to them when it ends
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::links::netlink::{Socket, attribute, string};
use crate::networks::Networks;
use crate::networks::json_file::Lock;
use crate::nft::batch::Request;
use crate::nft::guard::Guard;

/// nfnetlink.h `NFNLGRP_NFTABLES`, as a bit of `sockaddr_nl.nl_groups`.
const NFTABLES_GROUP: u32 = 1 << 6;
const NFTABLES: u16 = 10;
/// Changes of other tables come in bursts and are looked at once.
const BURST: Duration = Duration::from_millis(200);
/// How long a monitor waits that found the lock taken but nobody watching: whoever took
/// it is about to.
const RETRY: Duration = Duration::from_millis(500);
/// While another process changes the rules, which it may be stopped in.
const BUSY: Duration = Duration::from_millis(10);

#[derive(Debug)]
enum Role {
    /// Nobody is known to watch.
    Candidate,
    /// Another monitor watches; the FIFO's writing end.
    Standby(OwnedFd),
    Watching(Box<Watching>),
}

#[derive(Debug)]
struct Watching {
    events: Socket,
    guard: Option<Guard>,
    /// The FIFO is closed before the lock is released: who is told finds it free.
    _fifo: OwnedFd,
    _lock: Lock,
}

/// A monitor's part in watching the rules.
#[derive(Debug)]
pub(crate) struct Watch {
    networks: Networks,
    role: Role,
    /// When [`Self::dispatch`] wants to be called though nothing is readable.
    due: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(networks: Networks) -> Self {
        Self { networks, role: Role::Candidate, due: Some(Instant::now()) }
    }

    /// The descriptor to wait for; another one after each change of role.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.role {
            Role::Candidate => None,
            Role::Standby(fifo) => Some(fifo.as_fd()),
            Role::Watching(watching) => Some(watching.events.as_fd()),
        }
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Does what is to be done, without waiting. Returns whether [`Self::descriptor`] is
    /// another now.
    ///
    /// # Errors
    ///
    /// What the kernel refused; the next call tries again, after a while.
    pub(crate) fn dispatch(&mut self) -> Result<bool> {
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        if is_due {
            self.due = None;
        }
        let done = match &mut self.role {
            Role::Candidate if is_due => self.stand_for_election().map(|()| true),
            Role::Candidate => Ok(false),
            Role::Standby(fifo) => {
                let is_orphaned = has_no_reader(fifo.as_fd());
                if is_orphaned {
                    self.role = Role::Candidate;
                    self.due = Some(Instant::now());
                }
                Ok(is_orphaned)
            }
            Role::Watching(watching) => {
                let seen = watching.read_events(&self.networks);
                self.look(seen, is_due).map(|()| false)
            }
        };
        if done.is_err() {
            self.due = Some(Instant::now() + RETRY);
        }
        done
    }

    fn stand_for_election(&mut self) -> Result<()> {
        let directory = self.networks.runtime();
        let path = directory.join("watch");
        let lock = Lock::try_exclusive(&directory.join("watch.lock"))?;
        let access = if lock.is_some() { OFlags::RDONLY } else { OFlags::WRONLY };
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if lock.is_some() {
            match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::file("create FIFO", &path, errno)),
            }
        }
        let opened = open(&path, flags, Mode::empty());
        self.role = match (lock, opened) {
            (Some(lock), Ok(fifo)) => {
                let events = Socket::netfilter_events(NFTABLES_GROUP)?;
                let watching = Watching { events, guard: None, _fifo: fifo, _lock: lock };
                self.due = Some(Instant::now());
                Role::Watching(Box::new(watching))
            }
            (None, Ok(fifo)) => Role::Standby(fifo),
            // Whoever has the lock has not opened the FIFO yet.
            (None, Err(Errno::NXIO | Errno::NOENT)) => {
                self.due = Some(Instant::now() + RETRY);
                Role::Candidate
            }
            (_, Err(errno)) => return Err(Error::file("open", &path, errno)),
        };
        Ok(())
    }

    fn look(&mut self, seen: Seen, is_due: bool) -> Result<()> {
        if !is_due && seen == Seen::Others {
            self.due = self.due.or(Some(Instant::now() + BURST));
        }
        if !is_due && seen != Seen::Ours {
            return Ok(());
        }
        let Role::Watching(watching) = &mut self.role else { return Ok(()) };
        let Some(networks) = self.networks.restore_unless_busy()? else {
            self.due = Some(Instant::now() + BUSY);
            return Ok(());
        };
        match &mut watching.guard {
            Some(guard) => guard.update(networks)?,
            None if networks.is_empty() => {}
            None => watching.guard = Guard::install(self.networks.installation(), networks)?,
        }
        Ok(())
    }
}

impl Drop for Watch {
    /// With the last container the guard goes, too.
    fn drop(&mut self) {
        if let Role::Watching(watching) = &mut self.role
            && let Some(guard) = watching.guard.take()
            && self.networks.endpoints(None).is_ok_and(|endpoints| endpoints.is_empty())
        {
            let _ = guard.remove();
        }
    }
}

/// What kind of change was seen, the least to the most pressing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    /// Other programs' tables, which may drop what containers send.
    Others,
    /// The own table, or changes that were too many to be told of.
    Ours,
}

impl Watching {
    fn read_events(&mut self, networks: &Networks) -> Seen {
        let installation = networks.installation();
        let (own, guard) = (installation.table(), installation.guard_table());
        let mut seen = Seen::Nothing;
        let missed = self.events.each_event(|kind, body| {
            let table = body.get(4..).and_then(|attributes| attribute(attributes, 1));
            let table = table.map(string).unwrap_or_default();
            if kind >> 8 != NFTABLES || !is_change(kind) || table == guard {
                return;
            }
            seen = seen.max(if table == own { Seen::Ours } else { Seen::Others });
        });
        if missed { Seen::Ours } else { seen }
    }
}

/// Whether a message is about tables, chains, rules, sets or elements: not that a
/// transaction has ended.
fn is_change(kind: u16) -> bool {
    const NEW_GENERATION: u16 = 15;
    kind & 0xff < NEW_GENERATION && kind != Request::GetRule.kind()
}

fn has_no_reader(fifo: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fifo, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}
