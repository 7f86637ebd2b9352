//! seccomp(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// `struct seccomp_notif`: a call that awaits an answer.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notification {
    /// What it is answered by.
    pub id: u64,
    /// The calling thread, in the pid namespace of the receiver; 0 if it is not there.
    pub thread: u32,
    flags: u32,
    /// System call number.
    pub number: i32,
    /// AUDIT_ARCH_*, linux/audit.h.
    pub arch: u32,
    instruction_pointer: u64,
    /// Arguments.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const CONTINUE: u32 = 1;

const NOTIF_RECV: libc::Ioctl = libc::_IOWR::<Notification>(b'!' as u32, 0);
const NOTIF_SEND: libc::Ioctl = libc::_IOWR::<Response>(b'!' as u32, 1);
const NOTIF_ID_VALID: libc::Ioctl = libc::_IOW::<u64>(b'!' as u32, 2);

/// The next call. ENOENT where its thread was interrupted or has died meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: the kernel writes one whole structure, which must be zero before.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), NOTIF_RECV, &raw mut notification)
    })?;
    Ok(notification)
}

/// Whether a call still awaits its answer: only then `thread` is its thread for
/// certain, and not another's of the same number.
pub fn awaits_answer(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads the number.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), NOTIF_ID_VALID, &raw const id)
    })
    .is_ok()
}

/// Has a call fail with an errno; with 0, succeed without being done. ENOENT as
/// in [`receive`].
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<(), Errno> {
    respond(listener, &Response { id, value: 0, error: -errno, flags: 0 })
}

/// Has a call done as if there were no filter.
pub fn let_pass(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    respond(listener, &Response { id, value: 0, error: 0, flags: CONTINUE })
}

fn respond(listener: BorrowedFd<'_>, response: &Response) -> Result<(), Errno> {
    // SAFETY: the kernel reads one whole structure.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            listener.as_raw_fd(),
            NOTIF_SEND,
            std::ptr::from_ref(response),
        )
    })
    .map(drop)
}
