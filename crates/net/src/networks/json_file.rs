//! The store's files: JSON, replaced whole, changed only under a lock (flock(2)).

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub(crate) use husk_record::Lock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

impl From<husk_record::Error> for Error {
    fn from(error: husk_record::Error) -> Self {
        match error {
            husk_record::Error::File { operation, path, source } => {
                Self::file(operation, &path, source)
            }
            husk_record::Error::Damaged { path, source } => Self::Damaged { path, source },
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
    Ok(husk_record::read(path)?)
}

/// Replaces the file of a directory that does not survive a reboot.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(husk_record::write_json(path, value)?)
}

/// As [`write`], for what survives a power failure.
pub(crate) fn write_durably<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(husk_record::write_json_durably(path, value)?)
}

/// Removes the file; that there is none is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    Ok(husk_record::remove(path)?)
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
