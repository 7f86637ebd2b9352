//! `tmpcopyup`: a tmpfs that starts with what it covers.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::Errno;

use crate::sync::fault::{Context, Refused};

/// Deeper trees than any image has; each level holds two descriptors open.
const MAX_DEPTH: usize = 256;

/// Copies the contents of a directory, owners, modes and times included, into
/// another, which keeps its own.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Refused> {
    let from = reopen(from).op("open")?;
    let to = reopen(to).op("open")?;
    copy_directory(&from, &to, 0)
}

/// An `O_PATH` descriptor as one that can be read.
fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(directory, c".", flags, Mode::empty())
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Refused> {
    if depth > MAX_DEPTH {
        return Err(Refused::because(format!("tmpcopyup: more than {MAX_DEPTH} levels deep")));
    }
    for entry in fs::Dir::read_from(from).op("getdents")? {
        let entry = entry.op("getdents")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(from, to, name, depth)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> Result<(), Refused> {
    let status = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).op("fstatat")?;
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner_from = fs::openat(from, name, flags, Mode::empty()).op("openat")?;
            fs::mkdirat(to, name, mode).op("mkdirat")?;
            let inner_to = fs::openat(to, name, flags, Mode::empty()).op("openat")?;
            copy_directory(&inner_from, &inner_to, depth + 1)?;
            keep_attributes(&inner_to, &status).op("fchown")
        }
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = fs::openat(from, name, read, Mode::empty()).op("openat")?;
            // What was a regular file may be another by now.
            if FileType::from_raw_mode(fs::fstat(&source).op("fstat")?.st_mode)
                != FileType::RegularFile
            {
                return Err(Refused::because("tmpcopyup: a file changed while it was copied"));
            }
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = fs::openat(to, name, write, mode).op("openat")?;
            while fs::sendfile(&target, &source, None, 1 << 20).op("sendfile")? > 0 {}
            keep_attributes(&target, &status).op("fchown")
        }
        FileType::Symlink => {
            let target = fs::readlinkat(from, name, Vec::new()).op("readlinkat")?;
            fs::symlinkat(&target, to, name).op("symlinkat")?;
            keep_owner(to, name, &status).op("fchownat")
        }
        kind => {
            fs::mknodat(to, name, kind, mode, status.st_rdev).op("mknodat")?;
            keep_owner(to, name, &status).op("fchownat")
        }
    }
}

fn keep_owner(directory: &OwnedFd, name: &CStr, status: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    fs::chownat(directory.as_fd(), name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn keep_attributes(file: &OwnedFd, status: &Stat) -> Result<(), Errno> {
    fs::fchown(file, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    // After the owner: chown(2) drops set-user-id bits.
    fs::fchmod(file, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec as _ },
    };
    fs::futimens(file, &times)
}
