//! What the store has on the disk, and for whom.

use std::collections::HashMap;

use super::{ImageRecord, Store, StoreError, io_error};
use crate::digest::Digest;

/// Bytes of blobs and of unpacked layers' file data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of images.
    pub images: u64,
    /// Of these, what no container's image has.
    pub unused: u64,
    /// Of build steps only, and what the next collection removes.
    pub steps: u64,
    /// How many results of build steps there are.
    pub step_count: usize,
    /// Beginnings of blobs whose transfer broke off.
    pub partial: u64,
}

#[derive(Default)]
struct Parts {
    blobs: HashMap<Digest, u64>,
    layers: HashMap<Digest, u64>,
}

impl Parts {
    fn add(&mut self, store: &Store, image: &ImageRecord) -> Result<(), StoreError> {
        for layer in &image.layers {
            let size = store.layer(&layer.chain_id)?.map_or(0, |layer| layer.record.size);
            self.layers.insert(layer.chain_id, size);
            self.blobs.insert(layer.blob, layer.size);
        }
        for document in [image.id, image.manifest] {
            self.blobs.insert(document, store.blob_size(&document).unwrap_or(0));
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.blobs.values().chain(self.layers.values()).sum()
    }
}

impl Store {
    /// Adds up what is there.
    ///
    /// # Errors
    /// [`StoreError`]; a malformed record.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let pinned: Vec<Digest> = self.pins()?.into_iter().map(|(_, image)| image).collect();
        let (mut images, mut used) = (Parts::default(), Parts::default());
        for image in self.images()? {
            images.add(self, &image.record)?;
            if pinned.contains(&image.record.manifest) {
                used.add(self, &image.record)?;
            }
        }
        let mut all = self.sizes("blobs/sha256")?;
        for name in self.names_in("layers")? {
            if let Ok(digest) = Digest::from_hex(&name) {
                all += self.layer(&digest)?.map_or(0, |layer| layer.record.size);
            }
        }
        let bytes = images.bytes();
        Ok(Usage {
            images: bytes,
            unused: bytes.saturating_sub(used.bytes()),
            steps: all.saturating_sub(bytes),
            step_count: self.names_in("cache")?.len(),
            partial: self.sizes("partial")?,
        })
    }

    fn sizes(&self, section: &str) -> Result<u64, StoreError> {
        let mut sum = 0;
        for name in self.names_in(section)? {
            let path = self.root().join(section).join(name);
            match std::fs::symlink_metadata(&path) {
                Ok(meta) => sum += meta.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("stat", &path)(error)),
            }
        }
        Ok(sum)
    }
}
