//! An image's layers and a container's own directory as one overlayfs mount.
//!
//! The mount is made with fsopen(2): each lower directory is one `lowerdir+` (Linux
//! 6.8), so no number of layers meets the one page that mount(2) has for its options.
//! An older kernel gets them as `/proc/self/fd/N`, some 200 to the page.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::store::Layer;
use crate::unpack::{UnpackOptions, stack};

/// fsconfig(2) takes strings of up to 255 bytes.
const MAX_VALUE: usize = 255;
/// mount(2) takes one page of options.
const PAGE: usize = 4096;

/// What overlayfs is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayPlan {
    /// Read-only directories, topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Where changes go, and overlayfs's own work directory on the same file system;
    /// `None` for a read-only mount.
    pub writable: Option<Writable>,
    /// Attributes are `user.overlay.*`: for mounts in a user namespace.
    pub userxattr: bool,
    /// A directory of the caller's, where Linux before 6.8 gets a mount point for a moment.
    pub directory: PathBuf,
}

/// The directories of a container's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writable {
    /// `upperdir`.
    pub upper: PathBuf,
    /// `workdir`: empty.
    pub work: PathBuf,
    /// Changes need not survive a crash of the machine: no sync on unmount (Linux 5.10).
    pub volatile: bool,
}

/// Why a rootfs could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A system call on a directory failed.
    #[error("overlay rootfs: {operation} {}: {source}", path.display())]
    Directory {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// The kernel refused an option.
    #[error("overlay rootfs: {option}={value}: {source}{log}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// The errno.
        source: io::Error,
        /// The kernel's own message, after a colon, or nothing.
        log: String,
    },
    /// The kernel refused the mount.
    #[error("overlay rootfs: {operation}: {source}{log}")]
    Mount {
        /// The system call.
        operation: &'static str,
        /// The errno.
        source: io::Error,
        /// The kernel's own message, after a colon, or nothing.
        log: String,
    },
    /// More layers than this kernel takes in one mount.
    #[error("overlay rootfs: {0} layers are more than Linux before 6.8 takes in one mount")]
    TooManyLayers(usize),
}

impl OverlayPlan {
    /// A container's rootfs: `layers` (lowest first) below `directory`, which gets
    /// `upper`, `work` and, where the image has fewer than two layers, empty directories. `upper` is made with the
    /// owner, mode and times that the image's root has.
    ///
    /// # Errors
    /// [`OverlayError::Directory`].
    pub fn prepare(layers: &[Layer], directory: &Path) -> Result<OverlayPlan, OverlayError> {
        let upper = directory.join("upper");
        let work = directory.join("work");
        let mut plan = OverlayPlan::read_only(layers, directory)?;
        make(&upper)?;
        make(&work)?;
        if !layers.is_empty()
            && let Some(top) = plan.lower.first()
        {
            let open = |path: &Path| File::open(path).map(OwnedFd::from).map_err(at("open", path));
            let options = UnpackOptions::of_this_process();
            stack::copy_attributes(&open(top)?, &open(&upper)?, &options)
                .map_err(at("set the attributes of", &upper))?;
        }
        plan.writable = Some(Writable { upper, work, volatile: false });
        Ok(plan)
    }

    /// A read-only view of `layers` (lowest first). `directory` may get `empty` and
    /// `empty2`: overlayfs wants two directories where there is no upper one.
    ///
    /// # Errors
    /// [`OverlayError::Directory`].
    pub fn read_only(layers: &[Layer], directory: &Path) -> Result<OverlayPlan, OverlayError> {
        let mut lower = Vec::new();
        for layer in layers.iter().rev() {
            lower.push(layer.path.clone());
            // overlayfs does not know an opaque root: what is below is left out.
            if layer.record.opaque_root {
                break;
            }
        }
        for name in ["empty", "empty2"].iter().take(2_usize.saturating_sub(lower.len())) {
            let empty = directory.join(name);
            make(&empty)?;
            lower.push(empty);
        }
        let userxattr = match layers.first() {
            Some(layer) => layer.record.userxattr,
            None => !UnpackOptions::of_this_process().devices,
        };
        Ok(OverlayPlan { lower, writable: None, userxattr, directory: directory.to_owned() })
    }

