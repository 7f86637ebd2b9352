//! Reading small files of a tree that somebody else owns.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::resolve::{IN_ROOT, open_at};

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// A system call failed.
    Errno(Errno),
    /// Something other than a regular file: to open a device or a FIFO is to use it.
    NotRegular,
    /// Larger than the limit.
    TooLarge,
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Reads the regular file at `path` below `root`, of at most `limit` bytes.
///
/// # Errors
/// [`ReadError`].
pub fn regular_file(root: BorrowedFd<'_>, path: &[u8], limit: u64) -> Result<Vec<u8>, ReadError> {
    let found = open_at(root, path, OFlags::PATH, IN_ROOT)?;
    if FileType::from_raw_mode(fs::fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(ReadError::NotRegular);
    }
    // Opened anew through the descriptor: the very inode that was looked at.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = fs::open(format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty())?;
    let mut bytes = Vec::new();
    let read = File::from(opened).take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    match bytes.len() as u64 > limit {
        true => Err(ReadError::TooLarge),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_regular_files_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("f"), "12345").unwrap();
        std::os::unix::fs::symlink("/f", path.join("l")).unwrap();
        let root = File::open(path).unwrap();
        let read = |name: &str, limit| regular_file(root.as_fd(), name.as_bytes(), limit);
        assert_eq!(read("l", 5).unwrap(), b"12345");
        assert!(matches!(read("f", 4), Err(ReadError::TooLarge)));
        assert!(matches!(read(".", 4), Err(ReadError::NotRegular)));
        assert!(matches!(read("no", 4), Err(ReadError::Errno(Errno::NOENT))));
    }
}
