//! clone3(2).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::call::check;

/// `CLONE_INTO_CGROUP`, Linux 5.7; beyond the 32 bits of libc's constant.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` up to its first version with `cgroup`, Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of the call this is.
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the new process's id in its own pid namespace and a
    /// pidfd (close-on-exec) for it.
    Parent(Pid, OwnedFd),
}

/// A new process, in new namespaces (`CLONE_NEW*` of clone(2)) and, where a
/// cgroup v2 directory is given, from its first instruction in that cgroup.
///
/// With `sibling` the new process is a child of the caller's parent
/// (`CLONE_PARENT`), which then reaps it.
///
/// The caller must be single-threaded, as for fork(2): another thread's locks
/// would stay locked in the child for ever. The runtime never starts a thread.
pub fn clone(
    namespaces: u32,
    cgroup: Option<BorrowedFd<'_>>,
    sibling: bool,
) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces) | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if sibling {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has a copy of this memory, as after
    // fork(2); `args` and `pidfd` outlive the call; the caller is single-threaded.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, mem::size_of::<CloneArgs>())
    })?;
    match Pid::from_raw(pid as i32) {
        None => Ok(Cloned::Child),
        // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that nobody else owns.
        Some(pid) => Ok(Cloned::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// fork(2), for where clone3(2) is filtered away, as in containers; `None` in the child.
///
/// The caller must be single-threaded, as for [`clone`].
pub fn fork() -> Result<Option<Pid>, Errno> {
    clone_plain(libc::SIGCHLD)
}

/// fork(2) of a child for the caller's parent, which reaps it (`CLONE_PARENT`); `None` in the
/// child. The number is the one that the child has in the caller's pid namespace.
///
/// By clone(2), which seccomp filters allow that refuse clone3(2), since they cannot see its
/// flags. The caller must be single-threaded, as for [`clone`].
pub fn fork_sibling() -> Result<Option<Pid>, Errno> {
    clone_plain(libc::CLONE_PARENT | libc::SIGCHLD)
}

fn clone_plain(flags: libc::c_int) -> Result<Option<Pid>, Errno> {
    // SAFETY: no CLONE_VM, so the child has a copy of this memory; the caller is
    // single-threaded; the other arguments are for flags that are not set.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(Pid::from_raw(pid as i32))
}
