//! Unpacked layers, by chain id.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FileLock, Store, StoreError, io_error, remove_tree};
use crate::digest::Digest;
use crate::unpack::{UnpackOptions, UnpackReport, Whiteouts, stack};

/// What is known of an unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The chain id of the layer below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Bytes of file data.
    pub size: u64,
    /// Nothing below this layer is seen.
    #[serde(default)]
    pub opaque_root: bool,
    /// Opaque directories carry `user.overlay.opaque`: mount with `userxattr`.
    #[serde(default)]
    pub userxattr: bool,
}

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its chain id.
    pub chain_id: Digest,
    /// The directory for overlayfs. Never to be written.
    pub path: PathBuf,
    /// What is known of it.
    pub record: LayerRecord,
}

/// Who makes a layer.
#[derive(Debug)]
pub enum LayerClaim {
    /// It is there already.
    Present(Layer),
    /// The caller does, and holds the lock.
    Absent(LayerBuild),
}

/// A layer that the holder is making; dropped before [`LayerBuild::commit`] it goes.
#[derive(Debug)]
pub struct LayerBuild {
    store: Store,
    chain_id: Digest,
    scratch: PathBuf,
    done: bool,
    _lock: FileLock,
}

impl Store {
    pub(super) fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("layers").join(chain_id.hex())
    }

    /// Finds an unpacked layer. One whose record is damaged or whose directory is gone is not
    /// there: it is unpacked again from its blob.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn layer(&self, chain_id: &Digest) -> Result<Option<Layer>, StoreError> {
        let path = self.layer_path(chain_id);
        let record = match husk_record::read::<LayerRecord>(&path.join("layer.json")) {
            Err(husk_record::Error::Damaged { .. }) => None,
            record => record?.filter(|_| path.join("diff").is_dir()),
        };
        Ok(record.map(|record| Layer { chain_id: *chain_id, path: path.join("diff"), record }))
    }

    /// Finds the layers of a chain, lowest first.
    ///
    /// # Errors
    /// [`StoreError::NoLayer`] for the first that is not there.
    pub fn layers(&self, chain_ids: &[Digest]) -> Result<Vec<Layer>, StoreError> {
        let find = |id: &Digest| self.layer(id)?.ok_or(StoreError::NoLayer(*id));
        chain_ids.iter().map(find).collect()
    }

    /// Bytes of file data of the layers of a chain that are unpacked.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn unpacked_size(&self, chain_ids: &[Digest]) -> Result<u64, StoreError> {
        let size = |id| Ok(self.layer(id)?.map_or(0, |layer| layer.record.size));
        chain_ids.iter().map(size).sum()
    }

    /// Finds a layer, or becomes the one who makes it. `waiting` is called once if
    /// another thread or process is making it now.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn claim_layer(
        &self,
        chain_id: &Digest,
        waiting: &dyn Fn(),
    ) -> Result<LayerClaim, StoreError> {
        if let Some(layer) = self.layer(chain_id)? {
            return Ok(LayerClaim::Present(layer));
        }
        let lock_path = self.lock_path(&format!("layer-{}", chain_id.hex()));
        let lock = FileLock::exclusive_told(&lock_path, waiting)?.removed_at_end(&lock_path);
        if let Some(layer) = self.layer(chain_id)? {
            return Ok(LayerClaim::Present(layer));
        }
        // Whoever made this layer before us and was killed held the same lock.
        let name = format!("layer-{}", chain_id.hex());
        for stale in self.names_in("tmp")?.iter().filter(|stale| stale.starts_with(&name)) {
            remove_tree(&self.root.join("tmp").join(stale))?;
        }
        let scratch = self.scratch_path(&name);
        let diff = scratch.join("diff");
        make_directory(&scratch, 0o700)?;
        make_directory(&diff, 0o755)?;
        Ok(LayerClaim::Absent(LayerBuild {
            store: self.clone(),
            chain_id: *chain_id,
            scratch,
            done: false,
            _lock: lock,
        }))
    }

    /// Refuses to touch a layer that the root of a running container is made of: overlayfs
    /// would show that container holes.
    pub(super) fn refuse_mounted(&self, chain_id: &Digest) -> Result<(), StoreError> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // Other stores may hold the same layer.
        let path = std::fs::canonicalize(self.layer_path(chain_id)).ok();
        let path = path.map_or_else(String::new, |path| escaped(&path.display().to_string()));
        match !path.is_empty() && mounts.contains(&path) {
            true => Err(StoreError::LayerInUse(*chain_id)),
            false => Ok(()),
        }
    }

    pub(super) fn remove_layer(&self, chain_id: &Digest) -> Result<(), StoreError> {
        // Renamed first: a crash within the removal must not leave half a layer.
        let scratch = self.scratch_path("removed");
        let path = self.layer_path(chain_id);
        match std::fs::rename(&path, &scratch) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("rename", &path)(error)),
            Ok(()) => remove_tree(&scratch),
        }
    }
}

