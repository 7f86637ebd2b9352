//! Netlink socket options, which rustix has no calls for (netlink(7)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::call::check;

/// Asks for what makes a netlink answer worth reading: the kernel's own words
/// with an error (`NETLINK_EXT_ACK`, Linux 4.12), an answer without a copy of
/// the request (`NETLINK_CAP_ACK`, 4.3), and dumps that honour the filter in
/// their request instead of ignoring it (`NETLINK_GET_STRICT_CHK`, 4.20).
///
/// # Errors
///
/// The errno of setsockopt(2), for example `ENOPROTOOPT` where `fd` is no
/// netlink socket.
pub fn set_strict_and_verbose(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
        let on: libc::c_int = 1;
        // SAFETY: `on` outlives the call and its size is the length given.
        check(unsafe {
            libc::syscall(
                libc::SYS_setsockopt,
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                &raw const on,
                size_of::<libc::c_int>(),
            )
        })?;
    }
    Ok(())
}
