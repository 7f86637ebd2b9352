//! landlock(7): rules that a process puts on itself and its descendants.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use crate::call::check;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// enum landlock_rule_type.
const PATH_BENEATH: libc::c_uint = 1;
/// The same, Linux 6.7.
const NET_PORT: libc::c_uint = 2;

/// `struct landlock_ruleset_attr`, as Linux 6.12 has it. An older kernel takes
/// it too, as long as what it does not know is zero.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*` that are denied but where a rule allows them.
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*`, the same; Linux 6.7.
    pub net: u64,
    /// `LANDLOCK_SCOPE_*`; Linux 6.12.
    pub scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

/// The kernel's ABI version, 1 or more. ENOSYS or EOPNOTSUPP where it has no
/// Landlock or was started without it.
pub fn abi() -> Result<u32, Errno> {
    // SAFETY: with this flag the call takes no attributes.
    check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<Handled>(), 0usize, VERSION)
    })
    .map(|version| version as u32)
}

/// A set without rules: all that it handles is denied. Close-on-exec.
pub fn create_ruleset(handled: &Handled) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads the structure, whose size it is told.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::from_ref(handled),
            size_of::<Handled>(),
            0,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Allows accesses to a file, or to all below a directory. EINVAL for an access
/// that the set does not handle, or one to directories where the file is none.
pub fn allow_path(
    ruleset: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    allowed: u64,
) -> Result<(), Errno> {
    let rule = PathBeneath { allowed, parent: file.as_raw_fd() };
    // SAFETY: the rule type is that of the structure.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    })
    .map(drop)
}

/// Allows accesses to a TCP port.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, allowed: u64) -> Result<(), Errno> {
    let rule = NetPort { allowed, port: u64::from(port) };
    // SAFETY: the rule type is that of the structure.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            NET_PORT,
            &raw const rule,
            0,
        )
    })
    .map(drop)
}

/// Puts the rules in force for this process, for good. EPERM without
/// no_new_privs or `CAP_SYS_ADMIN` in the user namespace.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
}