/// A path as the kernel writes it into the options of /proc/PID/mountinfo.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' | ',' | '=' => {
                text.push_str(&format!("\\{:03o}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::DirBuilder::new().mode(mode).create(path).map_err(io_error("make", path))?;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).map_err(io_error("set the mode of", path))
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    File::open(path).map(OwnedFd::from).map_err(io_error("open", path))
}

impl LayerBuild {
    /// The directory to unpack into.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn directory(&self) -> Result<OwnedFd, StoreError> {
        open_directory(&self.scratch.join("diff"))
    }

    /// Takes a directory that is in overlayfs's form already, on the store's file system.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn adopt(&self, directory: &Path) -> Result<(), StoreError> {
        let diff = self.scratch.join("diff");
        std::fs::rename(directory, &diff).map_err(io_error("rename", directory))
    }

    /// Empties the directory for another attempt.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn reset(&self) -> Result<(), StoreError> {
        let diff = self.scratch.join("diff");
        remove_tree(&diff)?;
        make_directory(&diff, 0o755)
    }

    /// The layer's chain id.
    #[must_use]
    pub fn chain_id(&self) -> &Digest {
        &self.chain_id
    }

    /// Completes the directories that the layer shares with those below it and puts it
    /// in its place. `parent` must be committed before. Returns warnings.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is kept.
    pub fn commit(
        mut self,
        parent: Option<&Digest>,
        diff_id: &Digest,
        report: &UnpackReport,
        options: &UnpackOptions,
    ) -> Result<(Layer, Vec<String>), StoreError> {
        let diff = self.scratch.join("diff");
        let mut warnings = Vec::new();
        if !report.implied.is_empty() || !report.names_root {
            let lowers = self.lowers(parent)?;
            let directory = self.directory()?;
            warnings =
                stack::complete(std::os::fd::AsFd::as_fd(&directory), &lowers, report, options)
                    .map_err(io_error("complete", &diff))?;
        }
        let record = LayerRecord {
            diff_id: *diff_id,
            parent: parent.copied(),
            size: report.bytes,
            opaque_root: report.opaque_root,
            userxattr: options.whiteouts == Whiteouts::User,
        };
        let path = self.scratch.join("layer.json");
        husk_record::write_json(&path, &record)?;
        let target = self.store.layer_path(&self.chain_id);
        // A layer whose record was lost is in the way.
        if std::fs::symlink_metadata(&target).is_ok() {
            self.store.refuse_mounted(&self.chain_id)?;
            self.store.remove_layer(&self.chain_id)?;
        }
        std::fs::rename(&self.scratch, &target).map_err(io_error("rename", &target))?;
        self.done = true;
        let layer = Layer { chain_id: self.chain_id, path: target.join("diff"), record };
        Ok((layer, warnings))
    }

    /// The layers below, topmost first.
    fn lowers(&self, parent: Option<&Digest>) -> Result<Vec<OwnedFd>, StoreError> {
        let mut lowers = Vec::new();
        let mut next = parent.copied();
        while let Some(id) = next {
            let layer = self.store.layer(&id)?.ok_or(StoreError::NoLayer(id))?;
            lowers.push(open_directory(&layer.path)?);
            next = layer.record.parent.filter(|_| !layer.record.opaque_root);
        }
        Ok(lowers)
    }
}

impl Drop for LayerBuild {
    fn drop(&mut self) {
        if !self.done {
            // What is left is collected: nothing else reads `tmp`.
            let _ = remove_tree(&self.scratch);
        }
    }
}
