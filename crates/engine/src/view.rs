//! A container's files as its program sees them: its root with its volumes and binds, but
//! neither tmpfs nor what the kernel makes up (/proc, /sys, /dev).
//!
//! The view is mounted in a mount namespace of this process's own, from the same sources
//! as the container's mounts: no process of the container's takes part, and nothing is
//! left when we end. Everything in it is a stranger's and is opened by descriptors that
//! the kernel resolves in its root (CVE-2018-15664).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use crate::container::Container;
use crate::container::config::Mount;
use crate::container::state::Status;
use crate::error::{Result, file};
use crate::home::Home;
use crate::lock::Lock;
use crate::volume::Volume;
use crate::{copy_up, rootfs, volume};

/// unshare(2).
const CLONE_NEWNS: u32 = 0x0002_0000;
/// mount_setattr(2).
const MOUNT_ATTR_RDONLY: u64 = 1;

/// A container's files.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// One that does not run must not be started meanwhile: two overlays cannot share an
    /// upper directory.
    _lock: Option<Lock>,
}

impl View {
    /// Mounts the view. With `volumes` false the root alone, without what is mounted over
    /// it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn open(home: &Home, container: &Container, volumes: bool) -> Result<Self> {
        // As the monitor's: targets of mounts are made as at the start.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let lock = container.lock()?;
        let running = container.state()?.status == Status::Running;
        let mut sources = Vec::new();
        if volumes {
            if running {
                for mount in own_files(container) {
                    sources.extend(source(home, &mount)?.map(|tree| (mount, tree)));
                }
            }
            for mount in &container.record.config.mounts {
                sources.extend(source(home, mount)?.map(|tree| (mount.clone(), tree)));
            }
        }
        sources.sort_by_key(|(mount, _)| mount.target().matches('/').count());
        let root = match running {
            true => {
                let path = container.run.join("rootfs");
                clone(&path).map_err(file("clone the mount", &path))?
            }
            false => rootfs::tree(home, container)?,
        };
        enter_namespace(container)?;
        let at = &container.directory;
        rustix::mount::move_mount(&root, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(file("mount the root at", at))?;
        for (mount, tree) in sources {
            cover(home, root.as_fd(), &mount, &tree)?;
        }
        if container.record.config.read_only {
            set_read_only(root.as_fd(), false).map_err(file("make read-only", at))?;
        }
        Ok(Self { root, _lock: (!running).then_some(lock) })
    }

    /// The root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What the engine has written for a container that runs, where no mount was asked for.
fn own_files(container: &Container) -> impl Iterator<Item = Mount> + '_ {
    let asked =
        |target: &str| container.record.config.mounts.iter().any(|mount| mount.target() == target);
    crate::spec::FILES.into_iter().filter(move |(target, _)| !asked(target)).map(
        |(target, name)| Mount::Bind {
            source: container.run.join(name).display().to_string(),
            target: target.to_owned(),
            read_only: false,
            propagation: String::new(),
        },
    )
}

fn clone(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags)
}

/// A mount's source; `None` where it has none that outlives the container's process.
fn source(home: &Home, mount: &Mount) -> Result<Option<OwnedFd>> {
    let path = match mount {
        Mount::Bind { source, .. } => source.into(),
        Mount::Volume { name, anonymous, .. } => {
            Volume::create(home, name, std::collections::BTreeMap::new(), *anonymous)?;
            volume::data(home, name)
        }
        Mount::Tmpfs { .. } => return Ok(None),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, &path, flags).map(Some).map_err(file("clone", &path))
}

/// A mount namespace whose changes reach no other one.
fn enter_namespace(container: &Container) -> Result<()> {
    let failed = |errno: Errno| file("unshare the mounts for", &container.directory)(errno);
    husk_sys::namespace::unshare(CLONE_NEWNS).map_err(failed)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(failed)
}

/// Puts a mount over its target.
fn cover(home: &Home, root: BorrowedFd<'_>, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let target = mount.target();
    let stat = rustix::fs::fstat(tree).map_err(file("look at the source of", target))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        // As the runtime does at the start.
        rootfs::make_directory_in(root, target)?;
    }
    if let Mount::Volume { name, .. } = mount {
        copy_up::fill(root, target, &volume::data(home, name))?;
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let at = match rustix::fs::openat2(root, target, flags, Mode::empty(), resolve) {
        Ok(at) => at,
        // A place for a file, which the runtime makes at the start.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(file("open the container's", target)(errno)),
    };
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", at, "", how)
        .map_err(file("mount at the container's", target))?;
    let (Mount::Bind { read_only, .. } | Mount::Volume { read_only, .. }) = mount else {
        return Ok(());
    };
    match read_only {
        true => set_read_only(tree.as_fd(), true).map_err(file("make read-only", target)),
        false => Ok(()),
    }
}

fn set_read_only(mount: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let attributes = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(mount, c"", recursive, &attributes)
}
