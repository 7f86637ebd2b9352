//! From the host's root to the container's.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::proc::Proc;
use super::rootfs::unescape;
use crate::plan::Propagation;
use crate::report::io_text;
use crate::sync::fault::{Context, Fault, Step};

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
pub fn move_over(root: &OwnedFd, proc: &Proc) -> Result<(), Fault> {
    hide_kernel_filesystems(root, proc)?;
    fchdir(root).at(Step::PivotRoot, 0, "fchdir")?;
    move_mount(root.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(
        Step::PivotRoot,
        0,
        "move_mount",
    )?;
    change_root()
}

/// Takes away or covers every procfs and sysfs of the host's. A user namespace may mount a new one
/// only where the mount namespace has one in full view (mount_too_revealing() of the kernel), and
/// that of the host, which the container cannot even reach, would count.
fn hide_kernel_filesystems(root: &OwnedFd, proc: &Proc) -> Result<(), Fault> {
    let failed = |operation: &str, path: &CStr, errno: Errno| Fault {
        step: Step::PivotRoot,
        index: 0,
        op: format!("{operation} {}", path.to_string_lossy()).into(),
        errno: Some(errno),
        detail: String::new(),
    };
    let mounts = Mounts::read(root, proc)?;
    for mount in mounts.revealing() {
        // Unmounting is an event of the mount above, and must not reach the host's.
        let slave = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
        let above = mounts.table.iter().find(|other| other.id == mount.parent);
        let set = above.map_or(Ok(()), |above| mount_setattr(CWD, &above.point, false, &slave));
        let done = set.and_then(|()| match unmount(&mount.point, UnmountFlags::DETACH) {
            // Locked, since it comes from a more privileged namespace.
            Err(Errno::INVAL | Errno::PERM) => cover(&mount.point),
            done => done,
        });
        match done {
            // Gone with one above it, or out of sight: the second look tells.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(failed("umount2", &mount.point, errno)),
        }
    }
    match Mounts::read(root, proc)?.revealing().next() {
        None => Ok(()),
        Some(mount) => Err(Fault::because(
            Step::PivotRoot,
            0,
            format!(
                "--no-pivot: the host's {} cannot be unmounted: another mount hides it",
                mount.point.to_string_lossy()
            ),
        )),
    }
}

fn cover(path: &CStr) -> Result<(), Errno> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"tmpfs", path, c"tmpfs", flags, None)
}

/// The mounts of this process's namespace.
struct Mounts {
    table: Vec<Mounted>,
    /// Where the container's root is mounted.
    root: CString,
}

impl Mounts {
    fn read(root: &OwnedFd, proc: &Proc) -> Result<Self, Fault> {
        const FILE: &str = "/proc/self/mountinfo";
        let status = statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).at(
            Step::PivotRoot,
            0,
            "statx",
        )?;
        let file = proc.open_file(c"self/mountinfo", OFlags::RDONLY).at(
            Step::PivotRoot,
            0,
            "open /proc/self/mountinfo",
        )?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).map_err(|error| {
            Fault::because(Step::PivotRoot, 0, format!("{FILE}: {}", io_text(&error)))
        })?;
        let table: Vec<Mounted> = text.lines().filter_map(Mounted::parse).collect();
        let own = table.iter().find(|mount| mount.id == status.stx_mnt_id);
        let root = own.map(|mount| mount.point.clone()).ok_or_else(|| {
            Fault::because(Step::PivotRoot, 0, format!("its mount is not in {FILE}"))
        })?;
        Ok(Self { table, root })
    }

    /// Each procfs and sysfs outside of the container's root that nothing covers.
    fn revealing(&self) -> impl Iterator<Item = &Mounted> {
        self.table.iter().filter(|mount| mount.of_kernel && !self.is_below_root(mount)).filter(
            |mount| {
                let covers = |other: &&Mounted| {
                    other.parent == mount.id && other.point == mount.point && !other.of_kernel
                };
                !self.table.iter().any(|other| covers(&other))
            },
        )
    }

    fn is_below_root(&self, mount: &Mounted) -> bool {
        let rest = mount.point.as_bytes().strip_prefix(self.root.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// A line of proc_pid_mountinfo(5).
struct Mounted {
    id: u64,
    parent: u64,
    point: CString,
    /// Whether it is a procfs or a sysfs.
    of_kernel: bool,
}

impl Mounted {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let point = CString::new(unescape(fields.nth(2)?)).ok()?;
        let kind = filesystem.split(' ').next()?;
        Some(Self { id, parent, point, of_kernel: matches!(kind, "proc" | "sysfs") })
    }
}

/// Without a mount namespace of the container's own: chroot(2) alone.
pub fn chroot_into(root: &OwnedFd) -> Result<(), Fault> {
    fchdir(root).at(Step::PivotRoot, 0, "fchdir")?;
    change_root()
}

fn change_root() -> Result<(), Fault> {
    chroot(c".").at(Step::PivotRoot, 0, "chroot")?;
    chdir(c"/").at(Step::PivotRoot, 0, "chdir")
}
