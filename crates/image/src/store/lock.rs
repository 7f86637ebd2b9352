//! Locks between processes: flock(2) on small files.
//!
//! The kernel drops a lock with its process, so nothing stale is ever left. A lock file
//! is removed by its last holder; whoever waited then holds a lock on a file that has no
//! name any more, sees that, and starts over.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation};
use rustix::io::Errno;

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct FileLock {
    // Held for its lock; never read.
    _file: File,
    path: PathBuf,
    remove: bool,
}

impl FileLock {
    /// Takes the lock at `path` alone; `waiting` is called once if another holds it.
    pub(crate) fn exclusive(path: &Path, waiting: &dyn Fn()) -> io::Result<FileLock> {
        loop {
            let file = open(path)?;
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    waiting();
                    retry(|| fs::flock(&file, FlockOperation::LockExclusive))?;
                }
                Err(errno) => return Err(errno.into()),
            }
            if is_named(&file, path)? {
                return Ok(FileLock { _file: file, path: path.to_owned(), remove: true });
            }
        }
    }

    /// Takes the lock at `path` alone if nobody holds it. The file stays.
    pub(crate) fn try_exclusive(path: &Path) -> io::Result<Option<FileLock>> {
        FileLock::try_opened(open(path)?, path)
    }

    /// As [`FileLock::try_exclusive`], with a file that was opened at `path`.
    fn try_opened(mut file: File, path: &Path) -> io::Result<Option<FileLock>> {
        loop {
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            // Its holder may have removed it since it was opened, and another made a new one.
            if is_named(&file, path)? {
                return Ok(Some(FileLock { _file: file, path: path.to_owned(), remove: false }));
            }
            file = open(path)?;
        }
    }

    /// Takes the lock at `path` together with others. The file stays.
    pub(crate) fn shared(path: &Path) -> io::Result<FileLock> {
        let file = open(path)?;
        retry(|| fs::flock(&file, FlockOperation::LockShared))?;
        Ok(FileLock { _file: file, path: path.to_owned(), remove: false })
    }

    /// Takes the lock at `path` alone, waiting for it. The file stays.
    pub(crate) fn waiting(path: &Path) -> io::Result<FileLock> {
        let file = open(path)?;
        retry(|| fs::flock(&file, FlockOperation::LockExclusive))?;
        Ok(FileLock { _file: file, path: path.to_owned(), remove: false })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if self.remove {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

fn retry(call: impl FnMut() -> Result<(), Errno>) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(call)?)
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let held = fs::fstat(file)?;
    match fs::lstat(path) {
        Ok(named) => Ok((held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_lock_is_not_taken_for_one_of_a_later_holder() {
        let name = format!("husk-image-lock-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let first = FileLock::exclusive(&path, &|| {}).unwrap();
        let opened = open(&path).unwrap();
        drop(first);
        let second = FileLock::exclusive(&path, &|| {}).unwrap();
        assert!(FileLock::try_opened(opened, &path).unwrap().is_none());
        drop(second);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
    }
}
