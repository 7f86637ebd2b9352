//! mount_setattr(2), Linux 5.12.

use std::ffi::CStr;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::call::check;

/// `struct mount_attr`: `MOUNT_ATTR_*` to set and to clear, one of `MS_SHARED`,
/// `MS_SLAVE`, `MS_PRIVATE` and `MS_UNBINDABLE` or 0, and the user namespace of
/// an idmapped mount.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// Propagation type to give.
    pub propagation: u64,
    /// Descriptor of the user namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// Changes a mount's attributes and, with `recursive`, those of all mounts below it.
/// `path` is relative to `directory`; empty for the mount that `directory` is on the top of.
pub fn mount_setattr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    attributes: &MountAttr,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH as libc::c_uint | libc::AT_NO_AUTOMOUNT as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: the path is a C string, the attributes a whole mount_attr.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            mem::size_of::<MountAttr>(),
        )
    })
    .map(drop)
}
