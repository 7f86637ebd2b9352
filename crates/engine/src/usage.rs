//! How much of the disk something has.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use husk_image::store::Store;
use husk_image::tree::{open_directory, open_entry};
use rustix::fs::{AtFlags, CWD, Dir, FileType, statat};
use rustix::io::Errno;

use crate::error::Result;

/// Deeper than any tree of a person's.
const MAX_DEPTH: usize = 255;

/// Bytes on the disk of a directory and all below it; what cannot be read counts nothing.
/// A container may change it meanwhile: no link is followed.
pub fn tree(path: &Path) -> u64 {
    let mut sum = Sum { bytes: 0, seen: HashSet::new() };
    if let Ok(directory) = rustix::fs::openat(
        CWD,
        path,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        let _ = sum.directory(directory.as_fd(), 0);
    }
    sum.bytes
}

struct Sum {
    bytes: u64,
    /// Inodes of several names count once.
    seen: HashSet<(u64, u64)>,
}

impl Sum {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
        let listed = open_directory(directory)?;
        for entry in Dir::read_from(&listed)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = statat(&listed, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if stat.st_nlink > 1 && !self.seen.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            // stat(2): in units of 512 bytes whatever the file system's are.
            self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < MAX_DEPTH {
                let below = open_entry(listed.as_fd(), name.to_bytes());
                let _ = below.and_then(|below| self.directory(below.as_fd(), depth + 1));
            }
        }
        Ok(())
    }
}

/// Bytes of an image store.
///
/// # Errors
/// A malformed record.
pub fn store(store: &Store) -> Result<u64> {
    let usage = store.usage()?;
    Ok(usage.images + usage.steps + usage.partial + tree(&store.cache_mounts()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once_and_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("d")).unwrap();
        std::fs::write(path.join("d/f"), vec![1; 64 << 10]).unwrap();
        let before = tree(path);
        assert!((64 << 10..256 << 10).contains(&before), "{before}");
        std::fs::hard_link(path.join("d/f"), path.join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", path.join("out")).unwrap();
        assert!(tree(path) < before + (32 << 10), "{}", tree(path));
        assert_eq!(tree(&path.join("absent")), 0);
    }
}
