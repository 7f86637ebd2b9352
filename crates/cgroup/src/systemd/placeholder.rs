//! The process that keeps a new scope alive until the container's own is in it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use husk_sys::clone::{Cloned, clone};
use husk_sys::exec::exit_now;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

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
                Ok(Self(Some(Rc::new(Sleeper { pid: pid.as_raw_nonzero().get(), pidfd }))))
            }
        }
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
    }
}
