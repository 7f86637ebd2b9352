//! Pull: fetch, verify, decompress and unpack at once, layers side by side.
//!
//! Each layer is one worker's: it takes the layer's lock, then the blob's (always in
//! that order, so two processes cannot wait for each other), fetches into the partial
//! blob and hands the same buffers on to be unpacked. Only when the blob's digest and
//! the uncompressed stream's are both right is the layer put in its place, after the one
//! below it. A failure of one layer stops the others; what was fetched stays as partial
//! blobs, what was unpacked goes.

mod fetch;

use std::io::{BufReader, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::{Client, FetchedManifest, RegistryError};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::document::{Document, DocumentError, MAX_CONFIG, MAX_NESTING, media};
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::store::{
    BlobClaim, ImageLayer, ImageRecord, LayerBuild, LayerClaim, PartialBlob, Store, StoreError,
};
use crate::unpack::stream;
use crate::unpack::{UnpackError, UnpackOptions, UnpackReport, unpack};

/// Bytes that go through the pipeline at once.
const CHUNK: usize = 128 << 10;

/// How an image is pulled.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Which image of an index.
    pub platform: Platform,
    /// How layers are unpacked.
    pub unpack: UnpackOptions,
    /// Layers under way at once.
    pub parallel: usize,
    /// Wait until what was fetched is on disk before the image gets its name: one syncfs(2).
    /// Without it a power failure within about half a minute may leave files of a layer empty.
    pub sync: bool,
}

impl Default for PullOptions {
    fn default() -> PullOptions {
        PullOptions {
            platform: Platform::host(),
            unpack: UnpackOptions::of_this_process(),
            parallel: 3,
            sync: true,
        }
    }
}

/// What a pull gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image, unpacked, with the reference pointing at it.
    pub image: ImageRecord,
    /// The digest that the registry knows the reference by: the manifest's, or the
    /// index's that it was chosen from.
    pub target: Digest,
    /// The reference pointed at this very image before.
    pub up_to_date: bool,
}

/// Pulls an image, unpacks it and points the reference at it.
///
/// # Errors
/// [`RegistryError`]. The store is then as it was; but where a transfer broke off, what came
/// is kept for the next attempt: partial blobs, and whole ones of no image yet.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, RegistryError> {
    let activity = store.activity()?;
    let pulled = pull_image(store, client, reference, options, progress);
    drop(activity);
    pulled.map_err(|error| {
        if !error.is_broken_off() {
            // The next collection finds what this one could not remove.
            let _ = store.collect();
        }
        error.or_disk_full(store)
    })
}

fn pull_image(
    store: &Store,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, RegistryError> {
    let reference = reference.clone().or_latest();
    let named = |source| RegistryError::Document { what: reference.familiar(), source };
    let first = client.manifest(&reference)?;
    let target = first.digest;
    let (fetched, manifest) = choose(client, &reference, first, options)?;
    let config = fetch_config(store, client, &reference, &manifest.config)?;
    let config = ImageConfig::parse(&config, manifest.layers.len()).map_err(named)?;
    if options.platform.rank(&config.platform()).is_none() {
        let text = format!(
            "{} is for {}, not {}",
            reference.familiar(),
            config.platform(),
            options.platform
        );
        progress.event(Event::Warning(&text));
    }
    store.put_document(&fetched.bytes)?;
    let image = ImageRecord::new(fetched.digest, &manifest, &config);
    fetch_layers(store, Some((client, &reference)), &image, options, progress)?;
    let before = match store.find_reference(&reference) {
        // It is written anew.
        Err(StoreError::Record { .. }) => None,
        before => before?,
    };
    let up_to_date = before.is_some_and(|before| before.manifest == image.manifest);
    // Also what another pull that did not come this far has put in its place.
    if options.sync && !up_to_date {
        store.sync()?;
    }
    store.add_image(&image, &[(reference, target)])?;
    Ok(Pulled { image, target, up_to_date })
}

/// Unpacks the layers of an image whose blobs are all in the store (`load`, `build`).
/// The caller holds an [`crate::store::Activity`].
///
/// # Errors
/// [`RegistryError`], chiefly of unpacking; the layers are then as they were.
pub fn unpack_image(
    store: &Store,
    image: &ImageRecord,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    fetch_layers(store, None, image, options, progress).map_err(|error| error.or_disk_full(store))
}

/// The manifest of the image for the platform, through however many indexes.
fn choose(
    client: &Client,
    reference: &Reference,
    mut fetched: FetchedManifest,
    options: &PullOptions,
) -> Result<(FetchedManifest, crate::document::Manifest), RegistryError> {
    let named = |source| RegistryError::Document { what: reference.familiar(), source };
    let mut kind = fetched.content_type.clone();
    for _ in 0..=MAX_NESTING {
        let index = match Document::parse(&fetched.bytes, kind.as_deref()).map_err(named)? {
            Document::Manifest(manifest) => return Ok((fetched, manifest)),
            Document::Index(index) => index,
        };
        let chosen = index.choose(&options.platform).map_err(named)?;
        fetched = client.manifest(&reference.at(chosen.digest))?;
        if fetched.bytes.len() as u64 != chosen.size {
            let (found, expected) = (fetched.bytes.len() as u64, chosen.size);
            return Err(StoreError::Size { digest: chosen.digest, expected, found }.into());
        }
        // The index's word for it, where the registry's Content-Type says nothing of use.
        let told = fetched.content_type.clone().filter(|kind| media::is_document(kind));
        kind = told.or_else(|| Some(chosen.media_type.clone()));
    }
    Err(named(DocumentError::Unsupported("indexes lie too deep in each other".to_owned())))
}

fn fetch_config(
    store: &Store,
    client: &Client,
    reference: &Reference,
    descriptor: &crate::document::Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    if let Ok(bytes) = store.read_document(&descriptor.digest, MAX_CONFIG) {
        return Ok(bytes);
    }
    let bytes = client.small_blob(reference, &descriptor.digest, descriptor.size)?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        return Err(RegistryError::DigestMismatch {
            host: client.registry().to_owned(),
            what: "the image config",
            expected: descriptor.digest,
            found,
        });
    }
    store.put_document(&bytes)?;
    Ok(bytes)
}

