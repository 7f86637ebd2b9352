//! One entry of `mounts`: a detached mount is made, gets its attributes, and is
//! then attached to a descriptor of its destination, so that nothing between
//! look-up and mount can be exchanged (CVE-2021-30465).

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
};

use super::resolve::{self, Missing};
use super::{copy_up, joined_proc, plain_mount, proc};
use crate::plan::{Mount, MountSource, Setting};
use crate::sync::fault::{Context, Refused};

/// Longest string that fsconfig(2) takes.
const MAX_SETTING: usize = 255;

const ATTR_RDONLY: u64 = 1;

/// Makes one mount that is not of type `cgroup`. `tree` is its source where the
/// runtime has opened it already. The working directory may be another one afterwards.
/// `pid_namespace` is that of the container where this process is not in it: a procfs is one of
/// the process's that opens it.
///
/// A tmpfs that is to be read-only is returned, for [`make_readonly`] once nothing more is to be
/// made in it: destinations of later mounts, device nodes, /dev/console.
pub fn attach(
    mount: &Mount,
    root: BorrowedFd<'_>,
    tree: Option<OwnedFd>,
    pid_namespace: Option<BorrowedFd<'_>>,
) -> Result<Option<OwnedFd>, Refused> {
    let tree = match (&mount.source, tree) {
        (_, Some(tree)) => tree,
        (MountSource::Filesystem { kind, settings }, None) => {
            return attach_filesystem(mount, root, kind, settings, pid_namespace);
        }
        (MountSource::Bind { path, recursive, links }, None) => {
            open_source(path, *recursive, *links)?
        }
        (MountSource::Remount { settings }, None) => {
            return remount(mount, root, settings).map(|()| None);
        }
        (MountSource::Cgroup(_), None) => {
            return Err(Refused::because("a cgroup mount is made elsewhere"));
        }
    };
    if mount.destination.as_bytes() == b"/proc" && !proc::is_proc(tree.as_fd()).op("fstatfs")? {
        return Err(Refused::because("only procfs may be mounted at /proc"));
    }
    set_attributes(&tree, false, &mount.attributes)?;
    let status = fs::fstat(&tree).op("fstat")?;
    let missing = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Missing::Directory,
        _ => Missing::File,
    };
    let target = open_target(mount, root, missing)?;
    finish(mount, &tree, target.as_fd(), &mount.recursive_attributes)
        .map_err(|refused| explain_kinds(refused, &tree, &target))?;
    Ok(None)
}

/// The kernel's answer to a file over a directory, or a directory over a file, names neither.
fn explain_kinds(refused: Refused, tree: &OwnedFd, target: &OwnedFd) -> Refused {
    let is_directory = |fd: &OwnedFd| {
        let mode = fs::fstat(fd).ok()?.st_mode;
        Some(FileType::from_raw_mode(mode) == FileType::Directory)
    };
    let detail = match (is_directory(tree), is_directory(target)) {
        (Some(true), Some(false)) => {
            "the source is a directory, and the destination is a file in the container"
        }
        (Some(false), Some(true)) => {
            "the source is a file, and the destination is a directory in the container"
        }
        _ => return refused,
    };
    Refused { detail: detail.to_owned(), ..refused }
}

/// Makes a mount read-only that [`attach`] has left writable.
pub fn make_readonly(tree: &OwnedFd) -> Result<(), Refused> {
    let readonly = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
    set_attributes(tree, false, &readonly)
}

/// A detached copy of a mount of the host.
pub fn open_bind(path: &CStr, recursive: bool) -> Result<OwnedFd, Refused> {
    rustix::mount::open_tree(CWD, path, bind_flags(recursive)).op("open_tree")
}

/// The source of a bind mount. Without `links` no part of its path may be one: whoever may
/// write to a directory on the way could lead the mount elsewhere.
pub fn open_source(path: &CStr, recursive: bool, links: bool) -> Result<OwnedFd, Refused> {
    if links {
        return open_bind(path, recursive);
    }
    let source = Path::new(OsStr::from_bytes(path.to_bytes()));
    let source = resolve::open_unlinked(source, OFlags::PATH).op("openat2")?;
    let flags = bind_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(&source, c"", flags).op("open_tree")
}

fn bind_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

