//! The process that keeps a new scope alive until the container's own is in it.

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use husk_sys::clone::{Cloned, clone};
use husk_sys::exec::exit_now;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::error::Error;
use crate::kernfs;

/// A process that does nothing.
///
/// systemd refuses a scope without one ("Scope has no PIDs"), and the
/// container's process is to begin its life inside (CLONE_INTO_CGROUP). It dies
/// with its maker, or when the last clone of this is dropped.
#[derive(Debug, Clone, Default)]
pub struct Placeholder(Option<Rc<Sleeper>>);

/// What stands in for the container does not make its record another one.
impl PartialEq for Placeholder {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Placeholder {}

#[derive(Debug)]
struct Sleeper {
    pid: i32,
    pidfd: OwnedFd,
    /// A limit of processes that leaves no room beside it, until it is gone.
    raised: OnceCell<PathBuf>,
}

impl Placeholder {
    /// Starts it; the caller must be single-threaded.
    pub(crate) fn start() -> Result<Self, Errno> {
        let maker = rustix::process::getpid();
        match clone(0, None, false)? {
            Cloned::Child => {
                let killed = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                // The maker may have died before this was set.
                if killed.is_err() || rustix::process::getppid() != Some(maker) {
                    exit_now(1);
                }
                loop {
                    rustix::event::pause();
                }
            }
            Cloned::Parent(pid, pidfd) => {
                let pid = pid.as_raw_nonzero().get();
                Ok(Self(Some(Rc::new(Sleeper { pid, pidfd, raised: OnceCell::new() }))))
            }
        }
    }

    /// Raises a `pids.max` of 1, which the sleeper alone would fill, until it ends.
    pub(crate) fn make_room(&self, cgroup: &Path) -> Result<(), Error> {
        let Some(sleeper) = &self.0 else { return Ok(()) };
        let limit = cgroup.join("pids.max");
        if kernfs::read_if_there(&limit)?.is_some_and(|text| text.trim_end() == "1") {
            kernfs::write(&limit, "2")?;
            sleeper.raised.get_or_init(|| limit);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.0.as_ref().map(|sleeper| sleeper.pid)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Neither can fail but for one that is gone already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        if let Some(limit) = self.raised.get() {
            // Below what is in use is no error; the cgroup may be gone.
            let _ = kernfs::write(limit, "1");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's failure")]

    use super::*;
    use crate::cgroup::Cgroup;

    #[test]
    fn a_limit_of_one_process_is_for_the_containers() {
        let directory = std::env::temp_dir().join(format!("husk-room-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let limit = directory.join("pids.max");
        for (given, meanwhile) in [("1\n", "2"), ("2\n", "2\n"), ("max\n", "max\n")] {
            std::fs::write(&limit, given).unwrap();
            let placeholder = Placeholder::start().unwrap();
            let v2 = Some(directory.clone());
            let mut cgroup = Cgroup { v2, placeholder, ..Cgroup::none() };
            drop(cgroup.entry().unwrap());
            // Kernels end such a file with a line feed; a plain file keeps what is longer.
            let text = || std::fs::read_to_string(&limit).unwrap();
            assert_eq!(text().trim_end(), meanwhile.trim_end(), "{given}");
            cgroup.entered();
            assert_eq!(text().trim_end(), given.trim_end());
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
