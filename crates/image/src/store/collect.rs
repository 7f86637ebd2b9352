//! Collection of what no image, container or build step needs.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use super::{FileLock, Store, StoreError, io_error, remove_tree};
use crate::digest::Digest;

/// What a collection freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs removed.
    pub blobs: usize,
    /// Layers removed.
    pub layers: usize,
    /// Bytes of the blobs and of the layers' file data.
    pub bytes: u64,
    /// Another process is adding something, so nothing was removed; the next collection
    /// finds the same.
    pub busy: bool,
}

impl Store {
    /// Removes blobs and layers that no image and no build step refers to, and what
    /// crashed processes left in `tmp`. Partial blobs stay, for a later pull.
    ///
    /// # Errors
    /// [`StoreError`]; what was not yet removed stays.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        let path = self.lock_path("activity");
        let lock = FileLock::try_exclusive(&path)?;
        let mut collected = Collected::default();
        if lock.is_none() {
            collected.busy = true;
            return Ok(collected);
        }
        let mut blobs: HashSet<Digest> = HashSet::new();
        let mut layers: HashSet<Digest> = HashSet::new();
        for image in self.images()? {
            blobs.extend([image.record.id, image.record.manifest]);
            blobs.extend(image.record.layers.iter().map(|layer| layer.blob));
            layers.extend(image.record.layers.iter().map(|layer| layer.chain_id));
        }
        for step in self.cached_steps()? {
            blobs.extend(step.blobs());
            layers.extend(step.chain_ids());
        }
        self.remove_unlisted("blobs/sha256", &blobs, |_, path| {
            collected.blobs += 1;
            collected.bytes += std::fs::metadata(path).map_or(0, |meta| meta.len());
            remove_tree(path)
        })?;
        self.remove_unlisted("layers", &layers, |digest, _| {
            collected.layers += 1;
            // A layer whose record is malformed is one more reason to remove it.
            let layer = self.layer(&digest).ok().flatten();
            collected.bytes += layer.map_or(0, |layer| layer.record.size);
            self.remove_layer(&digest)
        })?;
        // Nothing is being added, so nobody works in `tmp`.
        for name in self.names_in("tmp")? {
            let path = self.root.join("tmp").join(name);
            match path.is_dir() {
                true => remove_tree(&path)?,
                false => std::fs::remove_file(&path).map_err(io_error("remove", &path))?,
            }
        }
        self.remove_scratch()?;
        self.remove_locks()?;
        drop(lock);
        Ok(collected)
    }

    /// Removes records that killed processes were writing. The caller has [`Store::quiet`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_scratch(&self) -> Result<(), StoreError> {
        // A name is given without anything being added.
        let _names = self.lock_names()?;
        for section in ["blobs/sha256", "images", "names", "cache", "pins"] {
            let path = self.root.join(section);
            for entry in std::fs::read_dir(&path).map_err(io_error("list", &path))? {
                let entry = entry.map_err(io_error("list", &path))?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    let path = entry.path();
                    std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Removes the lock files of layers and blobs whose makers were killed.
    fn remove_locks(&self) -> Result<(), StoreError> {
        for name in self.names_in("locks")? {
            if name.starts_with("layer-") || name.starts_with("blob-") {
                let path = self.lock_path(&name);
                let held = FileLock::try_exclusive(&path)?;
                if held.is_some() {
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        Ok(())
    }

    fn remove_unlisted(
        &self,
        section: &str,
        keep: &HashSet<Digest>,
        mut remove: impl FnMut(Digest, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for name in self.names_in(section)? {
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            if !keep.contains(&digest) {
                remove(digest, &self.root.join(section).join(&name))?;
            }
        }
        Ok(())
    }

    /// Removes the partial blobs of transfers that broke off, but those under way.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_partials(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for name in self.names_in("partial")? {
            if let Ok(digest) = Digest::from_hex(&name) {
                bytes += self.remove_partial(&digest)?;
            }
        }
        Ok(bytes)
    }

    /// Removes the beginning of a blob whose transfer broke off, unless it is under way;
    /// gives the bytes freed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_partial(&self, digest: &Digest) -> Result<u64, StoreError> {
        let lock = self.lock_path(&format!("blob-{}", digest.hex()));
        let held = FileLock::try_exclusive(&lock)?;
        if held.is_none() {
            return Ok(0);
        }
        let path = self.root.join("partial").join(digest.hex());
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error));
            }
            _ => {}
        }
        let _ = std::fs::remove_file(&lock);
        Ok(bytes)
    }
}
