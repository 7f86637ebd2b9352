//! Copying files and directories by descriptors.
//!
//! Either side may be changed meanwhile by the programs of a container. So what is copied
//! is opened first as what it is (O_PATH, no link followed) and looked at after; what is
//! made is made in a directory that is open, never by following a link; and a file of
//! another kind than a regular one is never opened for reading.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Error, Result, file};

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// Directories in each other; more is no tree of a person's.
const MAX_DEPTH: usize = 255;

/// What of an inode is copied besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whose everything becomes; `None` keeps the owners.
    pub owner: Option<(Uid, Gid)>,
    /// Keep set-user-id, set-group-id and extended attributes, capabilities among them.
    pub privileges: bool,
    /// Make device nodes.
    pub devices: bool,
}

/// Copies.
#[derive(Debug)]
pub struct Copier {
    rules: Rules,
    /// Bytes of file data.
    pub bytes: u64,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Opens an entry of a directory as what it is.
///
/// # Errors
/// The errno of openat(2).
pub fn open_entry(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Opens a directory of which there is an O_PATH descriptor.
///
/// # Errors
/// The errno of openat(2); ENOTDIR where it is something else.
pub fn open_directory(inode: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(inode, ".", flags, Mode::empty())
}

/// Opens a regular file of which there is an O_PATH descriptor. Only a regular one: to
/// open a device or a FIFO is to use it.
fn open_file(inode: BorrowedFd<'_>, flags: OFlags) -> Result<File, Errno> {
    // A magic link ends at the inode itself, wherever that is by now.
    let path = format!("/proc/self/fd/{}", inode.as_raw_fd());
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Copier {
    /// One that goes by `rules`.
    pub fn new(rules: Rules) -> Self {
        Self { rules, bytes: 0, left_out: Vec::new() }
    }

    /// Copies an inode, with all below it, to `name` in `parent`. A directory that is
    /// there is added to, anything else replaced.
    ///
    /// # Errors
    /// The errno, with `path`, which stands for the inode.
    pub fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &str,
    ) -> Result<()> {
        self.entry(from, parent, name, path, 0)
    }

    /// Copies what is in a directory into another.
    ///
    /// # Errors
    /// The errno, with the path.
    pub fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &str) -> Result<()> {
        self.entries(from, to, path, 0)
    }

    /// Writes a regular file's content over another's, whose inode stays: it may be a
    /// mount.
    ///
    /// # Errors
    /// The errno, with the path.
    pub fn overwrite(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &str,
    ) -> Result<()> {
        let stat = rustix::fs::fstat(from).map_err(file("look at", path))?;
        let mut target = open_file(to, OFlags::WRONLY | OFlags::TRUNC)
            .map_err(file("open for writing", path))?;
        self.data(from, &mut target).map_err(file("copy", path))?;
        self.attributes(from, target.as_fd(), &stat).map_err(file("set attributes of", path))
    }

    fn entries(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &str,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::other(format_args!(
                "{path}: nested more than {MAX_DEPTH} directories deep"
            )));
        }
        let listed = open_directory(from).map_err(file("open", path))?;
        for entry in Dir::read_from(&listed).map_err(file("list", path))? {
            let entry = entry.map_err(file("list", path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let below = format!("{path}/{}", String::from_utf8_lossy(name));
            match open_entry(listed.as_fd(), name) {
                Ok(inode) => self.entry(inode.as_fd(), to, name, &below, depth + 1)?,
                // Removed since the list was made.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(file("open", below)(errno)),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &str,
        depth: usize,
    ) -> Result<()> {
        let stat = rustix::fs::fstat(from).map_err(file("look at", path))?;
        match kind(&stat) {
            FileType::Directory => {
                let made = make_directory(parent, name).map_err(file("make directory", path))?;
                self.entries(from, made.as_fd(), path, depth)?;
                self.attributes(from, made.as_fd(), &stat).map_err(file("set attributes of", path))
            }
            FileType::RegularFile => {
                let made = make_file(parent, name).map_err(file("create", path))?;
                let mut made = File::from(made);
                self.data(from, &mut made).map_err(file("copy", path))?;
                self.attributes(from, made.as_fd(), &stat).map_err(file("set attributes of", path))
            }
            FileType::Symlink => {
                let made = clear(parent, name)
                    .and_then(|()| rustix::fs::readlinkat(from, "", Vec::new()))
                    .and_then(|target| rustix::fs::symlinkat(&target, parent, name))
                    .and_then(|()| self.name_attributes(parent, name, &stat));
                made.map_err(file("make link", path))
            }
            FileType::Socket => {
                self.left_out.push(format!("{path}: a socket"));
                Ok(())
            }
            FileType::CharacterDevice | FileType::BlockDevice if !self.rules.devices => {
                self.left_out.push(format!("{path}: a device"));
                Ok(())
            }
            other => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
                let made = clear(parent, name)
                    .and_then(|()| rustix::fs::mknodat(parent, name, other, mode, stat.st_rdev))
                    .and_then(|()| self.name_attributes(parent, name, &stat));
                made.map_err(file("make node", path))
            }
        }
    }

    fn data(&mut self, from: BorrowedFd<'_>, to: &mut File) -> Result<(), Errno> {
        let mut source = open_file(from, OFlags::RDONLY)?;
        self.bytes += io::copy(&mut source, to).map_err(|error| errno(&error))?;
        Ok(())
    }

    fn owner(&self, stat: &Stat) -> (Option<Uid>, Option<Gid>) {
        let kept = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let (uid, gid) = self.rules.owner.unwrap_or(kept);
        (Some(uid), Some(gid))
    }

    /// Owner and times of what cannot be opened.
    fn name_attributes(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> Result<(), Errno> {
        let (uid, gid) = self.owner(stat);
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(parent, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Owner, extended attributes, mode and times, in this order: chown(2) clears
    /// set-user-id and capabilities, and everything changes times.
    fn attributes(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let (uid, gid) = self.owner(stat);
        rustix::fs::fchown(to, uid, gid)?;
        let mut mode = stat.st_mode & 0o7777;
        match self.rules.privileges {
            true => extended(from, to)?,
            false => mode &= !SET_ID,
        }
        rustix::fs::fchmod(to, Mode::from_raw_mode(mode))?;
        rustix::fs::futimens(to, &times(stat))
    }
}

fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn make_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    clear(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Makes room for something that is no directory.
fn clear(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Extended attributes, by the magic link: O_PATH takes no flistxattr(2).
fn extended(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", from.as_raw_fd());
    let mut names = vec![0u8; 64 << 10];
    // A file system without them has none.
    let length = rustix::fs::listxattr(&path, names.as_mut_slice()).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::getxattr(&path, name, value.as_mut_slice())?;
        let value = value.get(..length).unwrap_or_default();
        rustix::fs::fsetxattr(to, name, value, XattrFlags::empty())?;
    }
    Ok(())
}
