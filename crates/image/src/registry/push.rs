//! Push: what the registry lacks, then the manifest, byte for byte as it is.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{RETRIES, is_passing};
use super::{Client, RegistryError};
use crate::digest::Digest;
use crate::document::MAX_MANIFEST;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::store::{ImageRecord, Store};

/// How an image is pushed.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Blobs under way at once.
    pub parallel: usize,
}

impl Default for PushOptions {
    fn default() -> PushOptions {
        PushOptions { parallel: 3 }
    }
}

/// Pushes an image under `reference`. Gives the manifest's digest.
///
/// # Errors
/// [`RegistryError`]; blobs that arrived stay at the registry.
pub fn push(
    store: &Store,
    client: &Client,
    image: &ImageRecord,
    reference: &Reference,
    options: &PushOptions,
    progress: &dyn Progress,
) -> Result<Digest, RegistryError> {
    let _activity = store.activity()?;
    let reference = reference.clone().or_latest();
    let manifest = store.read_document(&image.manifest, MAX_MANIFEST)?;
    let mut blobs: Vec<(Digest, u64)> =
        image.layers.iter().map(|layer| (layer.blob, layer.size)).collect();
    blobs.push((image.id, store.blob_size(&image.id)?));
    let mut seen = std::collections::HashSet::new();
    blobs.retain(|(digest, _)| seen.insert(*digest));
    progress.event(Event::Layers(&blobs));
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<RegistryError>> = Mutex::new(None);
    let failed = || failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((digest, size)) = blobs.get(index) else { return };
            if failed().is_some() {
                return;
            }
            if let Err(error) = push_blob(store, client, &reference, digest, *size, progress) {
                failed().get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.parallel.clamp(1, 16).min(blobs.len()) {
            let builder = std::thread::Builder::new().name("push".to_owned());
            if let Err(error) = builder.spawn_scoped(scope, work) {
                failed().get_or_insert(RegistryError::Thread(error));
            }
        }
    });
    if let Some(error) = failed().take() {
        return Err(error);
    }
    client.put_manifest(&reference, &image.media_type, &manifest)
}

fn push_blob(
    store: &Store,
    client: &Client,
    reference: &Reference,
    digest: &Digest,
    size: u64,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    if client.has_blob(reference, digest)? {
        progress.event(Event::Present(*digest));
        return Ok(());
    }
    let send = || {
        let location = client.begin_upload(reference)?;
        client.upload(reference, &location, digest, || {
            let file = store.open_blob(digest)?.take(size);
            Ok((Box::new(Counted { file, sent: 0, digest: *digest, progress }), size))
        })
    };
    let mut attempt = 0;
    loop {
        match send() {
            // An upload that broke off is begun anew: its URL may be used up.
            Err(error) if attempt < RETRIES && is_passing(&error) => {
                progress.event(Event::Retry(*digest, &error.to_string()));
                std::thread::sleep(Duration::from_millis(500 << attempt));
                attempt += 1;
            }
            sent => {
                sent?;
                progress.event(Event::Done(*digest));
                return Ok(());
            }
        }
    }
}

struct Counted<'a> {
    file: io::Take<std::fs::File>,
    sent: u64,
    digest: Digest,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.sent += read as u64;
        self.progress.event(Event::Transferred(self.digest, self.sent));
        Ok(read)
    }
}
