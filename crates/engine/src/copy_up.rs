//! Filling a new volume with what the image has at its place, as Docker does.
//!
//! Both sides are walked by descriptors: a symbolic link of the image's is copied, never
//! followed, but for those on the way to the directory itself, which are resolved in the
//! image's root.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Result, file};

/// Copies what is at `target` in the tree `root` to the directory `data`, if that is
/// empty. What is not there, or no directory, is nothing to copy.
///
/// # Errors
/// The errno, with the volume's directory.
pub fn fill(root: BorrowedFd<'_>, target: &str, data: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(data).map_err(file("list", data))?;
    if entries.next().is_some() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match rustix::fs::openat2(root, target, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(file("open the image's", target)(errno)),
    };
    let to = rustix::fs::open(data, flags, Mode::empty()).map_err(file("open", data))?;
    directory(&from, &to).map_err(file("copy the image's files to", data))
}

/// Everything below `from`, then its own attributes.
fn directory(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let entries = Dir::read_from(from)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let open = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let flags = open | OFlags::RDONLY | OFlags::DIRECTORY;
                let below = rustix::fs::openat(from, name, flags, Mode::empty())?;
                directory(&below, &rustix::fs::openat(to, name, flags, Mode::empty())?)?;
            }
            FileType::RegularFile => {
                // Not blocking, should it be another file by now.
                let flags = open | OFlags::RDONLY | OFlags::NONBLOCK;
                let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
                let flags = open | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                let (mut source, mut copy) = (File::from(source), File::from(copy));
                std::io::copy(&mut source, &mut copy)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                attributes(source.as_fd(), copy.as_fd(), &stat)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            other => {
                rustix::fs::mknodat(to, name, other, mode, stat.st_rdev)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
    }
    attributes(from.as_fd(), to.as_fd(), &rustix::fs::fstat(from)?)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

/// Owner, extended attributes, mode and times, in this order: chown(2) clears set-user-id
/// and capabilities, and everything changes times.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(to, uid, gid)?;
    let mut names = vec![0u8; 64 << 10];
    // A file system without them has none.
    let length = rustix::fs::flistxattr(from, &mut names[..]).unwrap_or(0);
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
    };
    rustix::fs::futimens(to, &times)
}
