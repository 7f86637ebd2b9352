//! flock(2) on a file of the engine's own; it ends with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Result, file};

/// A lock that is held; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(file("open", path))
}

impl Lock {
    /// Waits until it is ours alone.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::wait(path, FlockOperation::LockExclusive)
    }

    /// Waits until it is ours, perhaps beside others that share it.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn shared(path: &Path) -> Result<Self> {
        Self::wait(path, FlockOperation::LockShared)
    }

    fn wait(path: &Path, operation: FlockOperation) -> Result<Self> {
        let opened = open(path)?;
        loop {
            match flock(&opened, operation) {
                Ok(()) => return Ok(Self { _file: opened }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(file("lock", path)(errno)),
            }
        }
    }

    /// `None` where another has it.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::attempt(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// `None` where another has it alone.
    ///
    /// # Errors
    /// The errno of open(2) or flock(2).
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::attempt(path, FlockOperation::NonBlockingLockShared)
    }

    fn attempt(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        let opened = open(path)?;
        match flock(&opened, operation) {
            Ok(()) => Ok(Some(Self { _file: opened })),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(file("lock", path)(errno)),
        }
    }

    /// Whether another has it. A file that is not there nobody has.
    pub fn is_held(path: &Path) -> bool {
        let Ok(opened) = File::open(path) else { return false };
        flock(&opened, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN)
    }
}
