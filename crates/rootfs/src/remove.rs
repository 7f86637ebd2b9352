//! Removing a tree of any depth with two descriptors.
//!
//! `std::fs::remove_dir_all` keeps a descriptor for each level, so a container that makes
//! directories a thousand deep could not be removed under the usual soft limit of 1024.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;

use crate::walk::{Identity, identity, open_directory, open_parent};

/// How often a directory is emptied that somebody else still writes to.
const ROUNDS: usize = 16;

/// Removes what is at `path`, with all below it; that it is not there is fine. The
/// directories above it are the caller's and are followed as always.
///
/// # Errors
/// The errno of the first thing that could not be removed; the rest may still be there.
pub fn tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match std::fs::File::open(parent) {
        Ok(parent) => Ok(entry(parent.as_fd(), name.as_encoded_bytes())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes `name` of a directory, with all below it; that it is not there is fine.
///
/// # Errors
/// As [`tree`].
pub fn entry(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlink(parent, name)? {
        Removed::Done => Ok(()),
        Removed::Directory => {
            let directory = open(parent, name)?;
            let Some(directory) = directory else { return Ok(()) };
            content(directory.as_fd())?;
            for _ in 0..ROUNDS {
                match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    Err(Errno::NOTEMPTY) => content(directory.as_fd())?,
                    Err(errno) => return Err(errno),
                }
            }
            Err(Errno::NOTEMPTY)
        }
    }
}

/// Empties a directory.
///
/// # Errors
/// As [`tree`].
pub fn content(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(mut here) = open(directory, b".")? else { return Ok(()) };
    let mut levels: Vec<Level> = Vec::new();
    let mut ahead = remove_files(here.as_fd())?;
    loop {
        if let Some(name) = ahead.pop() {
            // An empty one needs no visit.
            match fs::unlinkat(&here, name.as_slice(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            }
            let Some(below) = open(here.as_fd(), &name)? else { continue };
            let above = identity(&fs::fstat(&here)?);
            let found = remove_files(below.as_fd())?;
            levels.push(Level {
                above,
                name,
                ahead: std::mem::replace(&mut ahead, found),
                rounds: 0,
            });
            here = below;
            continue;
        }
        let Some(mut level) = levels.pop() else { return Ok(()) };
        let above = open_parent(here.as_fd(), level.above)?;
        match fs::unlinkat(&above, level.name.as_slice(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                here = above;
                ahead = level.ahead;
            }
            // Something was put into it since it was listed.
            Err(Errno::NOTEMPTY) if level.rounds < ROUNDS => {
                level.rounds += 1;
                ahead = remove_files(here.as_fd())?;
                levels.push(level);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// A directory on the way from the root of the removal to where it is.
struct Level {
    above: Identity,
    /// Its own name there.
    name: Vec<u8>,
    /// The directories beside it that are still to be removed.
    ahead: Vec<Vec<u8>>,
    rounds: usize,
}

enum Removed {
    Done,
    Directory,
}

/// Removes a name that is no directory.
fn unlink(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Removed, Errno> {
    let unlinked = || fs::unlinkat(parent, name, AtFlags::empty());
    let errno = match unlinked() {
        Ok(()) | Err(Errno::NOENT) => return Ok(Removed::Done),
        Err(errno) => errno,
    };
    // Linux says EISDIR for a directory, other filesystems' servers EPERM, and EACCES where the
    // directory above may not be written to.
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(Removed::Done),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Ok(Removed::Directory)
        }
        _ if errno == Errno::ACCESS => {
            open_up(parent)?;
            unlinked().map(|()| Removed::Done)
        }
        _ => Err(errno),
    }
}

/// Opens a directory, also one whose owner has no right to it: an unprivileged unpack of a
/// layer leaves such. `None` where it has gone.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    match open_directory(parent, name) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => {
            // Of a directory, never through a link: chmod of a link's target is not ours.
            let flags = fs::OFlags::PATH
                | fs::OFlags::DIRECTORY
                | fs::OFlags::NOFOLLOW
                | fs::OFlags::CLOEXEC;
            let found = fs::openat(parent, name, flags, Mode::empty())?;
            open_up(found.as_fd())?;
            open_directory(parent, name).map(Some)
        }
        Err(errno) => Err(errno),
    }
}

fn open_up(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // O_PATH takes no fchmod(2); the magic link ends at the inode itself.
    fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), Mode::RWXU)
}

/// Removes what is no directory, and gives the names of the directories.
fn remove_files(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(name.to_vec());
            continue;
        }
        if let Removed::Directory = unlink(directory, name)? {
            directories.push(name.to_vec());
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::walk::tests::make_deep;

    #[test]
    fn depth_and_width_do_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        std::fs::create_dir(&top).unwrap();
        make_deep(&top, 5000);
        for number in 0..300 {
            let below = top.join(format!("w{number}"));
            std::fs::create_dir(&below).unwrap();
            std::fs::write(below.join("f"), "").unwrap();
        }
        std::fs::write(directory.path().join("kept"), "").unwrap();
        symlink(directory.path(), top.join("link")).unwrap();
        tree(&top).unwrap();
        assert!(!top.exists());
        assert!(directory.path().join("kept").exists());
        tree(&top).unwrap();
        tree(&directory.path().join("kept")).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn closed_directories_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("top/closed");
        std::fs::create_dir_all(closed.join("below")).unwrap();
        std::fs::write(closed.join("file"), "").unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
        tree(&directory.path().join("top")).unwrap();
        assert!(!directory.path().join("top").exists());
    }
}
