//! The root filesystem: bound to itself, so that it is a mount of its own, and
//! cut off from the host's mounts.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::plan::{Propagation, Root, RootPlace};
use crate::report::io_text;
use crate::sync::fault::{Context, Fault, Step};

/// Opens the root filesystem as it is.
pub fn open(root: &Root) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&root.path, flags, Mode::empty()).at(Step::Root, 0, "open")
}

/// Binds the root filesystem over itself and returns it.
pub fn bind(root: &Root) -> Result<OwnedFd, Fault> {
    if root.place == RootPlace::RuntimesNamespace {
        return bind_beside(root);
    }
    let shared = is_shared(root);
    set_propagation(c"/", if shared { Propagation::SHARED } else { Propagation::SLAVE }, !shared)
        .at(Step::Propagation, 0, "mount_setattr /")?;
    if shared {
        make_parent_private(root)?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &root.path, flags).at(Step::Root, 0, "open_tree")?;
    if !shared {
        // A copy of a shared mount is a member of its peer group: it would hear of the host.
        let slave = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), c"", true, &slave).at(Step::Propagation, 0, "mount_setattr")?;
    }
    move_mount(
        tree.as_fd(),
        c"",
        CWD,
        &root.path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS,
    )
    .at(Step::Root, 0, "move_mount")?;
    Ok(tree)
}

/// Binds it in the mount namespace of the runtime, whose other mounts stay as they are. All
/// mounts of the container come below this one, which [`release`] takes away.
fn bind_beside(root: &Root) -> Result<OwnedFd, Fault> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &root.path, flags).at(Step::Root, 0, "open_tree")?;
    let private = MountAttr { propagation: Propagation::PRIVATE, ..MountAttr::default() };
    let make_private = |tree: &OwnedFd| {
        mount_setattr(tree.as_fd(), c"", true, &private).at(Step::Propagation, 0, "mount_setattr")
    };
    make_private(&tree)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree.as_fd(), c"", CWD, &root.path, flags).at(Step::Root, 0, "move_mount")?;
    // A mount that is attached below a shared one becomes shared.
    make_private(&tree)?;
    Ok(tree)
}

/// The mount that a path leads to.
pub fn mount_id(path: &CStr) -> Result<u64, Errno> {
    let status = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    Ok(status.stx_mnt_id)
}

/// Takes the bind of a root filesystem in the runtime's mount namespace away, with all below it.
/// `covered` is the mount that the path led to before it was there.
pub fn release(path: &CStr, covered: u64) -> Result<(), Errno> {
    match mount_id(path) {
        Ok(top) if top != covered => unmount(path, UnmountFlags::DETACH),
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether the root is to send mounts out, so that the host's stay shared until it is entered.
pub fn is_shared(root: &Root) -> bool {
    root.propagation.is_some_and(|propagation| propagation.kind == Propagation::SHARED)
}

fn set_propagation(path: &CStr, kind: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = MountAttr { propagation: kind, ..MountAttr::default() };
    mount_setattr(CWD, path, recursive, &attributes)
}

/// pivot_root(2) refuses a new root whose parent mount is shared.
fn make_parent_private(root: &Root) -> Result<(), Fault> {
    let status = rustix::fs::statx(CWD, &root.path, AtFlags::empty(), StatxFlags::MNT_ID).at(
        Step::Root,
        0,
        "statx",
    )?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| {
        Fault::because(Step::Root, 0, format!("/proc/self/mountinfo: {}", io_text(&error)))
    })?;
    let mount_point = table
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ');
            let id: u64 = fields.next()?.parse().ok()?;
            (id == status.stx_mnt_id).then(|| fields.nth(3)).flatten()
        })
        .and_then(|escaped| CString::new(unescape(escaped)).ok())
        .ok_or_else(|| Fault::because(Step::Root, 0, "its mount is not in /proc/self/mountinfo"))?;
    set_propagation(&mount_point, Propagation::PRIVATE, false).at(
        Step::Propagation,
        0,
        "mount_setattr on the parent mount",
    )
}

/// proc_pid_mountinfo(5) writes space, tab, newline and backslash as three octal digits.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// After pivot_root(2): the propagation that was asked for.
pub fn finish_propagation(root: &Root) -> Result<(), Fault> {
    let Some(propagation) = root.propagation else {
        return Ok(());
    };
    set_propagation(c"/", propagation.kind, propagation.recursive).at(
        Step::Propagation,
        0,
        "mount_setattr /",
    )
}

/// Makes the root's own mount read-only.
pub fn make_readonly(tree: &OwnedFd) -> Result<(), Fault> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let attributes = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), c"", false, &attributes).at(Step::ReadonlyRoot, 0, "mount_setattr")
}

#[cfg(test)]
mod tests {
    #[test]
    fn mountinfo_escapes() {
        assert_eq!(super::unescape(r"/a\040b\134c\x"), b"/a b\\c\\x");
    }
}
