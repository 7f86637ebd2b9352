//! Network interfaces through the ioctls of netdevice(7).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::call::check;

/// Brings the loopback interface of the socket's network namespace up.
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // A new namespace's loopback has no flags of its own to keep but IFF_LOOPBACK,
    // which is not the user's to change.
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a whole ifreq with a terminated name.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })
    .map(drop)
}
