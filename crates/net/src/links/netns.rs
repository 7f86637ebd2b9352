//! Working inside another network namespace (network_namespaces(7)).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};

/// linux/sched.h.
const CLONE_NEWNET: u32 = 0x4000_0000;

/// A network namespace, held by a descriptor: it exists as long as this does.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
}

impl NetNs {
    /// The namespace of a process: `/proc/PID/ns/net`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such process, `EACCES` without the right to look
    /// into it (ptrace(2), `PTRACE_MODE_READ_FSCREDS`).
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of open(2) where /proc is not mounted.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a file stands for: a link in /proc or a bind mount of one.
    ///
    /// # Errors
    ///
    /// Those of open(2). A file that is no network namespace is found out at the
    /// first use, with `EINVAL`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::file("open", path, e))?;
        Ok(Self { fd: file.into() })
    }

    /// A new one, owned by the caller's user namespace. It has a loopback link that is
    /// down, and lasts as long as a descriptor or a process keeps it.
    ///
    /// # Errors
    ///
    /// Those of unshare(2) and setns(2): `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` beyond
    /// `user.max_net_namespaces`.
    pub fn make() -> Result<Self> {
        let failed = |e| Error::system("make a network namespace (unshare)", e);
        away(|| husk_sys::namespace::unshare(CLONE_NEWNET).map_err(failed), Self::current)?
    }

    /// Another descriptor of the same namespace.
    ///
    /// # Errors
    ///
    /// `EMFILE` without a descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone();
        Ok(Self { fd: fd.map_err(|e| Error::system("duplicate a network namespace", e))? })
    }

    /// Runs `work` in the namespace. Sockets opened there stay in the namespace;
    /// /proc/sys/net is that namespace's. Only the calling thread enters, and it comes back.
    ///
    /// # Errors
    ///
    /// Those of setns(2): `EPERM` without `CAP_SYS_ADMIN` in the user namespaces that own
    /// this network namespace and the caller's.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        away(|| self.set(), work)
    }

    fn set(&self) -> Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| Error::system("enter the network namespace (setns)", e))
    }
}

/// Leaves the calling thread's namespace, works, and returns.
fn away<T>(leave: impl FnOnce() -> Result<()>, work: impl FnOnce() -> T) -> Result<T> {
    let home = NetNs::current()?;
    // Who may not come back must not leave: entering where one is takes the same rights.
    home.set()?;
    leave()?;
    let done = work();
    home.set()?;
    Ok(done)
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for NetNs {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}
