//! flock(2) on small files.
//!
//! The kernel drops a lock with its process, however that ends. A lock file may be removed by
//! whoever holds it: one who waited then holds a lock on a file without a name, sees that, and
//! starts over.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Result, failed};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    // Held for its lock; never read.
    _file: File,
    /// The file, where it goes with the lock.
    remove: Option<PathBuf>,
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(failed("open", path))
}

/// Whether `file` is what `path` leads to now.
fn is_named(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata().map_err(failed("stat", path))?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("stat", path)(error)),
    }
}

impl Lock {
    /// Waits for the lock at `path` alone, and makes the file where there is none.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::wait(path, FlockOperation::LockExclusive)
    }

    /// Waits for the lock at `path` beside others that share it.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn shared(path: &Path) -> Result<Self> {
        Self::wait(path, FlockOperation::LockShared)
    }

    /// As [`Lock::exclusive`]; `waiting` is called once where another holds it.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn exclusive_told(path: &Path, waiting: &dyn Fn()) -> Result<Self> {
        match Self::try_exclusive(path)? {
            Some(lock) => Ok(lock),
            None => {
                waiting();
                Self::exclusive(path)
            }
        }
    }

    /// Takes the lock at `path` alone; `None` where another has it.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::attempt(open(path)?, path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock at `path` beside others; `None` where another has it alone.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::attempt(open(path)?, path, FlockOperation::NonBlockingLockShared)
    }

    /// Removes the file when the lock is dropped.
    #[must_use]
    pub fn removed_at_end(mut self, path: &Path) -> Self {
        self.remove = Some(path.to_owned());
        self
    }

    /// Whether another has it. A file that is not there nobody has.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let Ok(opened) = File::open(path) else { return false };
        flock(&opened, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN)
    }

    fn wait(path: &Path, operation: FlockOperation) -> Result<Self> {
        loop {
            let file = open(path)?;
            rustix::io::retry_on_intr(|| flock(&file, operation)).map_err(failed("lock", path))?;
            if is_named(&file, path)? {
                return Ok(Self { _file: file, remove: None });
            }
        }
    }

    fn attempt(mut file: File, path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        loop {
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(failed("lock", path)(errno)),
            }
            // Its holder may have removed it since it was opened, and another made a new one.
            if is_named(&file, path)? {
                return Ok(Some(Self { _file: file, remove: None }));
            }
            file = open(path)?;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_lock_is_not_taken_for_one_of_a_later_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::exclusive(&path).unwrap().removed_at_end(&path);
        let opened = open(&path).unwrap();
        drop(first);
        let second = Lock::exclusive_told(&path, &|| panic!("nobody has it")).unwrap();
        let how = FlockOperation::NonBlockingLockExclusive;
        assert!(Lock::attempt(opened, &path, how).unwrap().is_none());
        assert!(Lock::is_held(&path) && Lock::try_shared(&path).unwrap().is_none());
        drop(second);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
        assert!(!Lock::is_held(&directory.path().join("absent")));
    }
}
