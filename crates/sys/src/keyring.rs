//! keyctl(2).

use std::ffi::CStr;

use rustix::io::Errno;

use crate::call::check;

/// Joins a session keyring of this name, which is made where there is none:
/// `KEYCTL_JOIN_SESSION_KEYRING`. Returns its serial number.
pub fn join_session(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: the name is a C string.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    })
    .map(|serial| serial as i32)
}

/// Sets a key's permissions, `KEYCTL_SETPERM`.
pub fn set_permissions(serial: i32, permissions: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, serial, permissions) })
        .map(drop)
}

/// A key's permissions as `KEYCTL_DESCRIBE` prints them (its fourth field).
pub fn permissions(serial: i32) -> Result<u32, Errno> {
    let mut buffer = [0u8; 256];
    // SAFETY: the kernel writes at most the buffer's length.
    let length = check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_DESCRIBE,
            serial,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })? as usize;
    std::str::from_utf8(&buffer[..length.min(buffer.len())])
        .ok()
        .and_then(|text| text.split(';').nth(3))
        .and_then(|field| u32::from_str_radix(field, 16).ok())
        .ok_or(Errno::INVAL)
}
