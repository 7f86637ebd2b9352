//! Masked and read-only paths, on descriptors resolved in the container's root.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{self, FileType};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mount::{move_onto, new_filesystem, open_bind};
use super::resolve;
use crate::inject;
use crate::plan::Setting;
use crate::sync::fault::{Context, Fault, Refused, Step};

const ATTR_RDONLY: u64 = 0x1;

/// Covers files with the host's /dev/null and directories with an empty,
/// read-only tmpfs: one for all, since each would cost a superblock.
pub fn mask(paths: &[(usize, CString)], root: BorrowedFd<'_>) -> Result<(), Fault> {
    let mut empty: Option<OwnedFd> = None;
    for (index, path) in paths {
        let index = *index;
        let Some(target) = existing(path, root).map_err(|r| r.at(Step::MaskedPath, index))? else {
            continue;
        };
        cover(&target, &mut empty).map_err(|refused| refused.at(Step::MaskedPath, index))?;
        inject::after(Step::MaskedPath, index)?;
    }
    Ok(())
}

/// A path's descriptor; None where there is nothing to protect.
fn existing(path: &CString, root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Refused> {
    match resolve::open(root, path) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).op("openat2"),
    }
}

fn cover(target: &OwnedFd, empty: &mut Option<OwnedFd>) -> Result<(), Refused> {
    let status = fs::fstat(target).op("fstat")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return move_onto(&null()?, target.as_fd());
    }
    match empty {
        Some(attached) => move_onto(&copy(attached.as_fd(), false)?, target.as_fd()),
        None => {
            let settings = [
                Setting::Value(c"source".to_owned(), c"tmpfs".to_owned()),
                Setting::Value(c"mode".to_owned(), c"0555".to_owned()),
            ];
            let tmpfs = new_filesystem(c"tmpfs", &settings, ATTR_RDONLY)?;
            move_onto(&tmpfs, target.as_fd())?;
            // From now on a mount of this namespace, which can be copied.
            *empty = Some(tmpfs);
            Ok(())
        }
    }
}

/// The host's /dev/null, looked at before use: in the container's own /dev it
/// could be anything (CVE-2025-31133).
fn null() -> Result<OwnedFd, Refused> {
    let tree = open_bind(c"/dev/null", false)?;
    let status = fs::fstat(&tree).op("fstat")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::CharacterDevice
        || status.st_rdev != fs::makedev(1, 3)
    {
        return Err(Refused::because("the host's /dev/null is not the null device"));
    }
    Ok(tree)
}

fn copy(of: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Refused> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(of, c"", flags).op("open_tree")
}

/// Covers each path with itself, read-only with all mounts below. The copy is
/// made from the same descriptor that it is attached to, and read-only before.
pub fn make_readonly(paths: &[(usize, CString)], root: BorrowedFd<'_>) -> Result<(), Fault> {
    for (index, path) in paths {
        let index = *index;
        let readonly = || -> Result<(), Refused> {
            let Some(target) = existing(path, root)? else {
                return Ok(());
            };
            let tree = copy(target.as_fd(), true)?;
            let attributes = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
            mount_setattr(tree.as_fd(), c"", true, &attributes).op("mount_setattr")?;
            move_onto(&tree, target.as_fd())
        };
        readonly().map_err(|refused| refused.at(Step::ReadonlyPath, index))?;
        inject::after(Step::ReadonlyPath, index)?;
    }
    Ok(())
}
