//! setns(2) and the ioctls of ioctl_ns(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::call::check;

const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// Enters namespaces: of a namespace file of type `kinds`, or all of `kinds`
/// (`CLONE_NEW*`) of the process that a pidfd refers to (Linux 5.8).
pub fn setns(of: BorrowedFd<'_>, kinds: u32) -> Result<(), Errno> {
    // SAFETY: changes this process's namespaces only.
    check(unsafe { libc::syscall(libc::SYS_setns, of.as_raw_fd(), kinds) }).map(drop)
}

/// unshare(2) with `CLONE_NEW*`.
pub fn unshare(kinds: u32) -> Result<(), Errno> {
    // SAFETY: with namespaces only, descriptors and memory stay as they are.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds) }).map(drop)
}

/// The `CLONE_NEW*` constant of a namespace file; ENOTTY where it is none.
pub fn kind(file: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: takes no argument.
    check(unsafe { libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), NS_GET_NSTYPE) })
        .map(|kind| kind as u32)
}

/// The user namespace that owns a namespace; EPERM where it lies outside of the caller's.
pub fn owner(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no argument.
    let fd = check(unsafe { libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), NS_GET_USERNS) })?;
    // SAFETY: a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
