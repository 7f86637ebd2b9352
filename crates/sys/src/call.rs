//! From the return value of syscall(2) to a result.

use rustix::io::Errno;

/// The value of a call that has just returned, or the errno it left.
pub(crate) fn check(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned >= 0 {
        return Ok(returned);
    }
    // SAFETY: errno is this thread's own, and its location is always valid.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}
