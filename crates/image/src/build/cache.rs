//! `--cache-to` and `--cache-from`: results of steps, carried from one store to another.
//!
//! They travel as an image: its layers are those of a stage, and its config says, beside
//! what every config does, which step ended after how many of them ([`CacheEntry`]). So any
//! registry and any reader of OCI layouts takes it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BuildError;
use super::state::StageState;
use crate::compose::{Dialect, compose};
use crate::config::{ImageConfig, RootFs};
use crate::digest::Digest;
use crate::document::{Descriptor, Index, media};
use crate::store::{CachedStep, ImageRecord, Store};

/// The result of a step, in the config of an image that carries a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// The step's key.
    pub key: Digest,
    /// How many of the image's layers there were after it.
    pub layers: usize,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// What of a build's cache is to be carried elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheExport {
    /// In the config of the built image itself (`type=inline`).
    pub inline: bool,
    /// As images of their own ([`super::Built::cache`]).
    pub apart: bool,
    /// Of all stages, and not of the built one alone (`mode=max`).
    pub all_stages: bool,
}

/// Writes the image that carries the steps of a stage.
pub(super) fn carrier(store: &Store, state: &StageState) -> Result<ImageRecord, BuildError> {
    let config = ImageConfig {
        architecture: state.platform.architecture.clone(),
        os: state.platform.os.clone(),
        variant: state.platform.variant.clone(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: state.layers.iter().map(|(layer, _)| layer.diff_id).collect(),
        },
        cache: Some(state.steps.clone()),
        ..ImageConfig::default()
    };
    let layers = state.layers.iter();
    let layers = layers.map(|(layer, kind)| Descriptor::new(kind, layer.blob, layer.size));
    Ok(compose(store, &config, layers.collect(), Dialect::Oci)?)
}

/// Makes the steps that `image` carries known to the store, in which it is unpacked. Gives how
/// many there are.
///
/// # Errors
/// [`BuildError::Store`].
pub fn import_cache(store: &Store, image: &ImageRecord) -> Result<usize, BuildError> {
    let entries = store.config(image)?.cache.unwrap_or_default();
    let mut known = 0;
    for entry in entries {
        let Some(layers) = image.layers.get(..entry.layers) else { continue };
        let step = CachedStep { layers: layers.to_vec(), created: entry.created };
        store.put_step(&entry.key, &step)?;
        known += 1;
    }
    Ok(known)
}

/// Writes images as an OCI layout into a directory, which may hold an earlier one.
///
/// # Errors
/// [`BuildError`].
pub fn write_layout(
    store: &Store,
    images: &[ImageRecord],
    directory: &Path,
) -> Result<(), BuildError> {
    let failed = |path: PathBuf| move |source| BuildError::Scratch { path, source };
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(failed(blobs.clone()))?;
    let mut manifests = Vec::new();
    for image in images {
        let layers = image.layers.iter().map(|layer| layer.blob);
        for digest in [image.manifest, image.id].into_iter().chain(layers) {
            let path = blobs.join(digest.hex());
            if path.exists() {
                continue;
            }
            // Under another name first: half a blob must not look like one.
            let part = blobs.join(format!(".{}.{}", digest.hex(), std::process::id()));
            let write = || -> io::Result<()> {
                let mut from = store.open_blob(&digest).map_err(io::Error::other)?;
                io::copy(&mut from, &mut File::create(&part)?)?;
                std::fs::rename(&part, &path)
            };
            write().map_err(failed(path.clone()))?;
        }
        let size = store.blob_size(&image.manifest)?;
        manifests.push(Descriptor {
            platform: Some(image.platform.clone()),
            ..Descriptor::new(&image.media_type, image.manifest, size)
        });
    }
    let index = Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests };
    let path = directory.join("index.json");
    let bytes = serde_json::to_vec(&index).map_err(io::Error::other);
    bytes.and_then(|bytes| std::fs::write(&path, bytes)).map_err(failed(path))?;
    let path = directory.join("oci-layout");
    let written = std::fs::write(&path, br#"{"imageLayoutVersion":"1.0.0"}"#);
    written.map_err(failed(path))
}
