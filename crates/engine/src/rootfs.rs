//! A container's root: an overlay of its image, or of this machine's own root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use husk_image::digest::Digest;
use husk_image::overlay::{OverlayPlan, Writable};
use husk_image::progress::Silent;
use husk_image::registry::{PullOptions, unpack_image};
use husk_image::store::{Layer, StoreError};
use husk_rootfs::resolve::{self, IN_ROOT};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::container::{Container, Source};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::rootless::is_rootless;

/// Mounts the root at `rootfs` in the container's run directory. The descriptor is of the
/// mount's root.
///
/// # Errors
/// A missing layer, or what the kernel refused.
pub fn mount(home: &Home, container: &Container) -> Result<OwnedFd> {
    let target = container.run.join(ROOTFS);
    make_directory(&target)?;
    let tree = tree(home, container)?;
    rustix::mount::move_mount(&tree, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(file("mount the rootfs at", &target))?;
    Ok(tree)
}

/// The layers of an image, lowest first. One that is missing or damaged is unpacked again from
/// its blob.
///
/// # Errors
/// A layer whose blob is missing too: the image is to be pulled or loaded again.
pub fn layers(home: &Home, manifest: &Digest) -> Result<Vec<Layer>> {
    let store = home.images()?;
    let image = store.image(manifest)?;
    match store.layers(&image.chain_ids()) {
        Err(StoreError::NoLayer(_)) => {
            let _activity = store.activity()?;
            unpack_image(&store, &image, &PullOptions::default(), &Silent)?;
            Ok(store.layers(&image.chain_ids())?)
        }
        layers => Ok(layers?),
    }
}

/// The root of a container that does not run, attached nowhere.
///
/// # Errors
/// A missing layer, or what the kernel refused.
pub fn tree(home: &Home, container: &Container) -> Result<OwnedFd> {
    match &container.record.source {
        Source::Image { manifest, .. } => {
            let layers = layers(home, manifest)?;
            Ok(OverlayPlan::prepare(&layers, &container.directory)?.mount()?)
        }
        Source::Host => host(container),
        Source::Tree => {
            let path = tree_of(container);
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            rustix::mount::open_tree(CWD, &path, flags).map_err(file("clone the mount", &path))
        }
    }
}

/// This machine's root. As an ordinary user it cannot be had: overlayfs clones its lower
/// mount alone, and the kernel does not uncover for a user namespace what is mounted over
/// (mount_namespaces(7), "locked"): EINVAL.
fn host(container: &Container) -> Result<OwnedFd> {
    if is_rootless() {
        return Err(host_takes_root());
    }
    Ok(host_plan(container)?.mount()?)
}

/// What is said of the image `host` without root.
pub fn host_takes_root() -> Error {
    Error::other(
        "the image host takes root: the kernel does not let an ordinary user's containers have \
         this machine's root below theirs; bind what they need, as with -v /usr:/usr:ro",
    )
}

/// This machine's root below, never written. overlayfs refuses an upper directory that is
/// below a lower one (ELOOP), so changes are in a tmpfs and last until the container is
/// removed or the machine restarted.
fn host_plan(container: &Container) -> Result<OverlayPlan> {
    let changes = changes_of(container);
    make_directory(&changes)?;
    let upper = changes.join("upper");
    if !upper.exists() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("tmpfs", &changes, "tmpfs", flags, c"mode=0700")
            .map_err(file("mount a tmpfs at", &changes))?;
        let root = std::fs::symlink_metadata("/").map_err(file("stat", "/"))?;
        std::fs::create_dir(&upper).map_err(file("make", &upper))?;
        std::fs::set_permissions(&upper, root.permissions()).map_err(file("chmod", &upper))?;
    }
    let work = changes.join("work");
    make_directory(&work)?;
    let writable = Writable { upper, work, volatile: false };
    Ok(OverlayPlan {
        lower: vec![PathBuf::from("/")],
        writable: Some(writable),
        userxattr: false,
        directory: container.directory.clone(),
    })
}

/// Where a container's changes are.
pub fn upper_of(container: &Container) -> PathBuf {
    match &container.record.source {
        Source::Host => changes_of(container).join("upper"),
        Source::Image { .. } | Source::Tree => container.directory.join("upper"),
    }
}

/// Where a build puts the root of a step.
pub fn tree_of(container: &Container) -> PathBuf {
    tree_below(&container.run)
}

/// The same by the container's run directory.
pub fn tree_below(run: &Path) -> PathBuf {
    run.join(TREE)
}

fn changes_of(container: &Container) -> PathBuf {
    container.run.join(CHANGES)
}

/// Where the root of a running container is mounted, below its run directory.
pub const ROOTFS: &str = "rootfs";
const TREE: &str = "tree";
const CHANGES: &str = "changes";

fn detach(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Not mounted, or not there.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(file("unmount", path)(errno)),
    }
}

/// Unmounts the root; one that is not mounted is none.
///
/// # Errors
/// The errno of umount2(2).
pub fn unmount(container: &Container) -> Result<()> {
    detach(&container.run.join(ROOTFS))
}

/// Lets go of what only the whole container's removal ends.
///
/// # Errors
/// The errno of umount2(2).
pub fn discard(container: &Container) -> Result<()> {
    discard_below(&container.run)
}

/// The same of a container that only its run directory is left of.
///
/// # Errors
/// The errno of umount2(2).
pub fn discard_below(run: &Path) -> Result<()> {
    [ROOTFS, TREE, CHANGES].iter().try_for_each(|name| detach(&run.join(name)))
}

/// Makes the directory `path` below `root`, with those above it, as Docker does for the
/// working directory. Every step is resolved in the root: a symbolic link of the image's
/// cannot lead out.
///
/// # Errors
/// The errno, for example where a file is in the way.
pub fn make_directory_in(root: BorrowedFd<'_>, path: &str) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &str| resolve::open_at(root, path.as_bytes(), flags, IN_ROOT);
    let failed = |errno: Errno| file("make the container's directory", path)(errno);
    let mut so_far = String::new();
    let mut above: Option<OwnedFd> = None;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        so_far.push('/');
        so_far.push_str(part);
        let opened = match open(&so_far) {
            Err(Errno::NOENT) if part != ".." => {
                let parent = above.as_ref().map_or(root, AsFd::as_fd);
                match rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
                open(&so_far)
            }
            other => other,
        };
        above = Some(opened.map_err(failed)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_lead_out() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("../../canary", root.join("work")).unwrap();
        std::os::unix::fs::symlink("/inside", root.join("good")).unwrap();
        std::fs::create_dir(root.join("inside")).unwrap();
        let fd = std::fs::File::open(&root).unwrap();
        make_directory_in(fd.as_fd(), "/good/a/b").unwrap();
        assert!(root.join("inside/a/b").is_dir());
        assert!(make_directory_in(fd.as_fd(), "/work/x").is_err());
        assert!(!outer.path().join("canary").exists());
        make_directory_in(fd.as_fd(), "/").unwrap();
    }
}
