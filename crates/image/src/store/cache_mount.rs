//! Directories that steps of builds keep from one build to the next
//! (`RUN --mount=type=cache`).

use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use super::{FileLock, Store, StoreError, io_error, modified, remove_tree};
use crate::digest::Digest;

/// What two steps at once do with one directory; the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// Both have it.
    Shared,
    /// The second has an empty one, which is not kept.
    Private,
    /// The second waits.
    Locked,
}

/// A kept directory while it is in use.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    kept: bool,
    _lock: Option<FileLock>,
}

impl Store {
    /// Where they are.
    #[must_use]
    pub fn cache_mounts(&self) -> PathBuf {
        self.root.join("cache-mounts")
    }

    /// The directory that `key` names, for as long as what is returned lives.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn cache_mount(&self, key: &[u8], sharing: Sharing) -> Result<CacheMount, StoreError> {
        let name = Digest::of(key).hex();
        let lock_path = self.lock_path(&format!("cache-{name}"));
        let lock = match sharing {
            Sharing::Shared => FileLock::shared(&lock_path).map(Some),
            Sharing::Locked => FileLock::exclusive(&lock_path).map(Some),
            Sharing::Private => FileLock::try_exclusive(&lock_path),
        };
        let lock = lock?;
        let kept = lock.is_some();
        let path = if kept { self.cache_mounts().join(name) } else { self.scratch_path("cache") };
        std::fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        Ok(CacheMount { path, kept, _lock: lock })
    }

    /// Removes those that no step uses.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_cache_mounts(&self) -> Result<(), StoreError> {
        self.remove_cache_mounts_of(&|_| true)
    }

    /// The same of those whose directory was changed last at a time for which `goes` is true.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_cache_mounts_of(
        &self,
        goes: &dyn Fn(SystemTime) -> bool,
    ) -> Result<(), StoreError> {
        let entries = match std::fs::read_dir(self.cache_mounts()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io_error("list", &self.cache_mounts()))?,
        };
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.cache_mounts()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let lock_path = self.lock_path(&format!("cache-{name}"));
            let lock = FileLock::try_exclusive(&lock_path)?;
            if lock.is_some() && goes(modified(&entry.path())?) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl CacheMount {
    /// Nothing has been put there yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.directory().exists()
    }

    /// What a step sees.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.path.join("content")
    }

    /// Where the first content is made, as `source`, before [`CacheMount::begin`]. Two that
    /// begin at once have one each.
    #[must_use]
    pub fn making(&self) -> PathBuf {
        let path = self.path.join(format!("new-{}", std::process::id()));
        // What cannot be made is said by whoever opens it.
        let _ = remove_tree(&path);
        let _ = std::fs::create_dir(&path);
        path
    }

    /// Puts what was made in its place, with an owner and a mode.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn begin(&self, uid: u32, gid: u32, mode: u32) -> Result<(), StoreError> {
        let making = self.path.join(format!("new-{}", std::process::id()));
        let made = making.join("source");
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, &made, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| rustix::fs::chmod(&made, Mode::from_raw_mode(mode)))
            .map_err(|errno| io_error("set the owner of", &made)(errno.into()))?;
        match std::fs::rename(&made, self.directory()) {
            // Another step was first.
            Err(_) if self.directory().exists() => {}
            other => other.map_err(io_error("rename", &made))?,
        }
        remove_tree(&making)
    }
}

impl Drop for CacheMount {
    fn drop(&mut self) {
        if !self.kept {
            // What is left is collected: nothing else reads `tmp`.
            let _ = remove_tree(&self.path);
        }
    }
}