fn attach_filesystem(
    mount: &Mount,
    root: BorrowedFd<'_>,
    kind: &CStr,
    settings: &[Setting],
    pid_namespace: Option<BorrowedFd<'_>>,
) -> Result<Option<OwnedFd>, Refused> {
    let pid_namespace = pid_namespace.filter(|_| kind == c"proc");
    let is_tmpfs = kind.to_bytes() == b"tmpfs";
    // What a tmpfs covers lends it its mode, as with runc, unless one is given.
    let covered = match is_tmpfs && !sets(settings, "mode") {
        true => resolve::open(root, &mount.destination).ok(),
        false => None,
    };
    let target = open_target(mount, root, Missing::Directory)?;
    let readonly = (mount.attributes.set | mount.recursive_attributes.set) & ATTR_RDONLY != 0;
    let stays_writable = is_tmpfs && readonly;
    let plain = pid_namespace.is_none()
        && covered.is_none()
        && !stays_writable
        && !mount.copy_up
        && mount.propagation.is_empty()
        && mount.recursive_attributes == MountAttr::default();
    if plain && plain_mount::attach(kind, settings, mount.attributes.set, target.as_fd()) {
        return Ok(None);
    }
    let (mut attributes, mut recursive) = (mount.attributes, mount.recursive_attributes);
    if stays_writable {
        attributes.set &= !ATTR_RDONLY;
        recursive.set &= !ATTR_RDONLY;
    }
    let tree = match pid_namespace {
        Some(pid_namespace) => {
            let context = joined_proc::open_context(pid_namespace)?;
            mount_context(&context, settings, attributes.set)?
        }
        None => new_filesystem(kind, settings, attributes.set)?,
    };
    if let Some(covered) = covered {
        let covered = fs::fstat(&covered).op("fstat")?;
        let mode = covered.st_mode & 0o7777;
        if mount.copy_up && !sets(settings, "uid") && !sets(settings, "gid") {
            let (uid, gid) = (Uid::from_raw(covered.st_uid), Gid::from_raw(covered.st_gid));
            fs::chownat(&tree, c".", Some(uid), Some(gid), AtFlags::empty()).op("fchownat")?;
        }
        fs::chmodat(&tree, c".", Mode::from_raw_mode(mode), AtFlags::empty()).op("fchmodat")?;
    }
    if mount.copy_up {
        copy_up::copy(target.as_fd(), tree.as_fd())?;
    }
    finish(mount, &tree, target.as_fd(), &recursive)?;
    Ok(stays_writable.then_some(tree))
}

/// Whether an option is given.
fn sets(settings: &[Setting], name: &str) -> bool {
    settings.iter().any(|setting| match setting {
        Setting::Flag(key) | Setting::Value(key, _) => key.as_bytes() == name.as_bytes(),
    })
}

/// A detached mount of a new filesystem with `MOUNT_ATTR_*`.
pub fn new_filesystem(
    kind: &CStr,
    settings: &[Setting],
    attributes: u64,
) -> Result<OwnedFd, Refused> {
    let context =
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
            Errno::NODEV => Refused {
                op: "fsopen",
                errno: Some(errno),
                detail: format!("this kernel has no filesystem {}", kind.to_string_lossy()),
            },
            _ => Refused { op: "fsopen", errno: Some(errno), detail: String::new() },
        })?;
    mount_context(&context, settings, attributes)
}

fn mount_context(
    context: &OwnedFd,
    settings: &[Setting],
    attributes: u64,
) -> Result<OwnedFd, Refused> {
    configure(context, settings)?;
    rustix::mount::fsconfig_create(context.as_fd())
        .map_err(|errno| with_log("fsconfig", errno, context))?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| with_log("fsmount", errno, context))
}

fn configure(context: &OwnedFd, settings: &[Setting]) -> Result<(), Refused> {
    for setting in settings {
        let done = match setting {
            Setting::Flag(key) => rustix::mount::fsconfig_set_flag(context.as_fd(), key),
            Setting::Value(key, value)
                if key.as_bytes() == b"lowerdir" && value.as_bytes().len() > MAX_SETTING =>
            {
                set_layers(context, value)
            }
            Setting::Value(key, value) => {
                rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
            }
        };
        done.map_err(|errno| {
            let mut refused = with_log("fsconfig", errno, context);
            if refused.detail.is_empty() {
                refused.detail = match setting {
                    Setting::Flag(key) => format!("option {}", key.to_string_lossy()),
                    Setting::Value(key, value) => {
                        format!("option {}={}", key.to_string_lossy(), value.to_string_lossy())
                    }
                };
            }
            refused
        })?;
    }
    Ok(())
}

