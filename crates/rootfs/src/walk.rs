//! Visiting a tree of any depth with two descriptors.
//!
//! One directory is open at a time. The way back up is `..`, and it is taken only where it
//! leads to the directory that was left: a program that moves a directory meanwhile gets an
//! error for the walk and never a visit outside of the tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// What makes a directory the same one: device and inode.
pub type Identity = (u64, u64);

/// The identity of an inode.
#[must_use]
pub fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Opens the directory `name` of `parent` for reading; no link is followed.
///
/// # Errors
/// The errno of openat(2).
pub fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Opens the directory above `directory`, which must be the one with `identity`.
///
/// # Errors
/// ESTALE where it is another one by now; the errno of openat(2).
pub fn open_parent(directory: BorrowedFd<'_>, expected: Identity) -> Result<OwnedFd, Errno> {
    let above = open_directory(directory, b"..")?;
    match identity(&fs::fstat(&above)?) == expected {
        true => Ok(above),
        false => Err(Errno::STALE),
    }
}

/// The names in a directory, without `.` and `..`.
///
/// # Errors
/// The errno of getdents64(2).
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// A directory on the way from the root of the walk to where it is.
struct Level {
    above: Identity,
    /// Its subdirectories that are still to be visited.
    ahead: Vec<Vec<u8>>,
}

/// Calls `visit` for everything below `root`, with what lstat(2) says of it; `.` and `..` are
/// left out, and so is what has gone or cannot be read. Other filesystems are not entered
/// unless `mounts` says so.
///
/// # Errors
/// The errno of opening or listing `root`; ESTALE where a directory was moved meanwhile.
pub fn visit(
    root: BorrowedFd<'_>,
    mounts: bool,
    visit: &mut dyn FnMut(&[u8], &Stat),
) -> Result<(), Errno> {
    let mut here = open_directory(root, b".")?;
    let device = fs::fstat(&here)?.st_dev;
    let mut list = |directory: BorrowedFd<'_>| -> Result<Vec<Vec<u8>>, Errno> {
        let mut ahead = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            visit(name.to_bytes(), &stat);
            let enters = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if enters && (mounts || stat.st_dev == device) {
                ahead.push(name.to_bytes().to_vec());
            }
        }
        Ok(ahead)
    };
    let mut levels: Vec<Level> = Vec::new();
    let mut ahead = list(here.as_fd())?;
    loop {
        let Some(name) = ahead.pop() else {
            let Some(level) = levels.pop() else { return Ok(()) };
            here = open_parent(here.as_fd(), level.above)?;
            ahead = level.ahead;
            continue;
        };
        // One that has gone or that may not be read holds nothing to count.
        let Ok(below) = open_directory(here.as_fd(), &name) else { continue };
        let Ok(found) = list(below.as_fd()) else { continue };
        let above = identity(&fs::fstat(&here)?);
        levels.push(Level { above, ahead: std::mem::replace(&mut ahead, found) });
        here = below;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes directories named `d` in each other.
    pub(crate) fn make_deep(path: &std::path::Path, depth: usize) {
        let mut here = OwnedFd::from(std::fs::File::open(path).unwrap());
        for _ in 0..depth {
            fs::mkdirat(&here, c"d", Mode::RWXU).unwrap();
            here = open_directory(here.as_fd(), b"d").unwrap();
        }
        fs::openat(&here, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_descriptors_is_visited_whole() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("x")).unwrap();
        make_deep(directory.path(), 3000);
        make_deep(&directory.path().join("x"), 3);
        let root = std::fs::File::open(directory.path()).unwrap();
        let mut seen = 0;
        visit(root.as_fd(), true, &mut |_, _| seen += 1).unwrap();
        assert_eq!(seen, 3000 + 1 + 1 + 3 + 1);
        crate::remove::tree(directory.path()).unwrap();
    }
}
