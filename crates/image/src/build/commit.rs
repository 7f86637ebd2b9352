//! Commit: a container's changes become a layer on top of its image.

use std::os::fd::BorrowedFd;

use super::BuildError;
use super::state::StageState;
use crate::compose::{Dialect, compose, timestamp};
use crate::config::{History, ImageConfig, RootFs, RunConfig};
use crate::document::{Descriptor, media};
use crate::pack::pack;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::registry::{PullOptions, unpack_image};
use crate::store::{ImageLayer, ImageRecord, Store};

/// What a commit makes of a container's changes.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// What a container of the new image runs.
    pub config: RunConfig,
    /// Who made it.
    pub author: Option<String>,
    /// A remark for its history.
    pub message: Option<String>,
    /// The command that made the changes, for its history.
    pub created_by: String,
    /// Its name.
    pub reference: Option<Reference>,
}

/// Makes an image of `base` and, on top of it, the changes in an overlayfs upper directory. No
/// changes add no layer.
///
/// # Errors
/// What cannot be read or written; the store's images and names are then as they were.
pub fn commit(
    store: &Store,
    base: &ImageRecord,
    upper: BorrowedFd<'_>,
    options: CommitOptions,
    progress: &dyn Progress,
) -> Result<ImageRecord, BuildError> {
    let committed = {
        let _activity = store.activity()?;
        add_layer(store, base, upper, options, progress)
    };
    if committed.is_err() {
        // The commit's own failure is what the caller has to see.
        let _ = store.collect();
    }
    committed
}

fn add_layer(
    store: &Store,
    base: &ImageRecord,
    upper: BorrowedFd<'_>,
    options: CommitOptions,
    progress: &dyn Progress,
) -> Result<ImageRecord, BuildError> {
    let (manifest, config) = store.documents(base)?;
    let mut state = StageState::of_image(base, &manifest, config);
    let mut packed = None;
    let (blob, size) = store.put_blob(|writer| {
        packed = Some(pack(upper, writer)?);
        Ok::<(), BuildError>(())
    })?;
    let layer = packed.filter(|packed| packed.entries > 0);
    for warning in layer.iter().flat_map(|packed| &packed.warnings) {
        progress.event(Event::Warning(warning));
    }
    let is_empty = layer.is_none();
    if let Some(packed) = layer {
        let diff_id = packed.diff_id;
        let parent = state.chain_ids().pop();
        let chain_id = parent.map_or(diff_id, |parent| parent.chain(&diff_id));
        let layer = ImageLayer { blob, size, diff_id, chain_id };
        state.layers.push((layer, media::OCI_LAYER_GZIP.to_owned()));
    }
    let created = timestamp();
    state.history.push(History {
        created: Some(created.clone()),
        created_by: Some(options.created_by),
        author: options.author.clone(),
        comment: options.message,
        empty_layer: is_empty,
    });
    let diff_ids = state.layers.iter().map(|(layer, _)| layer.diff_id).collect();
    let config = ImageConfig {
        created: Some(created),
        author: options.author.or(state.author),
        architecture: state.platform.architecture,
        os: state.platform.os,
        variant: state.platform.variant,
        config: Some(options.config),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
        history: Some(state.history),
        cache: None,
    };
    let layers = state.layers.iter();
    let layers = layers.map(|(layer, kind)| Descriptor::new(kind, layer.blob, layer.size));
    let image = compose(store, &config, layers.collect(), Dialect::Oci)?;
    let unpacked = unpack_image(store, &image, &PullOptions::default(), progress);
    unpacked.map_err(|error| BuildError::Unpack(Box::new(error)))?;
    let named = options.reference.map(|reference| (reference, image.manifest));
    store.add_image(&image, named.as_slice())?;
    Ok(image)
}
