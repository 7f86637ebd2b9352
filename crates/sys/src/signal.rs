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
    block_into_fd(!0)
}

/// The same for SIGCHLD alone; every other signal is unblocked.
pub fn children_into_fd() -> Result<OwnedFd, Errno> {
    block_into_fd(1 << (libc::SIGCHLD - 1))
}

fn block_into_fd(signals: KernelSet) -> Result<OwnedFd, Errno> {
    set_mask(signals)?;
    // SAFETY: the kernel reads the 8 bytes of the mask.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const signals,
            mem::size_of::<KernelSet>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Numbers of signals that wait in a signalfd, at most eight: what is left makes it
/// readable still.
pub fn pending(signalfd: BorrowedFd<'_>) -> impl Iterator<Item = i32> {
    // SAFETY: all zero bytes are valid structures.
    let mut infos: [libc::signalfd_siginfo; 8] = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes whole structures, as many as there is room for.
    let length = check(unsafe {
        libc::syscall(
            libc::SYS_read,
            signalfd.as_raw_fd(),
            &raw mut infos,
            mem::size_of_val(&infos),
        )
    });
    let read = length.map_or(0, |length| length as usize / mem::size_of_val(&infos[0]));
    infos.into_iter().take(read).map(|info| info.ssi_signo as i32)
}

/// What a program expects at its start: every signal at its default action, and none blocked.
///
/// Ignored signals are inherited over execve(2), so this undoes nohup(1), a shell's `&`,
/// Rust's own SIGPIPE, and the 32 and 33 that glibc's posix_spawn(3) ignores.
pub fn restore_defaults() -> Result<(), Errno> {
    reset_actions();
    set_mask(0)
}

/// Ends this process on SIGHUP, SIGINT, SIGQUIT and SIGTERM, with 128 and the signal's number
/// as status, also where it is the init of a pid namespace, to which the kernel delivers only
/// signals that it handles (pid_namespaces(7)). A signal that is ignored stays so. execve(2)
/// takes this back.
pub fn end_on_termination() {
    extern "C" fn end(signal: libc::c_int) {
        crate::exec::exit_now(128 + signal)
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler makes one system call, which may be made in any state.
        unsafe {
            let handler: extern "C" fn(libc::c_int) = end;
            if libc::signal(signal, handler as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

/// The same for a process that goes on: SIGPIPE stays ignored, as Rust's start-up code has it.
pub fn restore_own_defaults() -> Result<(), Errno> {
    reset_actions();
    // SAFETY: SIG_IGN installs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    set_mask(0)
}

/// Best effort: where a seccomp filter denies rt_sigaction(2), the actions stay as they are.
fn reset_actions() {
    /// The last real-time signal, signal(7).
    const LAST: i32 = 64;
    /// A kernel `struct sigaction` of zeros is SIG_DFL with no flags and an empty mask, whatever
    /// the order of its fields, of which no architecture has more than four words.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=LAST {
        // By the system call, as the C library hides 32 and 33. KILL and STOP give EINVAL.
        // SAFETY: the kernel reads at most the 32 bytes; SIG_DFL installs no code of ours.
        let _ = check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                ptr::null_mut::<u64>(),
                mem::size_of::<KernelSet>(),
            )
        });
    }
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
