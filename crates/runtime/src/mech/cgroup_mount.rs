//! Mounts of type `cgroup`: v2, or v1's hierarchies side by side on a tmpfs.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use husk_cgroup::Cgroup;
use husk_sys::mount::MountAttr;
use rustix::fs::{self, Mode};

use super::mount::{
    finish, move_onto, new_filesystem, open_bind, open_target, set_attributes, set_propagation,
};
use super::resolve::{self, Missing};
use crate::plan::{Anew, CgroupMount, LegacyMount, Mount, Setting};
use crate::sync::fault::{Context, Refused};

/// Attributes of the tmpfs that holds v1's hierarchies: nosuid, nodev, noexec.
const TMPFS_ATTRIBUTES: u64 = 0x2 | 0x4 | 0x8;
const ATTR_RDONLY: u64 = 0x1;

/// Mounts the cgroup filesystem at `mount`'s destination.
pub fn attach(
    mount: &Mount,
    source: &CgroupMount,
    root: BorrowedFd<'_>,
    cgroup: &Cgroup,
) -> Result<(), Refused> {
    let target = open_target(mount, root, Missing::Directory)?;
    match source {
        CgroupMount::Unified { settings } => {
            let tree = new_filesystem(c"cgroup2", settings, mount.attributes.set)?;
            finish(mount, &tree, target.as_fd(), &mount.recursive_attributes)
        }
        CgroupMount::BoundUnified { mount_point } => {
            let tree = bind_own(mount, mount_point, cgroup)?;
            finish(mount, &tree, target.as_fd(), &kept_readonly(mount.recursive_attributes))
        }
        CgroupMount::Legacy { hierarchies, links, anew } => {
            let settings = [
                Setting::Value(c"source".to_owned(), c"tmpfs".to_owned()),
                Setting::Value(c"mode".to_owned(), c"755".to_owned()),
            ];
            let tmpfs = new_filesystem(c"tmpfs", &settings, TMPFS_ATTRIBUTES)?;
            move_onto(&tmpfs, target.as_fd())?;
            for hierarchy in hierarchies {
                attach_hierarchy(mount, hierarchy, &tmpfs, *anew, cgroup)?;
            }
            for (name, target) in links {
                fs::symlinkat(target, &tmpfs, name).op("symlinkat")?;
            }
            // Read-only last, and always: nothing but the links is ever written there.
            let readonly = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
            if mount.attributes.set & ATTR_RDONLY != 0 {
                set_attributes(&tmpfs, false, &readonly)?;
            }
            set_attributes(&tmpfs, true, &kept_readonly(mount.recursive_attributes))?;
            set_propagation(mount, &tmpfs)
        }
    }
}

fn attach_hierarchy(
    mount: &Mount,
    hierarchy: &LegacyMount,
    tmpfs: &OwnedFd,
    anew: Anew,
    cgroup: &Cgroup,
) -> Result<(), Refused> {
    fs::mkdirat(tmpfs, &hierarchy.directory, Mode::from_raw_mode(0o755)).op("mkdirat")?;
    let target = resolve::open(tmpfs.as_fd(), &hierarchy.directory).op("openat2")?;
    let mount_anew = || new_filesystem(hierarchy.kind, &hierarchy.settings, mount.attributes.set);
    let bind = || bind_own(mount, &hierarchy.mount_point, cgroup);
    let tree = match anew {
        Anew::Never => bind()?,
        // A user namespace may not take back all that the host has set on its mount.
        Anew::Unplaced if own_below(&hierarchy.mount_point, cgroup).is_some() => {
            bind().or_else(|_| mount_anew())?
        }
        Anew::Unplaced | Anew::Always => mount_anew()?,
    };
    move_onto(&tree, target.as_fd())
}

/// A copy of the mount of the container's directory below a hierarchy's mount
/// point. Where it has none there, the whole hierarchy, which is others': to be
/// seen and, whatever the options say, not written (CVE-2023-25809).
fn bind_own(mount: &Mount, mount_point: &CStr, cgroup: &Cgroup) -> Result<OwnedFd, Refused> {
    let own = own_below(mount_point, cgroup);
    let mut attributes = mount.attributes;
    if own.is_none() {
        attributes = kept_readonly(attributes);
        attributes.set |= ATTR_RDONLY;
    }
    let tree = open_bind(own.as_deref().unwrap_or(mount_point), false)?;
    set_attributes(&tree, false, &attributes)?;
    Ok(tree)
}

/// Attributes that make nothing writable which is read-only.
fn kept_readonly(attributes: MountAttr) -> MountAttr {
    MountAttr { clear: attributes.clear & !ATTR_RDONLY, ..attributes }
}

/// The container's directory below a hierarchy's mount point.
pub(crate) fn own_below(mount_point: &CStr, cgroup: &Cgroup) -> Option<CString> {
    let own = cgroup.directories().find(|directory| {
        let rest = directory.as_os_str().as_bytes().strip_prefix(mount_point.to_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    });
    own.and_then(|directory| CString::new(directory.as_os_str().as_bytes()).ok())
}