/// What the workers of one pull share.
struct Job<'a> {
    store: &'a Store,
    source: Option<(&'a Client, &'a Reference)>,
    image: &'a ImageRecord,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    next: AtomicUsize,
    stopped: AtomicBool,
    /// How many layers, from the lowest on, are in their place.
    placed: Mutex<usize>,
    placed_more: Condvar,
    failure: Mutex<Option<RegistryError>>,
}

fn fetch_layers(
    store: &Store,
    source: Option<(&Client, &Reference)>,
    image: &ImageRecord,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let listed: Vec<(Digest, u64)> =
        image.layers.iter().map(|layer| (layer.blob, layer.size)).collect();
    progress.event(Event::Layers(&listed));
    let job = Job {
        store,
        source,
        image,
        options,
        progress,
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        placed: Mutex::new(0),
        placed_more: Condvar::new(),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.parallel.clamp(1, 16).min(image.layers.len()) {
            let builder = std::thread::Builder::new().name("layer".to_owned());
            if let Err(error) = builder.spawn_scoped(scope, || job.work()) {
                job.fail(RegistryError::Thread(error));
            }
        }
    });
    let failure = job.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failure.as_ref().is_some_and(|error| !error.is_broken_off()) {
        // Beginnings of blobs are kept for another attempt only where that one may get on:
        // they would keep a full disk full.
        for layer in &image.layers {
            let _ = store.remove_partial(&layer.blob);
        }
    }
    failure.map_or(Ok(()), Err)
}

