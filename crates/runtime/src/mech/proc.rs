//! A procfs that can be trusted: never the container's own, which it can
//! cover with whatever it likes (CVE-2019-16884, CVE-2025-52881).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// `PROC_SUPER_MAGIC`, statfs(2).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// A descriptor of the root of a procfs.
#[derive(Debug)]
pub struct Proc(OwnedFd);

impl Proc {
    /// The host's /proc, or a mount of our own where that is something else.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(fd) = fs::open(c"/proc", flags, Mode::empty())
            && is_proc(fd.as_fd())?
        {
            return Ok(Self(fd));
        }
        Self::private()
    }

    /// A new, detached instance for the pid namespace of this process.
    pub fn private() -> Result<Self, Errno> {
        let context = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Self)
    }

    /// Opens a file of it. Nothing may stand over it: neither a mount nor a link,
    /// other than the `self` of procfs.
    pub fn open_file(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Writes a file of it in one write(2), as these files want it.
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<(), Errno> {
        let file = self.open_file(path, OFlags::WRONLY)?;
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value))?;
        if written == value.len() { Ok(()) } else { Err(Errno::IO) }
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a descriptor is on procfs.
pub fn is_proc(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fs::fstatfs(fd)?.f_type as u64 == PROC_SUPER_MAGIC)
}
