//! Copying files and directories by descriptors.
//!
//! Either side may be changed meanwhile by the programs of a container. So what is copied
//! is opened first as what it is (O_PATH, no link followed) and looked at after; what is
//! made is made in a directory that is open, never by following a link; and a file of
//! another kind than a regular one is never opened for reading.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use husk_rootfs::walk::{Identity, identity, names, open_parent};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, statat,
};
use rustix::io::Errno;

use crate::error::{Error, Result, file};

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
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
    /// Of files with several names the copy: where it is, and which inode.
    linked: HashMap<Identity, (Vec<u8>, Identity)>,
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

/// A directory that is being copied, on the way down to where the copy is.
struct Level {
    from: Identity,
    to: Identity,
    /// What is still to be copied of it.
    ahead: Vec<Vec<u8>>,
    /// How much of the path was there before its own name.
    path: usize,
}

/// What copying an entry made.
enum Made {
    Done,
    /// A directory, whose content comes next.
    Directory(OwnedFd),
}

impl Copier {
    /// One that goes by `rules`.
    pub fn new(rules: Rules) -> Self {
        Self { rules, bytes: 0, left_out: Vec::new(), linked: HashMap::new() }
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
        match self.entry(from, parent, name, path, None)? {
            Made::Done => Ok(()),
            Made::Directory(made) => {
                self.content(from, made.as_fd(), path)?;
                let stat = rustix::fs::fstat(from).map_err(file("look at", path))?;
                self.attributes(from, made.as_fd(), &stat).map_err(file("set attributes of", path))
            }
        }
    }

