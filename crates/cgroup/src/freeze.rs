//! Stopping every process of a cgroup where it stands, and letting it go on.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::Error;
use crate::kernfs;
use crate::process::thaw_below;
use crate::wait;

/// How long a freeze may take: a process in a long system call is reached late.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process of the tree and waits until all stand still.
    ///
    /// # Errors
    ///
    /// If that takes more than 10 s everything is let go again.
    pub fn freeze(&self) -> Result<(), Error> {
        let result = match (self.freezer_v1(), &self.v2) {
            (Some(path), _) => freeze_v1(&path, PATIENCE),
            (None, Some(path)) => freeze_v2(path),
            (None, None) => Err(no_freezer()),
        };
        if matches!(result, Err(Error::Timeout { .. })) {
            self.thaw()?;
        }
        result
    }

    /// Lets every process of the tree go on.
    pub fn thaw(&self) -> Result<(), Error> {
        match (self.freezer_v1(), &self.v2) {
            (Some(path), _) => thaw_v1(&path),
            (None, Some(path)) => write_unless_gone(&path.join("cgroup.freeze"), "0"),
            (None, None) => Err(no_freezer()),
        }
    }

    /// Lets killed processes go that a v1 freezer holds, in the whole tree: they end once they
    /// run. With v2 a frozen process ends all the same.
    pub fn release(&self) -> Result<(), Error> {
        self.freezer_v1().map_or(Ok(()), |path| thaw_below(&path))
    }

    /// Whether [`Cgroup::freeze`] holds the tree; false for one that is gone.
    pub fn frozen(&self) -> Result<bool, Error> {
        match (self.freezer_v1(), &self.v2) {
            (Some(path), _) => {
                // Its own state: a parent that is frozen is not our pause.
                let text = kernfs::read_if_there(&path.join("freezer.self_freezing"))?;
                Ok(text.is_some_and(|text| text.trim() == "1"))
            }
            (None, Some(path)) => {
                let text = kernfs::read_if_there(&path.join("cgroup.freeze"))?;
                Ok(text.is_some_and(|text| text.trim() == "1"))
            }
            (None, None) => Ok(false),
        }
    }

    /// The directory that [`Cgroup::freeze`] writes to; None where there is none.
    pub fn freezer(&self) -> Option<PathBuf> {
        self.freezer_v1().or_else(|| self.v2.clone())
    }

    /// The directory in the v1 freezer's hierarchy.
    pub(crate) fn freezer_v1(&self) -> Option<PathBuf> {
        self.v1
            .iter()
            .find(|directory| directory.has(Controller::Freezer))
            .map(|directory| directory.path.clone())
    }
}

fn no_freezer() -> Error {
    Error::NoHierarchy { reason: "the container has no cgroup to be frozen in".into() }
}

fn write_unless_gone(path: &Path, value: &str) -> Result<(), Error> {
    match kernfs::try_write(path, value) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(Error::system("write", path, errno)),
    }
}

pub(crate) fn thaw_v1(path: &Path) -> Result<(), Error> {
    write_unless_gone(&path.join("freezer.state"), "THAWED")
}

/// Does not let go what stands still when others do not in time.
pub(crate) fn freeze_v1(path: &Path, patience: Duration) -> Result<(), Error> {
    let state = path.join("freezer.state");
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(20);
    while Instant::now() < deadline {
        // Written again each time: a process that was forking when the first
        // write passed by is caught by a later one.
        kernfs::write(&state, "FROZEN")?;
        if kernfs::read(&state)?.trim() == "FROZEN" {
            return Ok(());
        }
        wait::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Err(Error::Timeout { what: "freeze", path: path.to_owned(), seconds: patience.as_secs() })
}

fn freeze_v2(path: &Path) -> Result<(), Error> {
    kernfs::write(&path.join("cgroup.freeze"), "1")?;
    let mut events = Events::open(path)?;
    events.wait_for("frozen", "1", PATIENCE, "freeze")
}

/// `cgroup.events` of a v2 cgroup, which wakes poll(2) by POLLPRI at every change.
pub(crate) struct Events {
    path: PathBuf,
    fd: OwnedFd,
}

impl Events {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("cgroup.events");
        let fd = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::system("open", &path, errno))?;
        Ok(Self { path, fd })
    }

    /// Waits until a key has a value, or the cgroup is gone.
    pub(crate) fn wait_for(
        &mut self,
        key: &str,
        value: &str,
        patience: Duration,
        what: &'static str,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            let Some(text) = self.text()? else { return Ok(()) };
            let current = text.lines().filter_map(|line| line.split_once(' '));
            if current.into_iter().any(|pair| pair == (key, value)) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = patience.as_secs();
                return Err(Error::Timeout { what, path: self.path.clone(), seconds });
            }
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::PRI)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("poll", &self.path, errno)),
            }
        }
    }

    fn text(&mut self) -> Result<Option<String>, Error> {
        let read = || {
            seek(&self.fd, SeekFrom::Start(0))?;
            let mut buffer = [0; 256];
            let length = rustix::io::read(self.fd.as_fd(), &mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        match read() {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NODEV | Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system("read", &self.path, errno)),
        }
    }
}
