//! A container's files as its program sees them: its root with its volumes and binds, but
//! neither tmpfs nor what the kernel makes up (/proc, /sys, /dev).
//!
//! The view is mounted in a mount namespace of its own, which ends with it. What a running
//! container has mounted is cloned from the container's own mount namespace: its sources are
//! paths of the host, and by now they may lead elsewhere, since containers may write to the
//! directories on the way (GO-2026-5617, GO-2026-5668). Everything in the view is a stranger's
//! and is opened by descriptors that the kernel resolves in its root (CVE-2018-15664).
//!
//! All of this is done by a thread of its own, whose root, working directory, umask and mount
//! namespace are its own: the caller's stay as they are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use husk_rootfs::resolve::{self, IN_ROOT};
use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use crate::container::Container;
use crate::container::config::{BindRecursive, Mount};
use crate::container::state::{State, Status};
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::lock::Lock;
use crate::volume::Volume;
use crate::{bind_source, copy_up, rootfs, volume};

/// unshare(2), setns(2).
const CLONE_NEWNS: u32 = 0x0002_0000;
/// unshare(2): root, working directory and umask.
const CLONE_FS: u32 = 0x0000_0200;
/// mount_setattr(2).
const MOUNT_ATTR_RDONLY: u64 = 1;

/// A container's files.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// The mount namespace that the root is in: without it the mounts below are gone.
    _namespace: OwnedFd,
    /// One that does not run must not be started meanwhile: two overlays cannot share an
    /// upper directory.
    _lock: Option<Lock>,
}

impl View {
    /// Mounts the view. With `volumes` false the root alone, without what is mounted over
    /// it.
    ///
    /// # Errors
    /// What the kernel refused; a bind's source that has become a link.
    pub fn open(home: &Home, container: &Container, volumes: bool) -> Result<Self> {
        let lock = container.lock()?;
        let state = container.state()?;
        let running = state.status == Status::Running;
        let (root, namespace) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("view".to_owned());
            let thread = thread
                .spawn_scoped(scope, || mount(home, container, &state, volumes))
                .map_err(file("start a thread for", &container.directory))?;
            thread.join().map_err(|_| Error::other("the thread that mounts a view ended early"))?
        })?;
        Ok(Self { root, _namespace: namespace, _lock: (!running).then_some(lock) })
    }

    /// The root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Makes the view; gives its root and its mount namespace.
fn mount(
    home: &Home,
    container: &Container,
    state: &State,
    volumes: bool,
) -> Result<(OwnedFd, OwnedFd)> {
    let at = &container.directory;
    husk_sys::namespace::unshare(CLONE_FS).map_err(file("unshare the root for", at))?;
    // As the monitor's: targets of mounts are made as at the start.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let running = state.status == Status::Running;
    let root = match running {
        true => {
            let path = container.run.join("rootfs");
            clone(&path).map_err(file("clone the mount", &path))?
        }
        false => rootfs::tree(home, container)?,
    };
    let mut trees = match (volumes, running) {
        (false, _) => Vec::new(),
        (true, true) => own_trees(container, state)?,
        (true, false) => sources(home, container)?,
    };
    trees.sort_by_key(|(mount, _)| mount.target().matches('/').count());
    husk_sys::namespace::unshare(CLONE_NEWNS).map_err(file("unshare the mounts for", at))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(file("unshare the mounts for", at))?;
    rustix::mount::move_mount(&root, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(file("mount the root at", at))?;
    for (mount, tree) in trees {
        cover(home, root.as_fd(), &mount, &tree, running)?;
    }
    if container.record.config.read_only {
        set_read_only(root.as_fd(), false).map_err(file("make read-only", at))?;
    }
    Ok((root, namespace_of("thread-self")?))
}

/// The mount namespace of a process or thread.
fn namespace_of(process: &str) -> Result<OwnedFd> {
    let path = format!("/proc/{process}/ns/mnt");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map_err(file("open", &path))
}

/// What is mounted in a running container, cloned from its own mount namespace: what was asked
/// for, and the engine's files. What is no mount any more is whatever the container has there.
fn own_trees(container: &Container, state: &State) -> Result<Vec<(Mount, OwnedFd)>> {
    let ended = || Error::other(format_args!("container {} is not running", container.record.name));
    let theirs = namespace_of(&state.pid.to_string());
    // Another process may have had the number by then.
    if !state.is_verified() {
        return Err(match theirs {
            Err(error) if state.is_alive() => error,
            _ => ended(),
        });
    }
    let theirs = theirs?;
    let ours = namespace_of("thread-self")?;
    let directory = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(file("open", path))
    };
    let (root, cwd) = (directory("/")?, directory(".")?);
    let enter = |namespace: &OwnedFd| {
        husk_sys::namespace::setns(namespace.as_fd(), CLONE_NEWNS)
            .map_err(file("enter the mount namespace for", &container.directory))
    };
    enter(&theirs)?;
    let trees = clone_targets(container);
    // Entering a namespace leads to its root, which need not have been ours.
    enter(&ours)?;
    let back = rustix::process::fchdir(&root)
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::fchdir(&cwd));
    back.map_err(file("return to the root for", &container.directory))?;
    trees
}