    /// Copies what is in a directory into another. Two descriptors a side are open, however
    /// deep the tree is; the way back up is checked, since a program may move directories
    /// meanwhile.
    ///
    /// # Errors
    /// The errno, with the path.
    pub fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &str) -> Result<()> {
        let mut path = path.to_owned();
        let mut source = open_directory(from).map_err(file("open", &path))?;
        let mut target = open_directory(to).map_err(file("open", &path))?;
        let mut ahead = names(source.as_fd()).map_err(file("list", &path))?;
        let mut levels: Vec<Level> = Vec::new();
        let root = target.try_clone().map_err(file("open", &path))?;
        let mut below: Vec<u8> = Vec::new();
        loop {
            let Some(name) = ahead.pop() else {
                let Some(level) = levels.pop() else { return Ok(()) };
                let stat = rustix::fs::fstat(&source).map_err(file("look at", &path))?;
                self.attributes(source.as_fd(), target.as_fd(), &stat)
                    .map_err(file("set attributes of", &path))?;
                source = open_parent(source.as_fd(), level.from)
                    .map_err(file("find the way back from", &path))?;
                target = open_parent(target.as_fd(), level.to)
                    .map_err(file("find the way back from", &path))?;
                ahead = level.ahead;
                path.truncate(level.path);
                let end = below.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                below.truncate(end);
                continue;
            };
            let inode = match open_entry(source.as_fd(), &name) {
                Ok(inode) => inode,
                // Removed since the list was made.
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    let shown = format!("{path}/{}", String::from_utf8_lossy(&name));
                    return Err(file("open", shown)(errno));
                }
            };
            let length = path.len();
            path.push('/');
            path.push_str(&String::from_utf8_lossy(&name));
            let before = below.len();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
            let place = Some((root.as_fd(), below.as_slice()));
            match self.entry(inode.as_fd(), target.as_fd(), &name, &path, place)? {
                Made::Done => {
                    path.truncate(length);
                    below.truncate(before);
                }
                Made::Directory(made) => {
                    let known = |fd: BorrowedFd<'_>| {
                        let stat = rustix::fs::fstat(fd).map_err(file("look at", &path))?;
                        Ok::<_, Error>(identity(&stat))
                    };
                    let opened = open_directory(inode.as_fd()).map_err(file("open", &path))?;
                    let listed = names(opened.as_fd()).map_err(file("list", &path))?;
                    levels.push(Level {
                        from: known(source.as_fd())?,
                        to: known(target.as_fd())?,
                        ahead: std::mem::replace(&mut ahead, listed),
                        path: length,
                    });
                    (source, target) = (opened, made);
                }
            }
        }
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

    /// Copies one inode without what is below it. `place` is where the copy is below the root
    /// of the whole copy, for the names of files that have several.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &str,
        place: Option<(BorrowedFd<'_>, &[u8])>,
    ) -> Result<Made> {
        let stat = rustix::fs::fstat(from).map_err(file("look at", path))?;
        if let (Some((root, below)), true) =
            (place, stat.st_nlink > 1 && kind(&stat) != FileType::Directory)
        {
            if self.link(&stat, root, parent, name) {
                return Ok(Made::Done);
            }
            self.linked.insert(identity(&stat), (below.to_vec(), (0, 0)));
        }
        match kind(&stat) {
            FileType::Directory => {
                let made = make_directory(parent, name).map_err(file("make directory", path))?;
                return Ok(Made::Directory(made));
            }
            FileType::RegularFile => {
                let made = make_file(parent, name).map_err(file("create", path))?;
                let mut made = File::from(made);
                self.data(from, &mut made).map_err(file("copy", path))?;
                self.attributes(from, made.as_fd(), &stat)
                    .map_err(file("set attributes of", path))?;
            }
            FileType::Symlink => {
                let made = clear(parent, name)
                    .and_then(|()| rustix::fs::readlinkat(from, "", Vec::new()))
                    .and_then(|target| rustix::fs::symlinkat(&target, parent, name))
                    .and_then(|()| self.name_attributes(parent, name, &stat));
                made.map_err(file("make link", path))?;
            }
            FileType::Socket => {
                self.left_out.push(format!("{path}: a socket"));
                return Ok(Made::Done);
            }
            FileType::CharacterDevice | FileType::BlockDevice if !self.rules.devices => {
                self.left_out.push(format!("{path}: a device"));
                return Ok(Made::Done);
            }
            other => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
                let made = clear(parent, name)
                    .and_then(|()| rustix::fs::mknodat(parent, name, other, mode, stat.st_rdev))
                    .and_then(|()| self.name_attributes(parent, name, &stat));
                made.map_err(file("make node", path))?;
            }
        }
        if let Some((_, made)) = self.linked.get_mut(&identity(&stat))
            && let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        {
            *made = identity(&stat);
        }
        Ok(Made::Done)
    }

    /// Gives one more name to the copy of a file that was copied before under another; false
    /// where that copy is not there any more.
    fn link(&self, stat: &Stat, root: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &[u8]) -> bool {
        let Some((place, made)) = self.linked.get(&identity(stat)) else { return false };
        let (above, first) = match place.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&place[..at], &place[at + 1..]),
            None => (&b"."[..], place.as_slice()),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let Ok(above) = husk_rootfs::resolve::open_at(root, above, flags, resolve) else {
            return false;
        };
        let same = statat(&above, first, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| identity(&stat) == *made);
        same && clear(parent, name)
            .and_then(|()| rustix::fs::linkat(&above, first, parent, name, AtFlags::empty()))
            .is_ok()
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn rules() -> Rules {
        Rules { owner: None, privileges: false, devices: false }
    }

    fn copied(from: &std::path::Path, to: &std::path::Path) -> Copier {
        let (from, to) = (File::open(from).unwrap(), File::open(to).unwrap());
        let mut copier = Copier::new(rules());
        copier.content(from.as_fd(), to.as_fd(), "t").unwrap();
        copier
    }

    #[test]
    fn hard_links_stay_hard_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("d/e")).unwrap();
        std::fs::write(from.path().join("d/e/a"), "data").unwrap();
        std::fs::hard_link(from.path().join("d/e/a"), from.path().join("b")).unwrap();
        std::fs::hard_link(from.path().join("b"), from.path().join("d/c")).unwrap();
        let copier = copied(from.path(), to.path());
        assert_eq!(copier.bytes, 4, "copied once");
        let inode = |name: &str| std::fs::metadata(to.path().join(name)).unwrap().ino();
        assert_eq!((inode("b"), inode("b")), (inode("d/e/a"), inode("d/c")));
    }

    #[test]
    fn a_tree_deeper_than_descriptors_is_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut here = OwnedFd::from(File::open(from.path()).unwrap());
        for _ in 0..1500 {
            here = make_directory(here.as_fd(), b"d").unwrap();
        }
        make_file(here.as_fd(), b"f").unwrap();
        copied(from.path(), to.path());
        let (mut entries, root) = (0, File::open(to.path()).unwrap());
        husk_rootfs::walk::visit(root.as_fd(), true, &mut |_, _| entries += 1).unwrap();
        assert_eq!(entries, 1501);
        husk_rootfs::remove::content(root.as_fd()).unwrap();
        husk_rootfs::remove::content(File::open(from.path()).unwrap().as_fd()).unwrap();
    }
}
