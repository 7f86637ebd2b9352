//! What the kernel's OOM killer did in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::Error;
use crate::{kernfs, process};

impl Cgroup {
    /// How many processes of the tree the kernel has killed for want of memory.
    ///
    /// True also after their death, as long as the cgroup exists; `None` where
    /// the container has no memory controller or its cgroup is gone.
    pub fn oom_kills(&self) -> Result<Option<u64>, Error> {
        let Some((directory, v2)) = self.memory() else { return Ok(None) };
        if v2 {
            // Counts the whole tree.
            let text = kernfs::read_if_there(&directory.join("memory.events"))?;
            return Ok(text.and_then(|text| field(&text, "oom_kill")));
        }
        let mut sum = None;
        for directory in process::tree(&directory)? {
            let text = kernfs::read_if_there(&directory.join("memory.oom_control"))?;
            if let Some(kills) = text.and_then(|text| field(&text, "oom_kill")) {
                sum = Some(sum.unwrap_or(0) + kills);
            }
        }
        Ok(sum)
    }

    /// The memory limit in force, in bytes, for the message about an OOM kill.
    pub fn memory_limit(&self) -> Result<Option<u64>, Error> {
        let Some((directory, v2)) = self.memory() else { return Ok(None) };
        let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let text = kernfs::read_if_there(&directory.join(file))?;
        // v1 says "none" by the largest number of whole pages.
        let none = i64::MAX.cast_unsigned() - (1 << 20);
        Ok(text.and_then(|text| text.trim().parse().ok()).filter(|limit| *limit < none))
    }

    /// A descriptor that wakes poll(2) when the kernel runs out of the
    /// container's memory; `None` without a memory controller.
    pub fn oom_watch(&self) -> Result<Option<OomWatch>, Error> {
        let Some((directory, v2)) = self.memory() else { return Ok(None) };
        let open = |file: &str, flags: OFlags| {
            let path = directory.join(file);
            openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::system("open", path, errno))
        };
        if v2 {
            let fd = open("memory.events", OFlags::RDONLY)?;
            let watch = OomWatch { fd, v2, cgroup: self.clone(), seen: 0 };
            return watch.started().map(Some);
        }
        let control = open("memory.oom_control", OFlags::RDONLY)?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("eventfd for", &directory, errno))?;
        use std::os::fd::AsRawFd as _;
        let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        kernfs::write(&directory.join("cgroup.event_control"), &registration)?;
        OomWatch { fd, v2, cgroup: self.clone(), seen: 0 }.started().map(Some)
    }

    fn memory(&self) -> Option<(PathBuf, bool)> {
        if let Some(directory) = self.v1.iter().find(|directory| directory.has(Controller::Memory))
        {
            return Some((directory.path.clone(), false));
        }
        self.v2.clone().map(|path| (path, true))
    }
}

/// A watch for the OOM killer, to be polled.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    v2: bool,
    cgroup: Cgroup,
    seen: u64,
}

impl OomWatch {
    fn started(mut self) -> Result<Self, Error> {
        self.seen = self.cgroup.oom_kills()?.unwrap_or(0);
        // kernfs wakes a poller only after the file has been read once.
        self.drain()?;
        Ok(self)
    }

    /// What to poll the descriptor for.
    pub fn interest(&self) -> PollFlags {
        if self.v2 { PollFlags::PRI } else { PollFlags::IN }
    }

    /// After a wake: how many kills there were since the last call.
    ///
    /// A wake may mean none: v1 also wakes when memory is short but nobody was
    /// killed and when the cgroup is removed, v2 at its other memory events.
    pub fn kills(&mut self) -> Result<u64, Error> {
        self.drain()?;
        let now = self.cgroup.oom_kills()?.unwrap_or(self.seen);
        let new = now.saturating_sub(self.seen);
        self.seen = now;
        Ok(new)
    }

    fn drain(&self) -> Result<(), Error> {
        let mut buffer = [0; 512];
        let result = if self.v2 {
            rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0))
                .and_then(|_| rustix::io::read(&self.fd, &mut buffer))
        } else {
            rustix::io::read(&self.fd, &mut buffer[..8])
        };
        match result {
            Ok(_) | Err(Errno::AGAIN | Errno::NODEV) => Ok(()),
            Err(errno) => {
                Err(Error::system("read the OOM events of", PathBuf::from("a cgroup"), errno))
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}