impl Job<'_> {
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = self.image.layers.get(index) else { return };
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.layer(index, layer) {
                return self.fail(error);
            }
        }
    }

    fn fail(&self, error: RegistryError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Relaxed);
        // The first one is the reason; the others stop because of it.
        failure.get_or_insert(error);
        drop(failure);
        let _placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        self.placed_more.notify_all();
    }

    fn layer(&self, index: usize, layer: &ImageLayer) -> Result<(), RegistryError> {
        let waiting = || self.progress.event(Event::Waiting(layer.blob));
        let build = match self.store.claim_layer(&layer.chain_id, &waiting)? {
            LayerClaim::Absent(build) => Some(build),
            LayerClaim::Present(_) => None,
        };
        if build.is_none() && self.store.has_blob(&layer.blob) {
            self.progress.event(Event::Present(layer.blob));
            return self.placed(index);
        }
        let report = self.make(layer, build.as_ref())?;
        self.wait_for(index)?;
        if let (Some(build), Some(report)) = (build, report) {
            let parent = index.checked_sub(1).and_then(|below| self.image.layers.get(below));
            let parent = parent.map(|below| &below.chain_id);
            let options = &self.options.unpack;
            let (_, warnings) = build.commit(parent, &layer.diff_id, &report, options)?;
            let more = report.warning_count.saturating_sub(report.warnings.len() as u64);
            for warning in report.warnings.iter().chain(&warnings) {
                self.progress.event(Event::Warning(warning));
            }
            if more > 0 {
                self.progress.event(Event::Warning(&format!("and {more} warnings more")));
            }
        }
        self.placed(index)?;
        self.progress.event(Event::Done(layer.blob));
        Ok(())
    }

    /// Waits until all layers below `index` are in their place.
    fn wait_for(&self, index: usize) -> Result<(), RegistryError> {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        while *placed < index {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(RegistryError::Stopped);
            }
            placed = self.placed_more.wait(placed).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn placed(&self, index: usize) -> Result<(), RegistryError> {
        self.wait_for(index)?;
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        *placed = index + 1;
        self.placed_more.notify_all();
        Ok(())
    }

    /// Makes sure of the blob and, where there is a build, unpacks it.
    fn make(
        &self,
        layer: &ImageLayer,
        build: Option<&LayerBuild>,
    ) -> Result<Option<UnpackReport>, RegistryError> {
        let waiting = || self.progress.event(Event::Waiting(layer.blob));
        let claim = self.store.claim_blob(&layer.blob, layer.size, &waiting)?;
        let partial = match (claim, build) {
            (BlobClaim::Present(file), Some(build)) => {
                let reader = BufReader::with_capacity(CHUNK, file);
                return self.unpack(layer, build, reader).map(Some);
            }
            (BlobClaim::Present(_), None) => return Ok(None),
            (BlobClaim::Absent(partial), _) => partial,
        };
        let kept = partial.kept()?;
        let made = match build {
            Some(build) => self.fetch_and_unpack(layer, partial, build).map(Some),
            None => self.fetch_only(partial).map(|()| None),
        };
        match made {
            // What an earlier attempt left may be what is wrong; it is gone now.
            Err(error) if kept > 0 && is_contents_fault(&error) => {
                self.progress.event(Event::Retry(layer.blob, &error.to_string()));
                build.map_or(Ok(()), LayerBuild::reset)?;
                self.make(layer, build)
            }
            made => made,
        }
    }

    fn fetch_only(&self, mut partial: Box<PartialBlob>) -> Result<(), RegistryError> {
        self.fetch(&mut partial, None)?;
        Ok(partial.finish()?)
    }

    fn unpack(
        &self,
        layer: &ImageLayer,
        build: &LayerBuild,
        blob: impl std::io::BufRead + Send,
    ) -> Result<UnpackReport, RegistryError> {
        let tell = |bytes| self.progress.event(Event::Unpacked(layer.blob, bytes));
        let directory = build.directory()?;
        unpack(blob, directory, Some(&layer.diff_id), &self.options.unpack, &tell)
            .map_err(|source| RegistryError::Unpack { digest: layer.blob, source })
    }

    fn fetch_and_unpack(
        &self,
        layer: &ImageLayer,
        mut partial: Box<PartialBlob>,
        build: &LayerBuild,
    ) -> Result<UnpackReport, RegistryError> {
        let (mut writer, reader) = stream::channel();
        std::thread::scope(|scope| {
            let unpacking = std::thread::Builder::new()
                .name("unpack".to_owned())
                .spawn_scoped(scope, || self.unpack(layer, build, reader))
                .map_err(RegistryError::Thread)?;
            // Verified before the unpacking side may see the end: a stream that is
            // not the blob's must not look complete.
            let (verified, left) = match self.fetch(&mut partial, Some(&mut writer)) {
                Ok(()) => (partial.finish().map_err(RegistryError::from), None),
                Err(error) => (Err(error), Some(partial)),
            };
            match &verified {
                Ok(()) => writer.finish(),
                Err(_) => drop(writer),
            }
            let unpacked = unpacking.join().unwrap_or(Err(RegistryError::Stopped));
            match (verified, unpacked) {
                // Unpacking stopped and the fetch noticed: the cause is the former.
                (Err(RegistryError::Stopped), Err(cause)) => {
                    if let (Some(mut partial), true) = (left, is_contents_fault(&cause)) {
                        partial.restart()?;
                    }
                    Err(cause)
                }
                (Err(cause), _) => Err(cause),
                (Ok(()), unpacked) => unpacked,
            }
        })
    }
}

/// Whether the bytes of a layer are at fault, not the network or the disk.
fn is_contents_fault(error: &RegistryError) -> bool {
    match error {
        RegistryError::Store(StoreError::DigestMismatch { .. }) => true,
        RegistryError::Unpack { source, .. } => matches!(
            source,
            UnpackError::Tar(_)
                | UnpackError::Read(_)
                | UnpackError::Refused { .. }
                | UnpackError::DiffId { .. }
                | UnpackError::TooLarge(_)
        ),
        _ => false,
    }
}

impl RegistryError {
    /// Whether the transfer is at fault: what has come is right and of use to another attempt.
    fn is_broken_off(&self) -> bool {
        matches!(
            self,
            RegistryError::Connect { .. }
                | RegistryError::Timeout { .. }
                | RegistryError::Tls { .. }
                | RegistryError::Status { .. }
                | RegistryError::Denied { .. }
                | RegistryError::Broken { .. }
        )
    }

    fn is_disk_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let kind = error.downcast_ref().map(std::io::Error::kind);
            if matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
                return true;
            }
            next = error.source();
        }
        false
    }

    fn or_disk_full(self, store: &Store) -> RegistryError {
        match self.is_disk_full() {
            true => {
                RegistryError::DiskFull { root: store.root().to_owned(), source: Box::new(self) }
            }
            false => self,
        }
    }
}
