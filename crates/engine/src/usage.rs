//! How much of the disk something has.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;

use husk_image::store::Store;
use husk_rootfs::walk::identity;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::container::Container;
use crate::error::Result;
use crate::rootfs;
use crate::spec::FILES;

/// Bytes on the disk of a directory and all below it; what cannot be read counts nothing.
/// A container may change it meanwhile: no link is followed.
pub fn tree(path: &Path) -> u64 {
    let (mut bytes, mut seen) = (0, HashSet::new());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if let Ok(directory) = rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        // A directory that is moved meanwhile ends the count: what was seen counts.
        let _ = husk_rootfs::walk::visit(directory.as_fd(), true, &mut |_, stat| {
            // Inodes of several names count once.
            let several =
                stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
            if !several || seen.insert(identity(stat)) {
                // stat(2): in units of 512 bytes whatever the file system's are.
                bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            }
        });
    }
    bytes
}

/// Bytes of what a container has changed: of its image, and of the engine's own files.
pub fn changes(container: &Container) -> u64 {
    let upper = tree(&rootfs::upper_of(container));
    let own = FILES.iter().map(|(_, name)| beyond_a_block(&container.directory.join(name)));
    upper + own.sum::<u64>()
}

/// What a program has added to a file of the engine's; up to a block is what the engine writes.
fn beyond_a_block(path: &Path) -> u64 {
    const BLOCK: u64 = 4096;
    let bytes = std::fs::symlink_metadata(path).map_or(0, |meta| meta.len());
    if bytes > BLOCK { bytes } else { 0 }
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