    /// Mounts it, attached nowhere: the descriptor is for move_mount(2), and entries can
    /// be opened below it at once.
    ///
    /// # Errors
    /// [`OverlayError`], with the kernel's message where it gives one.
    pub fn mount(&self) -> Result<OwnedFd, OverlayError> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| mount_error("fsopen", errno, None))?;
        // Kept until the mount is made.
        let mut opened = Vec::new();
        for lower in &self.lower {
            let value = short(lower, &mut opened)?;
            match rustix::mount::fsconfig_set_string(&context, "lowerdir+", &*value) {
                Ok(()) => {}
                Err(Errno::INVAL) if self.lower.first() == Some(lower) => {
                    return self.mount_in_one_page();
                }
                Err(errno) => return Err(option_error("lowerdir", &value, errno, &context)),
            }
        }
        if let Some(writable) = &self.writable {
            for (name, path) in [("upperdir", &writable.upper), ("workdir", &writable.work)] {
                let value = short(path, &mut opened)?;
                rustix::mount::fsconfig_set_string(&context, name, &*value)
                    .map_err(|errno| option_error(name, &value, errno, &context))?;
            }
        }
        for flag in self.flags() {
            rustix::mount::fsconfig_set_flag(&context, flag)
                .map_err(|errno| option_error(flag, "", errno, &context))?;
        }
        rustix::mount::fsconfig_create(&context)
            .map_err(|errno| mount_error("create", errno, Some(&context)))?;
        let attributes = match self.writable {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| mount_error("fsmount", errno, Some(&context)))
    }

    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let volatile = self.writable.as_ref().is_some_and(|writable| writable.volatile);
        let userxattr = self.userxattr.then_some("userxattr");
        userxattr.into_iter().chain(volatile.then_some("volatile"))
    }

    /// For Linux before 6.8: mount(2), on a directory of its own for a moment, and a
    /// detached clone of that.
    fn mount_in_one_page(&self) -> Result<OwnedFd, OverlayError> {
        // No directory that others may be mounting at this moment: they would see the mount.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let target = self.directory.join(format!("mount-{}-{count}", std::process::id()));
        make(&target)?;
        let tree = self.mount_in_one_page_at(&target);
        let removed = std::fs::remove_dir(&target).map_err(at("remove", &target));
        tree.and_then(|tree| removed.map(|()| tree))
    }

    fn mount_in_one_page_at(&self, target: &Path) -> Result<OwnedFd, OverlayError> {
        let mut opened = Vec::new();
        let mut names = Vec::new();
        for lower in &self.lower {
            names.push(by_descriptor(lower, &mut opened)?);
        }
        let mut options = format!("lowerdir={}", names.join(":"));
        if let Some(writable) = &self.writable {
            options.push_str(&format!(
                ",upperdir={},workdir={}",
                by_descriptor(&writable.upper, &mut opened)?,
                by_descriptor(&writable.work, &mut opened)?
            ));
        }
        for flag in self.flags() {
            options.push(',');
            options.push_str(flag);
        }
        if options.len() >= PAGE {
            return Err(OverlayError::TooManyLayers(self.lower.len()));
        }
        let data = std::ffi::CString::new(options)
            .map_err(|_| mount_error("mount", Errno::INVAL, None))?;
        let flags = match self.writable {
            Some(_) => MountFlags::empty(),
            None => MountFlags::RDONLY,
        };
        rustix::mount::mount("overlay", target, "overlay", flags, data.as_c_str())
            .map_err(|errno| mount_error("mount", errno, None))?;
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(rustix::fs::CWD, target, clone)
            .map_err(|errno| mount_error("open_tree", errno, None));
        rustix::mount::unmount(target, UnmountFlags::DETACH)
            .map_err(|errno| mount_error("umount", errno, None))?;
        tree
    }
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OverlayError {
    let path = path.to_owned();
    move |source| OverlayError::Directory { operation, path, source }
}

/// Makes a directory of mode 0755 whatever the umask is; one that is there stays.
fn make(path: &Path) -> Result<(), OverlayError> {
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(at("make", path))?,
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(at("set the mode of", path))
}

/// The path, or a short name for it where fsconfig(2) does not take it.
fn short(path: &Path, opened: &mut Vec<OwnedFd>) -> Result<String, OverlayError> {
    match path.to_str() {
        Some(text) if text.len() <= MAX_VALUE => Ok(text.to_owned()),
        _ => by_descriptor(path, opened),
    }
}

fn by_descriptor(path: &Path, opened: &mut Vec<OwnedFd>) -> Result<String, OverlayError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| at("open", path)(errno.into()))?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    opened.push(fd);
    Ok(name)
}

/// What the kernel said through the context (fsopen(2), "Message retrieval").
fn log(context: &OwnedFd) -> String {
    let Ok(context) = context.try_clone() else { return String::new() };
    let mut file = File::from(context);
    let mut text = String::new();
    let mut line = [0; 512];
    while let Ok(length @ 1..) = file.read(&mut line) {
        let message = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
        text.push_str(": ");
        text.push_str(message.get(2..).unwrap_or(&message).trim_end());
    }
    text
}

fn option_error(
    option: &'static str,
    value: &str,
    errno: Errno,
    context: &OwnedFd,
) -> OverlayError {
    let (value, source, log) = (value.to_owned(), errno.into(), log(context));
    OverlayError::Option { option, value, source, log }
}

