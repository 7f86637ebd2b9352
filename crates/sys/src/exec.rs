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

/// Marks every descriptor from `first` on close-on-exec: close_range(2) with
/// `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: changes descriptor flags only.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
    .map(drop)
}

/// Ends the process at once, without running anything that was registered for exit.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: always safe.
    unsafe { libc::_exit(status) }
}
