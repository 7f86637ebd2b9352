//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::call::check;

/// Loads a filter of `struct sock_filter`s into this process. With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` among the flags the answer is the
/// descriptor on which the calls to judge arrive.
pub fn set_filter(instructions: &[[u8; 8]], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions of 8 bytes, wherever they lie.
    let returned = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    })?;
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the value is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(returned as i32) }))
}
