//! execve(2), execveat(2), close_range(2) and _exit(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use crate::call::check;

/// A NULL-terminated array of C strings, as execve(2) takes it.
///
/// It is made before the process that uses it, so that nothing is allocated there.
pub struct CStringArray {
    pointers: Vec<*const libc::c_char>,
    strings: Vec<CString>,
}

impl CStringArray {
    /// Takes the strings over; their heap blocks stay where they are.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, strings }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// execve(2). Returns only on failure.
pub fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: both arrays end with NULL and point into strings that they own.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execve,
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    check(returned).err().unwrap_or(Errno::NOEXEC)
}

/// Executes the file that a descriptor refers to, execveat(2) with
/// `AT_EMPTY_PATH`. Returns only on failure.
pub fn fexecve(file: BorrowedFd<'_>, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: as in `execve`; the empty path is a static C string.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(returned).err().unwrap_or(Errno::NOEXEC)
}

/// Closes every descriptor from `first` on but those to `keep`: close_range(2),
/// Linux 5.9. For a process that is about to execute another program: the owners
/// of what is closed are still there and must never be dropped.
pub fn close_all_but(first: u32, keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: no memory is involved; that nobody uses what is closed is the
    // contract of `close_all_but`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Ends the process at once, without running anything that was registered for exit.
///
/// A seccomp filter may refuse exit_group(2) as well; then the process ends by a signal.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number only, and returns only where a filter refuses it.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    // Ends in an invalid instruction where its signal is refused, too.
    std::process::abort()
}