fn mount_error(operation: &'static str, errno: Errno, context: Option<&OwnedFd>) -> OverlayError {
    let log = context.map(log).unwrap_or_default();
    OverlayError::Mount { operation, source: errno.into(), log }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::digest::Digest;
    use crate::store::LayerRecord;

    fn layers(root: &Path, count: usize) -> Vec<Layer> {
        (0..count)
            .map(|index| {
                let path = root.join(format!("layer{index}"));
                std::fs::create_dir(&path).unwrap();
                std::fs::write(path.join("same"), index.to_string()).unwrap();
                std::fs::write(path.join(format!("own{index}")), b"").unwrap();
                let id = Digest::of(index.to_string().as_bytes());
                let record = LayerRecord {
                    diff_id: id,
                    parent: None,
                    size: 0,
                    opaque_root: false,
                    userxattr: false,
                };
                Layer { chain_id: id, path, record }
            })
            .collect()
    }

    fn with_root(name: &str, test: impl FnOnce(&Path)) {
        if !UnpackOptions::of_this_process().devices {
            // Past the test harness, which keeps what it captures of tests that pass.
            let _ = writeln!(io::stderr(), "skipped: {name}: needs root on the host");
            return;
        }
        let root = std::env::temp_dir().join(format!("husk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        test(&root);
        std::fs::remove_dir_all(&root).unwrap();
    }

    fn read(mount: &OwnedFd, name: &str) -> Option<String> {
        let fd = rustix::fs::openat(mount, name, OFlags::RDONLY, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn many_layers_with_long_paths_make_one_rootfs() {
        with_root("overlay-many", |root| {
            let deep = root.join("d".repeat(200)).join("e".repeat(200));
            std::fs::create_dir_all(&deep).unwrap();
            let layers = layers(&deep, 300);
            std::fs::set_permissions(&layers[299].path, PermissionsExt::from_mode(0o711)).unwrap();
            let plan = OverlayPlan::prepare(&layers, root).unwrap();
            let mode = std::fs::metadata(root.join("upper")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o711);
            let mount = plan.mount().unwrap();
            assert_eq!(read(&mount, "same").as_deref(), Some("299"));
            assert!(read(&mount, "own0").is_some() && read(&mount, "own150").is_some());
            let flags = OFlags::WRONLY | OFlags::CREATE;
            rustix::fs::openat(&mount, "new", flags, Mode::from_raw_mode(0o644)).unwrap();
            assert!(root.join("upper/new").exists());
        });
    }

    #[test]
    fn an_opaque_root_ends_the_stack_and_none_is_a_stack_too() {
        with_root("overlay-opaque", |root| {
            let mut layers = layers(root, 3);
            layers[1].record.opaque_root = true;
            let mount = OverlayPlan::read_only(&layers, root).unwrap().mount().unwrap();
            assert!(read(&mount, "own1").is_some() && read(&mount, "own0").is_none());
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let new = rustix::fs::openat(&mount, "new", flags, Mode::from_raw_mode(0o644));
            assert_eq!(new.err(), Some(Errno::ROFS));
            drop(mount);
            let scratch = root.join("scratch");
            std::fs::create_dir(&scratch).unwrap();
            let mount = OverlayPlan::prepare(&[], &scratch).unwrap().mount().unwrap();
            assert_eq!(read(&mount, "own0"), None);
        });
    }

    #[test]
    fn an_older_kernel_gets_one_page() {
        with_root("overlay-page", |root| {
            let layers = layers(root, 100);
            let plan = OverlayPlan::prepare(&layers, root).unwrap();
            let mount = plan.mount_in_one_page().unwrap();
            assert_eq!(read(&mount, "same").as_deref(), Some("99"));
            assert!(read(&mount, "own0").is_some());
            let many = OverlayPlan { lower: vec![layers[0].path.clone(); 400], ..plan };
            assert!(matches!(many.mount_in_one_page(), Err(OverlayError::TooManyLayers(400))));
        });
    }

    #[test]
    fn an_older_kernel_gets_many_mounts_of_the_same_layers_at_once() {
        with_root("overlay-at-once", |root| {
            let layers = layers(root, 3);
            let mount = || {
                let plan = OverlayPlan::read_only(&layers, root).unwrap();
                let mount = plan.mount_in_one_page().map_err(|error| error.to_string())?;
                Ok::<_, String>((read(&mount, "same"), read(&mount, "own0")))
            };
            let expected = Ok((Some("2".to_owned()), Some(String::new())));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..50).for_each(|_| assert_eq!(mount(), expected)));
                }
            });
            let left = std::fs::read_dir(root).unwrap().count();
            assert_eq!(left, layers.len());
        });
    }

    #[test]
    fn a_refused_mount_says_why() {
        with_root("overlay-refused", |root| {
            let layers = layers(root, 2);
            let mut plan = OverlayPlan::prepare(&layers, root).unwrap();
            if let Some(writable) = &mut plan.writable {
                writable.work = PathBuf::from("/proc");
            }
            let error = plan.mount().unwrap_err().to_string();
            assert!(error.starts_with("overlay rootfs: "), "{error}");
        });
    }
}
