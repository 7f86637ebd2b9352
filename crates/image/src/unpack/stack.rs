//! What a layer owes to the layers below it.
//!
//! Layers are unpacked side by side, each into a directory of its own. A layer that
//! holds `usr/bin/x` but neither `usr` nor `usr/bin` must not change those directories,
//! yet overlayfs shows the attributes of the topmost one; so they are copied from below
//! before the layer is kept. This is why an unpacked layer is named by its chain id.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_rootfs::resolve::open_at;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::{Owners, UnpackOptions, UnpackReport};

/// What the stack of lower layers shows at a path.
enum Below {
    Nothing,
    Directory(OwnedFd),
    /// A symbolic link or a file is or stands in the way of the path.
    Other,
}

/// Gives `report`'s implied directories in `layer` the attributes that they have in
/// `lowers` (topmost first). Returns warnings.
///
/// # Errors
/// Of the system calls on the layer's own directories.
pub fn complete(
    layer: BorrowedFd<'_>,
    lowers: &[OwnedFd],
    report: &UnpackReport,
    options: &UnpackOptions,
) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    let lowers = if report.opaque_root { &[] } else { lowers };
    // Children first: restoring an attribute of a child changes no parent's time, but
    // removing an empty child does.
    for path in report.implied.iter().rev() {
        let Some(directory) = open_beneath(layer, path)? else { continue };
        match find(lowers, path, options)? {
            Below::Directory(below) => copy_attributes(&below, &directory, options)?,
            Below::Nothing => remove_if_only_whiteouts(layer, path, &directory)?,
            Below::Other => warnings.push(format!(
                "{:?} is no directory in the layers below and is replaced by one",
                String::from_utf8_lossy(path)
            )),
        }
    }
    if !report.names_root
        && let Some(below) = lowers.first()
    {
        copy_attributes(below, &open_beneath(layer, b".")?.ok_or(Errno::NOENT)?, options)?;
    }
    Ok(warnings)
}

fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_at(root, path, flags, beneath()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS
}

fn find(lowers: &[OwnedFd], path: &[u8], options: &UnpackOptions) -> io::Result<Below> {
    for lower in lowers {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match open_at(lower.as_fd(), path, flags, beneath()) {
            Ok(fd) => {
                let found = fs::fstat(&fd)?;
                return Ok(match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory => {
                        Below::Directory(open_beneath(lower.as_fd(), path)?.ok_or(Errno::NOENT)?)
                    }
                    FileType::CharacterDevice if found.st_rdev == 0 => Below::Nothing,
                    _ => Below::Other,
                });
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(end) = hidden(lower, path, options)? {
            return Ok(end);
        }
    }
    Ok(Below::Nothing)
}

/// Whether a parent of `path` in `lower` keeps the layers below it from view.
fn hidden(lower: &OwnedFd, path: &[u8], options: &UnpackOptions) -> io::Result<Option<Below>> {
    for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let parent = path.get(..slash).unwrap_or_default();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match open_at(lower.as_fd(), parent, flags, beneath()) {
            Ok(fd) => fs::fstat(&fd)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let Some(directory) = open_beneath(lower.as_fd(), parent)? else { continue };
                let mut value = [0; 4];
                let name = options.whiteouts.opaque_attribute();
                if fs::fgetxattr(&directory, name, &mut value[..]) == Ok(1) {
                    return Ok(Some(Below::Nothing));
                }
            }
            FileType::CharacterDevice if found.st_rdev == 0 => return Ok(Some(Below::Nothing)),
            _ => return Ok(Some(Below::Other)),
        }
    }
    Ok(None)
}

/// A whiteout needs its directory only where there is something below to hide.
fn remove_if_only_whiteouts(
    layer: BorrowedFd<'_>,
    path: &[u8],
    directory: &OwnedFd,
) -> io::Result<()> {
    let mut whiteouts = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let found = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        if !device || found.st_rdev != 0 {
            return Ok(());
        }
        whiteouts.push(name.to_vec());
    }
    for name in whiteouts {
        fs::unlinkat(directory, name.as_slice(), AtFlags::empty())?;
    }
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..)),
        None => (&b"."[..], Some(path)),
    };
    if let (Some(parent), Some(name)) = (open_beneath(layer, parent)?, name) {
        let before = fs::fstat(&parent)?;
        fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        set_times(&parent, &before)?;
    }
    Ok(())
}

fn set_times(fd: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let time = |sec, nsec: u64| fs::Timespec {
        tv_sec: sec,
        tv_nsec: i64::try_from(nsec).unwrap_or_default(),
    };
    let times = fs::Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(fs::futimens(fd, &times)?)
}

/// Owner, mode, extended attributes (but overlayfs's own) and times.
///
/// # Errors
/// Of the system calls.
pub fn copy_attributes(from: &OwnedFd, to: &OwnedFd, options: &UnpackOptions) -> io::Result<()> {
    let stat = fs::fstat(from)?;
    if options.owners == Owners::Keep {
        let owner = Some(fs::Uid::from_raw(stat.st_uid));
        fs::fchown(to, owner, Some(fs::Gid::from_raw(stat.st_gid)))?;
    }
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    let mut names = vec![0; 64 << 10];
    let length = match fs::flistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let own = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if name.is_empty() || own || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = fs::fgetxattr(from, name, value.as_mut_slice())?;
        match fs::fsetxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty())
        {
            Ok(()) => {}
            Err(Errno::PERM | Errno::OPNOTSUPP) if !options.devices => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    set_times(to, &stat)
}
