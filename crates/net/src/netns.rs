//! Working inside another network namespace (network_namespaces(7)).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};

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

    /// Runs `work` on a thread of its own that has entered the namespace, and
    /// waits for it. Sockets opened there stay in the namespace; /proc/sys/net
    /// is that namespace's. The calling thread stays where it is, so a program
    /// with threads may call this.
    ///
    /// # Errors
    ///
    /// Those of clone(2) and setns(2): `EPERM` without `CAP_SYS_ADMIN` in the
    /// user namespace that owns the network namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("husk-netns".to_owned())
                .spawn_scoped(scope, || {
                    move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                        .map_err(|e| Error::system("enter the network namespace (setns)", e))?;
                    Ok(work())
                })
                .map_err(|e| Error::system("start a thread for the network namespace", e))?;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
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
