//! Walking and copying file trees by descriptors, with a bounded number of them open.
//!
//! | module | mechanism |
//! |---|---|
//! | [`descent`] | the directories from a root to where a walk is, only the deepest of them open |
//! | [`walk`] | depth-first in the order of names, with a filter |
//! | [`copy`] | a copy that keeps hard links, attributes and times |
//! | [`mode`] | `chmod`'s octal and symbolic modes |

pub mod copy;
pub mod descent;
pub mod mode;
pub mod walk;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Why a tree could not be walked or copied.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// The errno.
        source: io::Error,
    },
    /// A directory would replace something else.
    #[error("{path}: {what}, where a directory is copied; remove it first, or copy elsewhere")]
    NotDirectory {
        /// The path in the destination.
        path: String,
        /// `a link to "lib"`, `a file`.
        what: String,
    },
    /// A file would replace a directory.
    #[error("{path}: a directory, where a file is copied; name another destination")]
    IsDirectory {
        /// The path in the destination.
        path: String,
    },
    /// Directories are nested too deeply.
    #[error("{path}: more than {limit} directories deep")]
    Deep {
        /// The first directory that is too deep.
        path: String,
        /// The limit.
        limit: usize,
    },
}

/// Adds what was tried, and on what, to an errno.
pub(crate) fn at<E: Into<io::Error>>(
    operation: &'static str,
    path: &str,
) -> impl FnOnce(E) -> TreeError + use<E> {
    let path = crate::digest::clip(path);
    move |source| TreeError::File { operation, path, source: source.into() }
}

/// Opens an entry of a directory as what it is, without following a link.
///
/// # Errors
/// The errno of openat(2).
pub fn open_entry(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::empty())
}

/// Opens a directory for reading, given an O_PATH descriptor of it.
///
/// # Errors
/// The errno of openat(2); ENOTDIR where it is something else.
pub fn open_directory(inode: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(inode, ".", flags, Mode::empty())
}

/// The path of the magic link to a descriptor's inode, for the calls that refuse O_PATH.
pub(crate) fn magic_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens a regular file, given an O_PATH descriptor of it. Never call it for another kind:
/// opening a device or a FIFO has effects.
pub(crate) fn open_file(inode: BorrowedFd<'_>, flags: OFlags) -> Result<std::fs::File, Errno> {
    fs::open(magic_link(inode), flags | OFlags::CLOEXEC, Mode::empty()).map(Into::into)
}

/// The type of the file that `stat` describes.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What identifies an inode.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
