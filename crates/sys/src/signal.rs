//! Signal masks, dispositions, signalfd(2), and signals to a pidfd.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

use crate::call::check;

/// The kernel's signal set, one bit a signal.
type KernelSet = u64;

fn set_mask(mask: KernelSet) -> Result<(), Errno> {
    // SAFETY: the kernel reads the 8 bytes of the mask.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            ptr::null_mut::<KernelSet>(),
            mem::size_of::<KernelSet>(),
        )
    })
    .map(drop)
}

/// Blocks every signal that can be blocked and returns a signalfd (close-on-exec,
/// non-blocking) on which they arrive.
pub fn block_all_into_fd() -> Result<OwnedFd, Errno> {
    let all: KernelSet = !0;
    set_mask(all)?;
    // SAFETY: the kernel reads the 8 bytes of the mask.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const all,
            mem::size_of::<KernelSet>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Number of the next signal waiting in a signalfd, or None.
pub fn next(signalfd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: all zero bytes are a valid signalfd_siginfo.
    let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most one structure.
    let length = check(unsafe {
        libc::syscall(
            libc::SYS_read,
            signalfd.as_raw_fd(),
            &raw mut info,
            mem::size_of::<libc::signalfd_siginfo>(),
        )
    });
    match length {
        Ok(length) if length as usize == mem::size_of::<libc::signalfd_siginfo>() => {
            Some(info.ssi_signo as i32)
        }
        _ => None,
    }
}

/// What a program expects at its start: no signal blocked, and SIGPIPE, which
/// Rust's start-up code ignores, back at its default.
pub fn restore_defaults() -> Result<(), Errno> {
    // SAFETY: SIG_DFL installs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    set_mask(0)
}

/// Sends any signal, real-time ones too: pidfd_send_signal(2).
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: without siginfo the call takes numbers only.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}
