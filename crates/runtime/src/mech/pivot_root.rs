//! From the host's root to the container's.

use std::os::fd::{AsFd, OwnedFd};

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use crate::fault::{Context, Fault, Step};
use crate::plan::Propagation;

/// Makes `root` the root directory and lets go of the host's mounts, which are `shared` with
/// the host where the container's root is to be.
pub fn pivot(root: &OwnedFd, shared: bool) -> Result<(), Fault> {
    let old = match shared {
        true => Some(open_old().at(Step::PivotRoot, 0, "open /")?),
        false => None,
    };
    fchdir(root).at(Step::PivotRoot, 0, "fchdir")?;
    // Both arguments the same: the old root ends up mounted over the new one
    // (pivot_root(2), NOTES), so that no directory for it is needed.
    pivot_root(c".", c".").at(Step::PivotRoot, 0, "pivot_root")?;
    if let Some(old) = old {
        // Unmounting what is shared would unmount the host's own.
        let slave = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
        mount_setattr(old.as_fd(), c"", true, &slave).at(Step::PivotRoot, 0, "mount_setattr")?;
    }
    // The old root is what "." now leads to.
    unmount(c".", UnmountFlags::DETACH).at(Step::PivotRoot, 0, "umount2")?;
    chdir(c"/").at(Step::PivotRoot, 0, "chdir")
}

fn open_old() -> Result<OwnedFd, Errno> {
    openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Moves `root` over / and changes into it: for hosts on an initial ramdisk,
/// where pivot_root(2) cannot be had. The host's mounts stay below, out of reach
/// of all but a process with `CAP_SYS_CHROOT` that was left a descriptor.
pub fn move_over(root: &OwnedFd) -> Result<(), Fault> {
    fchdir(root).at(Step::PivotRoot, 0, "fchdir")?;
    move_mount(root.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(
        Step::PivotRoot,
        0,
        "move_mount",
    )?;
    change_root()
}

/// Without a mount namespace: chroot(2) alone.
pub fn chroot_into(path: &std::ffi::CStr) -> Result<(), Fault> {
    chdir(path).at(Step::PivotRoot, 0, "chdir")?;
    change_root()
}

fn change_root() -> Result<(), Fault> {
    chroot(c".").at(Step::PivotRoot, 0, "chroot")?;
    chdir(c"/").at(Step::PivotRoot, 0, "chdir")
}
