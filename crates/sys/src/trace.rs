//! ptrace(2), for tests of who may trace whom.

use rustix::io::Errno;
use rustix::process::Pid;

use crate::call::check;

/// Begins to trace a process, which is stopped: `PTRACE_ATTACH`.
pub fn attach(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_ATTACH as libc::c_long, pid)
}

/// Lets it go on untraced: `PTRACE_DETACH`.
pub fn detach(pid: Pid) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH as libc::c_long, pid)
}

fn request(request: libc::c_long, pid: Pid) -> Result<(), Errno> {
    // SAFETY: neither request reads or writes memory of the caller.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, pid.as_raw_nonzero().get(), 0, 0) })
        .map(drop)
}
