//! Importing: a tar of a root file system becomes an image of one layer.

use std::io::{BufRead, Write};

use super::ArchiveError;
use crate::compose::{Dialect, compose, timestamp};
use crate::config::{History, ImageConfig, RootFs, RunConfig};
use crate::digest::{Digest, Hasher};
use crate::document::{Descriptor, media};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{PullOptions, unpack_image};
use crate::store::{ImageRecord, Store};
use crate::unpack::decompress::{Compression, Decoder};

/// What an imported image is like.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// What a container of it runs (`--change`).
    pub config: RunConfig,
    /// A remark for its history (`--message`).
    pub message: Option<String>,
    /// Its name.
    pub reference: Option<Reference>,
}

/// Imports a root file system, plain or compressed.
///
/// # Errors
/// [`ArchiveError`]; the store's images and names are then as they were.
pub fn import(
    store: &Store,
    stream: impl BufRead,
    import: ImportOptions,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<ImageRecord, ArchiveError> {
    let imported = {
        let _activity = store.activity()?;
        import_layer(store, stream, import, options, progress)
    };
    if imported.is_err() {
        // The import's own failure is what the caller has to see.
        let _ = store.collect();
    }
    imported
}

fn import_layer(
    store: &Store,
    mut stream: impl BufRead,
    import: ImportOptions,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<ImageRecord, ArchiveError> {
    let (blob, size) = store.put_blob(|writer| copy(&mut stream, writer))?;
    let (diff_id, compression) = uncompressed(store, &blob)?;
    let media_type = match compression {
        Compression::None => media::OCI_LAYER,
        Compression::Gzip => media::OCI_LAYER_GZIP,
        Compression::Zstd => media::OCI_LAYER_ZSTD,
    };
    let created = timestamp();
    let config = ImageConfig {
        created: Some(created.clone()),
        architecture: options.platform.architecture.clone(),
        os: options.platform.os.clone(),
        variant: options.platform.variant.clone(),
        config: Some(import.config),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
        history: Some(vec![History {
            created: Some(created),
            comment: Some(import.message.unwrap_or_else(|| "Imported from a tar".to_owned())),
            ..History::default()
        }]),
        author: None,
        cache: None,
    };
    let layers = vec![Descriptor::new(media_type, blob, size)];
    let image = compose(store, &config, layers, Dialect::Oci)?;
    unpack_image(store, &image, options, progress).map_err(ArchiveError::Unpack)?;
    let named = import.reference.map(|reference| (reference, image.manifest));
    store.add_image(&image, named.as_slice())?;
    Ok(image)
}

fn copy(stream: &mut impl BufRead, writer: &mut dyn Write) -> Result<(), ArchiveError> {
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        writer.write_all(bytes)?;
        let length = bytes.len();
        stream.consume(length);
    }
}

fn uncompressed(store: &Store, blob: &Digest) -> Result<(Digest, Compression), ArchiveError> {
    let file = std::io::BufReader::with_capacity(128 << 10, store.open_blob(blob)?);
    let mut decoder = Decoder::new(file)?;
    let compression = decoder.compression();
    if compression == Compression::None {
        return Ok((*blob, compression));
    }
    let mut sink = Sink(Hasher::new());
    std::io::copy(&mut decoder, &mut sink)?;
    Ok((sink.0.finish(), compression))
}

struct Sink(Hasher);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
