//! The store's files: JSON, replaced whole, changed only under a lock (flock(2)).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// An exclusive lock, released when dropped or when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock that the file `path` stands for, and makes the file if
    /// need be. A lock file may be removed by whoever holds it: the path is
    /// looked at again once the lock is had.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        loop {
            // Only a lock that is not waited for may be another's.
            if let Some(lock) = Self::acquire(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// As [`Self::exclusive`], but `None` where another process has it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::acquire(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn acquire(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| Error::file("open", path, e))?;
            while let Err(errno) = flock(&file, operation) {
                match errno {
                    rustix::io::Errno::INTR => {}
                    rustix::io::Errno::WOULDBLOCK
                        if operation == FlockOperation::NonBlockingLockExclusive =>
                    {
                        return Ok(None);
                    }
                    errno => return Err(Error::file("lock", path, errno)),
                }
            }
            let held = file.metadata().map_err(|e| Error::file("stat", path, e))?;
            match fs::metadata(path) {
                Ok(named) if (named.ino(), named.dev()) == (held.ino(), held.dev()) => {
                    return Ok(Some(Self { _file: file }));
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(Error::file("stat", path, e)),
            }
        }
    }
}

/// Makes a directory and its parents, for the owner alone.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::file("create directory", path, e))
}

/// The file's value, `None` if there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Damaged { path: path.to_path_buf(), source }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path, e)),
    }
}

/// Replaces the file of a directory that does not survive a reboot: a reader, or
/// a killed program, sees the old value or the new one.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, |_| Ok(()))
}

/// As [`write`], and so does whoever looks after a crash of the machine: a
/// rename may reach the disk before the data it names.
pub(crate) fn write_durably<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, File::sync_data)
}

fn replace<T: Serialize>(
    path: &Path,
    value: &T,
    settle: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<()> {
    let new = path.with_extension("json.new");
    let bytes = serde_json::to_vec(value)
        .map_err(|source| Error::Damaged { path: path.to_path_buf(), source })?;
    let written =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new).and_then(
            |mut file| {
                file.write_all(&bytes)?;
                settle(&file)
            },
        );
    if let Err(e) = written {
        let _ = fs::remove_file(&new);
        return Err(Error::file("write", &new, e));
    }
    fs::rename(&new, path).map_err(|e| Error::file("rename", &new, e))
}

/// Removes the file; that there is none is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

/// The names, without `.json`, of a directory's JSON files, sorted.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let failed = |e| Error::file("list", directory, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|n| n.strip_suffix(".json")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
