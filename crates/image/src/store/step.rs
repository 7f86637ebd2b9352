//! Results of build steps, by cache key.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{ImageLayer, Store, StoreError, modified, remove_tree};
use crate::digest::Digest;

/// The layers that an image has after a build step, lowest first. They are kept until
/// [`Store::remove_steps`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    /// The layers.
    pub layers: Vec<ImageLayer>,
    /// When the step was made, as an image's config has it: a build of nothing but cached steps
    /// gives the same image. None in caches of before it was kept.
    #[serde(default)]
    pub created: Option<String>,
}

impl CachedStep {
    pub(super) fn blobs(&self) -> impl Iterator<Item = Digest> {
        self.layers.iter().map(|layer| layer.blob)
    }

    pub(super) fn chain_ids(&self) -> impl Iterator<Item = Digest> {
        self.layers.iter().map(|layer| layer.chain_id)
    }
}

impl Store {
    fn step_path(&self, key: &Digest) -> PathBuf {
        self.root.join("cache").join(format!("{}.json", key.hex()))
    }

    /// The result of the step with this key, if its layers are all still there.
    ///
    /// # Errors
    /// [`StoreError::Record`].
    pub fn step(&self, key: &Digest) -> Result<Option<CachedStep>, StoreError> {
        let Some(step) = Self::read_step(&self.step_path(key))? else { return Ok(None) };
        for layer in &step.layers {
            if !self.has_blob(&layer.blob) || self.layer(&layer.chain_id)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(step))
    }

    /// Keeps the result of a step.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_step(&self, key: &Digest, step: &CachedStep) -> Result<(), StoreError> {
        let path = self.step_path(key);
        if path.is_dir() {
            remove_tree(&path)?;
        }
        Ok(husk_record::write_json(&path, step)?)
    }

    /// A record that is damaged is a step that was never cached.
    fn read_step(path: &std::path::Path) -> Result<Option<CachedStep>, StoreError> {
        match husk_record::read(path) {
            Err(husk_record::Error::Damaged { .. }) => Ok(None),
            step => Ok(step?),
        }
    }

    /// Forgets all build steps; [`Store::collect`] then frees what they held.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_steps(&self) -> Result<usize, StoreError> {
        self.remove_steps_of(&|_| true)
    }

    /// The same of those that were written down at a time for which `goes` is true.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_steps_of(&self, goes: &dyn Fn(SystemTime) -> bool) -> Result<usize, StoreError> {
        let mut removed = 0;
        for name in self.names_in("cache")? {
            let path = self.root.join("cache").join(name);
            if goes(modified(&path)?) {
                remove_tree(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub(super) fn cached_steps(&self) -> Result<Vec<CachedStep>, StoreError> {
        let mut steps = Vec::new();
        for name in self.names_in("cache")? {
            steps.extend(Self::read_step(&self.root.join("cache").join(name))?);
        }
        Ok(steps)
    }
}