/// In the container's mount namespace: nothing is looked up here but its targets.
fn clone_targets(container: &Container) -> Result<Vec<(Mount, OwnedFd)>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open("/", flags, Mode::empty()).map_err(file("open the container's", "/"))?;
    let mut trees = Vec::new();
    let asked = container.record.config.mounts.iter().cloned();
    for mount in own_files(container).chain(asked) {
        if matches!(mount, Mount::Tmpfs { .. }) {
            continue;
        }
        let target = mount.target();
        let failed = |errno| file("open the container's", target)(errno);
        let found = match resolve::open_at(root.as_fd(), target.as_bytes(), OFlags::PATH, IN_ROOT) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            found => found.map_err(failed)?,
        };
        let how = TREE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&found, "", how).map_err(failed)?;
        trees.push((mount, tree));
    }
    Ok(trees)
}

/// What the engine has written for a container that runs, where no mount was asked for.
fn own_files(container: &Container) -> impl Iterator<Item = Mount> + '_ {
    let asked =
        |target: &str| container.record.config.mounts.iter().any(|mount| mount.target() == target);
    crate::spec::FILES.into_iter().filter(move |(target, _)| !asked(target)).map(
        |(target, name)| Mount::Bind {
            source: container.directory.join(name).display().to_string(),
            target: target.to_owned(),
            read_only: false,
            propagation: String::new(),
            recursive: BindRecursive::Enabled,
            resolved: String::new(),
        },
    )
}

const TREE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn clone(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, TREE)
}

/// The sources of the mounts of a container that does not run.
fn sources(home: &Home, container: &Container) -> Result<Vec<(Mount, OwnedFd)>> {
    let mut trees = Vec::new();
    for mount in &container.record.config.mounts {
        let tree = match mount {
            Mount::Bind { source, resolved, recursive, .. } => {
                let opened = bind_source::open(source, resolved)?;
                let mut how = TREE | OpenTreeFlags::AT_EMPTY_PATH;
                if *recursive != BindRecursive::Disabled {
                    how |= OpenTreeFlags::AT_RECURSIVE;
                }
                rustix::mount::open_tree(&opened, "", how).map_err(file("clone", source))?
            }
            Mount::Volume { name, anonymous, .. } => {
                Volume::create(home, name, std::collections::BTreeMap::new(), *anonymous)?;
                let (path, recursive) = Volume::source(home, name)?;
                let mut how = TREE;
                if recursive {
                    how |= OpenTreeFlags::AT_RECURSIVE;
                }
                rustix::mount::open_tree(CWD, &path, how).map_err(file("clone", &path))?
            }
            // Nothing of it outlives the container's process.
            Mount::Tmpfs { .. } => continue,
        };
        trees.push((mount.clone(), tree));
    }
    Ok(trees)
}

/// Puts a mount over its target. That of a running container is as it is there.
fn cover(
    home: &Home,
    root: BorrowedFd<'_>,
    mount: &Mount,
    tree: &OwnedFd,
    running: bool,
) -> Result<()> {
    let target = mount.target();
    let stat = rustix::fs::fstat(tree).map_err(file("look at the source of", target))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        // As the runtime does at the start.
        rootfs::make_directory_in(root, target)?;
    }
    if let (Mount::Volume { name, .. }, false) = (mount, running)
        && Volume::find(home, name)?.bound.is_none()
    {
        copy_up::fill(root, target, &volume::data(home, name))?;
    }
    let at = match resolve::open_at(root, target.as_bytes(), OFlags::PATH, IN_ROOT) {
        Ok(at) => at,
        // A place for a file, which the runtime makes at the start.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(file("open the container's", target)(errno)),
    };
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", at, "", how)
        .map_err(file("mount at the container's", target))?;
    let (read_only, recursive) = match mount {
        Mount::Bind { read_only, recursive, .. } => {
            (*read_only, matches!(recursive, BindRecursive::Enabled | BindRecursive::Readonly))
        }
        Mount::Volume { read_only, .. } => (*read_only, true),
        Mount::Tmpfs { .. } => return Ok(()),
    };
    match read_only && !running {
        true => set_read_only(tree.as_fd(), recursive).map_err(file("make read-only", target)),
        false => Ok(()),
    }
}

fn set_read_only(mount: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let attributes = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(mount, c"", recursive, &attributes)
}
