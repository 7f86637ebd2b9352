//! A step that makes files: run it on a mount, keep what it changed as a layer.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::BuildError;
use super::builder::BuildOptions;
use super::state::StageState;
use crate::compose::timestamp;
use crate::digest::Digest;
use crate::document::media;
use crate::overlay::OverlayPlan;
use crate::pack::{TreeHash, pack};
use crate::progress::{Event, Progress};
use crate::store::{CachedStep, ImageLayer, LayerClaim, Store};
use crate::unpack::UnpackReport;

/// What a layer step is made of.
pub(super) type Make<'m> = dyn FnMut(&OwnedFd) -> Result<(), BuildError> + 'm;

/// A directory of the store's `tmp`.
pub(super) struct Scratch(pub(super) std::path::PathBuf);

impl Scratch {
    pub(super) fn new(store: &Store) -> Result<Scratch, BuildError> {
        let path = store.scratch_path("build");
        std::fs::create_dir(&path)
            .map_err(|source| BuildError::Scratch { path: path.clone(), source })?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is collected: nothing else reads `tmp`.
        let _ = crate::store::remove_tree(&self.0);
    }
}

/// Adds the layer that `make` makes, or the cached one. A step that changes nothing adds
/// none.
pub(super) fn layer_step(
    store: &Store,
    options: &BuildOptions,
    progress: &dyn Progress,
    state: &mut StageState,
    key: TreeHash,
    make: &mut Make<'_>,
) -> Result<(), BuildError> {
    let key = key.finish();
    if !options.no_cache
        && let Some(cached) = store.step(&key)?
        && cached.layers.len() <= state.layers.len() + 1
    {
        progress.event(Event::CachedStep);
        state.created = cached.created.or_else(|| Some(timestamp()));
        if let Some(layer) = cached.layers.get(state.layers.len()) {
            state.layers.push((layer.clone(), media::OCI_LAYER_GZIP.to_owned()));
        }
        return Ok(());
    }
    let scratch = Scratch::new(store)?;
    let below = store.layers(&state.chain_ids())?;
    let plan = OverlayPlan::prepare(&below, &scratch.0)?;
    let mount = plan.mount()?;
    make(&mount)?;
    // Unmounts: the upper directory is ours alone again.
    drop(mount);
    let upper = scratch.0.join("upper");
    if let Some(layer) = keep(store, options, progress, state.chain_ids().last(), &upper)? {
        state.layers.push((layer, media::OCI_LAYER_GZIP.to_owned()));
    }
    let layers = state.layers.iter().map(|(layer, _)| layer.clone()).collect();
    state.created = Some(timestamp());
    store.put_step(&key, &CachedStep { layers, created: state.created.clone() })?;
    Ok(())
}

/// Packs an upper directory and keeps it as the layer on top of `parent`.
fn keep(
    store: &Store,
    options: &BuildOptions,
    progress: &dyn Progress,
    parent: Option<&Digest>,
    upper: &std::path::Path,
) -> Result<Option<ImageLayer>, BuildError> {
    let root = File::open(upper)
        .map_err(|source| BuildError::Scratch { path: upper.to_owned(), source })?;
    let mut packed = None;
    let (blob, size) = store.put_blob(|writer| {
        packed = Some(pack(root.as_fd(), writer)?);
        Ok::<(), BuildError>(())
    })?;
    let Some(packed) = packed.filter(|packed| packed.entries > 0) else { return Ok(None) };
    for warning in &packed.warnings {
        progress.event(Event::Warning(warning));
    }
    let chain_id = parent.map_or(packed.diff_id, |parent| parent.chain(&packed.diff_id));
    if let LayerClaim::Absent(build) = store.claim_layer(&chain_id, &|| {})? {
        build.adopt(upper)?;
        // The upper directory has the attributes of what it was copied up from.
        let report =
            UnpackReport { bytes: packed.bytes, names_root: true, ..UnpackReport::default() };
        build.commit(parent, &packed.diff_id, &report, &options.unpack)?;
    }
    Ok(Some(ImageLayer { blob, size, diff_id: packed.diff_id, chain_id }))
}