/// More layers of an overlay than one string holds, one by one (Linux 6.5).
fn set_layers(context: &OwnedFd, layers: &CStr) -> Result<(), Errno> {
    for layer in layers.to_bytes().split(|byte| *byte == b':') {
        rustix::mount::fsconfig_set_string(context.as_fd(), c"lowerdir+", layer)?;
    }
    Ok(())
}

/// What the filesystem has to say about its refusal: a read of the context
/// gives one message each, with its class and a space before it.
fn with_log(op: &'static str, errno: Errno, context: &OwnedFd) -> Refused {
    let mut messages = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer[..]) {
        if length == 0 || messages.len() >= 8 {
            break;
        }
        let message = String::from_utf8_lossy(&buffer[..length]);
        let text = message.trim_end();
        messages.push(text.get(2..).unwrap_or(text).to_owned());
    }
    Refused { op, errno: Some(errno), detail: messages.join("; ") }
}

fn remount(mount: &Mount, root: BorrowedFd<'_>, settings: &[Setting]) -> Result<(), Refused> {
    let target = resolve::open(root, &mount.destination).op("openat2")?;
    if !settings.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = rustix::mount::fspick(target.as_fd(), c"", flags).op("fspick")?;
        configure(&context, settings)?;
        rustix::mount::fsconfig_reconfigure(context.as_fd())
            .map_err(|errno| with_log("fsconfig", errno, &context))?;
    }
    set_attributes(&target, false, &mount.attributes)?;
    set_attributes(&target, true, &mount.recursive_attributes)?;
    set_propagation(mount, &target)
}

/// The destination as a descriptor, made where it is missing.
pub fn open_target(
    mount: &Mount,
    root: BorrowedFd<'_>,
    missing: Missing,
) -> Result<OwnedFd, Refused> {
    if !mount.plain_directory {
        return resolve::open_or_make(root, &mount.destination, missing).op("openat2");
    }
    let plain = match resolve::open_plain_directory(root, &mount.destination) {
        Err(Errno::NOENT) => {
            resolve::open_or_make(root, &mount.destination, missing).op("mkdirat")?;
            resolve::open_plain_directory(root, &mount.destination)
        }
        done => done,
    };
    plain.map_err(|errno| match errno {
        Errno::LOOP => Refused::because("the destination is, or leads through, a symbolic link"),
        Errno::NOTDIR => Refused::because("the destination is not a directory"),
        _ => Refused { op: "openat2", errno: Some(errno), detail: String::new() },
    })
}

/// Attaches a detached mount that has its own attributes, with those for all below it.
pub fn finish(
    mount: &Mount,
    tree: &OwnedFd,
    target: BorrowedFd<'_>,
    recursive_attributes: &MountAttr,
) -> Result<(), Refused> {
    set_attributes(tree, true, recursive_attributes)?;
    move_onto(tree, target)?;
    set_propagation(mount, tree)
}

/// Attaches a detached mount to what a descriptor refers to.
pub fn move_onto(tree: &OwnedFd, target: BorrowedFd<'_>) -> Result<(), Refused> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), c"", target, c"", flags).op("move_mount")
}

/// Sets a mount's attributes, where there are any to set.
pub fn set_attributes(
    tree: &OwnedFd,
    recursive: bool,
    attributes: &MountAttr,
) -> Result<(), Refused> {
    if *attributes == MountAttr::default() {
        return Ok(());
    }
    mount_setattr(tree.as_fd(), c"", recursive, attributes).op("mount_setattr")
}

/// Gives a mount the propagation types that are asked for.
pub fn set_propagation(mount: &Mount, tree: &OwnedFd) -> Result<(), Refused> {
    for propagation in &mount.propagation {
        let attributes = MountAttr { propagation: propagation.kind, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), c"", propagation.recursive, &attributes)
            .op("mount_setattr (propagation)")?;
    }
    Ok(())
}
