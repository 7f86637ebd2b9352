//! A step that makes files: run it on a mount, keep what it changed as a layer.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};

use super::BuildError;
use super::options::BuildOptions;
use super::state::StageState;
use crate::digest::Digest;
use crate::document::media;
use crate::overlay::OverlayPlan;
use crate::pack::{TreeHash, pack};
use crate::progress::{Event, Progress};
use crate::store::{CachedStep, ImageLayer, LayerClaim, Store};
use crate::tree::walk::{Entry, Visitor, Walk};
use crate::tree::{TreeError, at};
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
    let mut key = key;
    if let Some(epoch) = options.epoch {
        key.field(format!("SOURCE_DATE_EPOCH {epoch}").as_bytes());
    }
    let key = key.finish();
    if !options.no_cache
        && let Some(cached) = store.step(&key)?
        && cached.layers.len() <= state.layers.len() + 1
    {
        progress.event(Event::CachedStep);
        state.created = cached.created.or_else(|| Some(options.timestamp()));
        if let Some(layer) = cached.layers.get(state.layers.len()) {
            state.layers.push((layer.clone(), media::OCI_LAYER_GZIP.to_owned()));
        }
        state.remember(key);
        return Ok(());
    }
    let begun = Instant::now();
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
    state.created = Some(options.timestamp());
    store.put_step(&key, &CachedStep { layers, created: state.created.clone() })?;
    state.remember(key);
    progress.event(Event::StepDone(begun.elapsed()));
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
    if let Some(epoch) = options.epoch {
        clamp(root.as_fd(), epoch)?;
    }
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

/// Sets times after SOURCE_DATE_EPOCH to it, so that the layer does not tell when it was made.
fn clamp(root: BorrowedFd<'_>, epoch: u64) -> Result<(), TreeError> {
    struct Clamp(i64);
    impl Clamp {
        fn set(&self, entry: &Entry<'_>) -> Result<(), TreeError> {
            if (entry.stat.st_mtime, entry.stat.st_mtime_nsec) <= (self.0, 0) {
                return Ok(());
            }
            let time = Timespec { tv_sec: self.0, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(entry.inode, "", &times, AtFlags::EMPTY_PATH)
                .map_err(at("set the times of", entry.path))
        }
    }
    impl Visitor for Clamp {
        fn visit(&mut self, entry: &Entry<'_>) -> Result<(), TreeError> {
            self.set(entry)
        }
        fn leave(&mut self, _: &Entry<'_>) -> Result<(), TreeError> {
            Ok(())
        }
    }
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    Walk::LAYER.walk(root, "", &mut Clamp(epoch))
}
