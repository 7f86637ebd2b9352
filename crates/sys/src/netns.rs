//! A network namespace for the calling thread (network_namespaces(7)).

#![allow(unsafe_code)]

use std::io;

/// Moves the calling thread, and no other, into a new network namespace that
/// holds nothing but a loopback link that is down.
///
/// # Errors
///
/// The errno of unshare(2): `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare takes a plain integer; CLONE_NEWNET changes neither
    // memory, descriptors nor credentials of the process.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
