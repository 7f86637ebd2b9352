//! Removing a container's cgroup once its last process is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::freeze::Events;
use crate::process;
use crate::rdt::Rdt;
use crate::systemd::Unit;
use crate::wait;

/// How long killed processes may take to go: one in uninterruptible sleep on a
/// dead server does not go at all.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes the cgroup with all below it, waiting for processes that were
    /// killed to be gone. What is gone already is no error.
    ///
    /// Directories above it stay, as with other runtimes: they may be shared.
    pub fn remove(&self) -> Result<(), Error> {
        if let Some(v2) = &self.v2 {
            remove_tree(v2, Some(v2))?;
        }
        // The processes are gone now on a hybrid host: these wait at most for
        // the kernel's bookkeeping.
        let mut first = self.rdt.as_ref().map_or(Ok(()), Rdt::remove);
        for directory in &self.v1 {
            let result = remove_tree(&directory.path, None);
            if first.is_ok() {
                first = result;
            }
        }
        // Removed under its hands, the scope would stay: it waits for an event
        // of the cgroup that is gone. One that is busy may be another container's.
        first?;
        self.unit.as_ref().map_or(Ok(()), Unit::stop)
    }
}

impl Cgroup {
    /// Removes a v2 cgroup that is all there is of the container's and that has neither
    /// processes nor children; tells whether it was one.
    pub fn remove_empty(&self) -> bool {
        let (Some(v2), true, None, None) = (&self.v2, self.v1.is_empty(), &self.unit, &self.rdt)
        else {
            return false;
        };
        unlinkat(CWD, v2, AtFlags::REMOVEDIR).is_ok()
    }
}

fn remove_tree(path: &Path, events_of: Option<&Path>) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        match remove_once(path) {
            // Looked at, since nothing else tells it from a directory that was only out of sight.
            Ok(()) if rustix::fs::stat(path).err() == Some(Errno::NOENT) => return Ok(()),
            Ok(()) | Err((_, Errno::BUSY | Errno::NOTEMPTY)) if Instant::now() < deadline => {}
            Ok(()) | Err((_, Errno::BUSY | Errno::NOTEMPTY)) => {
                let seconds = PATIENCE.as_secs();
                let what = "wait for the last process of";
                return Err(Error::Timeout { what, path: path.to_owned(), seconds });
            }
            Err((at, errno)) => return Err(Error::system("rmdir", at, errno)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match events_of.map(Events::open) {
            Some(Ok(mut events)) => {
                events.wait_for("populated", "0", left, "wait for the last process of")?;
            }
            _ => wait::wait_for_ends(&process::list_below(path)?, left),
        }
        // An end is told a moment before rmdir(2) succeeds.
        wait::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn remove_once(path: &Path) -> Result<(), (std::path::PathBuf, Errno)> {
    let rmdir = |directory: &Path| match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err((directory.to_owned(), errno)),
    };
    // Most have no children; one with children answers EBUSY (or ENOTEMPTY).
    match rmdir(path) {
        Err((_, Errno::BUSY | Errno::NOTEMPTY)) => {}
        result => return result,
    }
    let tree = process::tree(path)
        .map_err(|error| (path.to_owned(), error.errno().unwrap_or(Errno::IO)))?;
    tree.iter().rev().try_for_each(|directory| rmdir(directory))
}
