//! Writing a file whole, and reading a record that may be damaged.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use crate::{Error, Result, failed};

/// No record is larger: an image of 500 layers takes 200 KiB.
const MAX_RECORD: u64 = 16 << 20;

/// What the name of a file begins with that is being written.
const SCRATCH: &str = ".new-";

/// Whether a name is that of a file that was being written: where its writer was killed it is
/// left, and whoever holds the directory's lock may remove it.
#[must_use]
pub fn is_scratch(name: &str) -> bool {
    name.starts_with(SCRATCH)
}

/// A name beside `path` that no other thread or process uses.
fn scratch(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{SCRATCH}{}-{count}", std::process::id()))
}

/// Replaces a file: a reader, or whoever looks after its writer was killed, sees the old
/// content or the new. After a power failure it may be empty.
///
/// # Errors
/// The errno of what failed; the old file is still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, false)
}

/// As [`write()`], and so does whoever looks after a power failure.
///
/// # Errors
/// The errno of what failed.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, true)
}

fn replace(path: &Path, bytes: &[u8], durably: bool) -> Result<()> {
    let scratch = scratch(path);
    let written = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&scratch)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            // A rename may reach the disk before the data that it names.
            if durably { file.sync_data() } else { Ok(()) }
        })
        .map_err(failed("write", path));
    let rename = || match std::fs::rename(&scratch, path) {
        // No record, and nothing that a rename replaces.
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            std::fs::remove_dir(path).and_then(|()| std::fs::rename(&scratch, path))
        }
        renamed => renamed,
    };
    let renamed = written.and_then(|()| rename().map_err(failed("rename", path)));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&scratch);
    }
    renamed?;
    match path.parent() {
        Some(parent) if durably => sync_directory(parent),
        _ => Ok(()),
    }
}

/// Waits until the names in a directory are on the disk.
fn sync_directory(path: &Path) -> Result<()> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // Filesystems that have nothing to sync say so.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        done => done.map_err(failed("sync", path)),
    }
}

/// [`write()`] of a value as JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, &json(path, value)?)
}

/// [`write_durably`] of a value as JSON.
///
/// # Errors
/// As [`write_durably`].
pub fn write_json_durably(path: &Path, value: &impl Serialize) -> Result<()> {
    write_durably(path, &json(path, value)?)
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Damaged { path: path.to_owned(), source })
}

/// The record at `path`; `None` where there is no such file.
///
/// # Errors
/// [`Error::Damaged`] for whatever is there and is no record: cut short, zeros, a directory.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    match read_bytes(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(damaged),
        None => Ok(None),
    }
}

/// The bytes of a record; `None` where there is no such file.
///
/// # Errors
/// [`Error::Damaged`] where it is no regular file, or larger than any record.
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let damaged = |problem: &str| {
        let source = serde_json::Error::custom(problem);
        Err(Error::Damaged { path: path.to_owned(), source })
    };
    // A FIFO would be waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return damaged("a loop of links");
        }
        Err(error) => return Err(failed("open", path)(error)),
    };
    let meta = file.metadata().map_err(failed("stat", path))?;
    if !meta.is_file() {
        return damaged("not a regular file");
    }
    let mut bytes =
        Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default().min(1 << 16));
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    match bytes.len() as u64 > MAX_RECORD {
        true => damaged("larger than 16 MiB"),
        false => Ok(Some(bytes)),
    }
}

/// Removes a record, whatever it is; that there is none is fine.
///
/// # Errors
/// The errno of unlink(2) or rmdir(2).
pub fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => std::fs::remove_dir_all(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_whole_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        write_json(&path, &[1, 2]).unwrap();
        write_json_durably(&path, &[3]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        let names = std::fs::read_dir(directory.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
        assert!(write(&directory.path().join("no/r"), b"").is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn damage_is_told_from_absence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        let text = br#"{"a":[1,2],"b":"c"}"#;
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            let error = read::<serde_json::Value>(&path).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
        }
        for bad in [&[0; 20][..], b"[]"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read::<std::collections::BTreeMap<String, u32>>(&path).is_err());
        }
        remove(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(read::<u32>(&path), Err(Error::Damaged { .. })));
        remove(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let error = read::<u32>(&path).unwrap_err().to_string();
        assert!(error.ends_with("r.json is damaged: not a regular file"), "{error}");
    }
}
