//! Loading: an OCI layout or a docker-archive into the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::{ArchiveError, Loaded};
use crate::compose::{Dialect, compose_of};
use crate::config::ImageConfig;
use crate::digest::{Digest, clip};
use crate::document::{
    Descriptor, Document, DocumentError, MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST, MAX_NESTING,
    Manifest, json, media,
};
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::registry::{PullOptions, unpack_image};
use crate::store::{ImageRecord, Store};
use crate::unpack::decompress::{Compression, Decoder};
use crate::unpack::entry::{Kind, TarReader};

/// Longest name and target of a link, as Linux has it: all are kept in memory.
const MAX_NAME: usize = 4096;
/// Most files of an archive.
const MAX_FILES: usize = 100_000;

/// A file of an archive, in the store.
#[derive(Clone, Copy)]
struct Stored {
    digest: Digest,
    size: u64,
}

/// Loads from a stream: a tar, plain or compressed, of either format.
///
/// # Errors
/// [`ArchiveError`]; the store's images and names are then as they were.
pub fn load_stream(
    store: &Store,
    stream: impl BufRead,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    let loaded = {
        let _activity = store.activity()?;
        Files::read(store, stream).and_then(|files| load(store, &files, options, progress))
    };
    // What a failed load brought, and what no document named; the load's own failure
    // is what the caller has to see.
    let _ = store.collect();
    loaded
}

/// Loads from an OCI layout directory.
///
/// # Errors
/// As [`load_stream`].
pub fn load_directory(
    store: &Store,
    directory: &Path,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    let loaded = {
        let _activity = store.activity()?;
        read_layout(store, directory).and_then(|files| load(store, &files, options, progress))
    };
    let _ = store.collect();
    loaded
}

#[derive(Default)]
struct Files {
    stored: HashMap<String, Stored>,
    links: HashMap<String, String>,
}

impl Files {
    fn read(store: &Store, stream: impl BufRead) -> Result<Files, ArchiveError> {
        let decoder = BufReader::with_capacity(128 << 10, Decoder::new(stream)?);
        let mut reader = TarReader::new(decoder);
        let mut files = Files::default();
        while let Some(entry) = reader.next_entry()? {
            let name = resolve("", &String::from_utf8_lossy(&entry.path));
            if name.len().max(entry.link.len()) > MAX_NAME {
                return Err(ArchiveError::Invalid(format!(
                    "the name {:?} is longer than {MAX_NAME} bytes",
                    clip(&name)
                )));
            }
            if files.stored.len() + files.links.len() > MAX_FILES {
                return Err(ArchiveError::Invalid(format!("more than {MAX_FILES} files")));
            }
            match entry.kind {
                Kind::Regular => {
                    let stored = store_entry(store, &mut reader, entry.size)?;
                    check_name(&name, &stored)?;
                    files.stored.insert(name, stored);
                }
                // Old docker-archives name a layer twice by a link. A link is only ever
                // a name in the archive here.
                Kind::Symlink | Kind::Hardlink => {
                    let target = String::from_utf8_lossy(&entry.link);
                    let base = match (entry.kind, name.rsplit_once('/')) {
                        (Kind::Symlink, Some((directory, _))) => directory,
                        _ => "",
                    };
                    files.links.insert(name.clone(), resolve(base, &target));
                }
                _ => {}
            }
        }
        Ok(files)
    }

    fn find(&self, name: &str) -> Result<Stored, ArchiveError> {
        let plain = resolve("", name);
        let mut known = plain.as_str();
        for _ in 0..8 {
            if let Some(stored) = self.stored.get(known) {
                return Ok(*stored);
            }
            match self.links.get(known) {
                Some(target) => known = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(clip(name)))
    }

    /// The file of a blob. A link may stand under its name, and what that leads to must be
    /// the blob as well: an image of another's digest would take that one's place.
    fn find_blob(&self, digest: &Digest) -> Result<Stored, ArchiveError> {
        let stored = self.find(&blob_name(digest))?;
        match stored.digest == *digest {
            true => Ok(stored),
            false => Err(ArchiveError::DigestMismatch { expected: *digest, found: stored.digest }),
        }
    }
}

/// A path below the archive's root without `.` and `..`.
fn resolve(base: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn store_entry<R: BufRead>(
    store: &Store,
    reader: &mut TarReader<R>,
    size: u64,
) -> Result<Stored, ArchiveError> {
    let (digest, stored) = store.put_blob(|writer| {
        let mut left = size;
        while left > 0 {
            let taken = reader
                .with_data(left, |bytes| writer.write_all(bytes).map_err(ArchiveError::from))?;
            left = left.saturating_sub(taken.max(1));
        }
        Ok::<(), ArchiveError>(())
    })?;
    Ok(Stored { digest, size: stored })
}

/// `blobs/sha256/HEX` must hold what it says.
fn check_name(name: &str, stored: &Stored) -> Result<(), ArchiveError> {
    let Some(hex) = name.strip_prefix("blobs/sha256/") else { return Ok(()) };
    match Digest::from_hex(hex) {
        Ok(expected) if expected != stored.digest => {
            Err(ArchiveError::DigestMismatch { expected, found: stored.digest })
        }
        _ => Ok(()),
    }
}

/// A FIFO would be waited for, and a device read without end.
fn open_regular(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("not a regular file")),
    }
}

fn read_layout(store: &Store, directory: &Path) -> Result<Files, ArchiveError> {
    let mut files = Files::default();
    let mut take = |name: String| -> Result<(), ArchiveError> {
        let path = directory.join(&name);
        let failed = |operation| {
            let path = path.clone();
            move |source| ArchiveError::File { operation, path, source }
        };
        let mut file = open_regular(&path).map_err(failed("open"))?;
        let (digest, size) = store.put_blob(|writer| {
            std::io::copy(&mut file, writer).map_err(failed("read"))?;
            Ok::<(), ArchiveError>(())
        })?;
        let stored = Stored { digest, size };
        check_name(&name, &stored)?;
        files.stored.insert(name, stored);
        Ok(())
    };
    take("index.json".to_owned())?;
    let blobs = directory.join("blobs/sha256");
    let entries = std::fs::read_dir(&blobs).map_err(|source| ArchiveError::File {
        operation: "list",
        path: blobs.clone(),
        source,
    })?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Digest::from_hex(&name).is_ok() {
            take(format!("blobs/sha256/{name}"))?;
        }
    }
    Ok(files)
}

/// An image that the documents describe, with its names.
struct Found {
    image: ImageRecord,
    names: Vec<Reference>,
}

fn load(
    store: &Store,
    files: &Files,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    // Docker writes both into one archive; the layout keeps the manifests' digests.
    let found = if files.stored.contains_key("index.json") {
        oci_images(store, files, options, progress)?
    } else if files.stored.contains_key("manifest.json") {
        docker_images(store, files)?
    } else {
        return Err(ArchiveError::NoImage);
    };
    if found.is_empty() {
        return Err(ArchiveError::NoImage);
    }
    for found in &found {
        unpack_image(store, &found.image, options, progress).map_err(ArchiveError::Unpack)?;
    }
    let mut loaded = Vec::new();
    for Found { image, names } in found {
        let named: Vec<(Reference, Digest)> =
            names.iter().map(|name| (name.clone(), image.manifest)).collect();
        store.add_image(&image, &named)?;
        loaded.push(Loaded { image, names });
    }
    Ok(loaded)
}

fn document_error(what: impl Into<String>) -> impl FnOnce(DocumentError) -> ArchiveError {
    let what = what.into();
    move |source| ArchiveError::Document { what, source }
}

fn oci_images(
    store: &Store,
    files: &Files,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Vec<Found>, ArchiveError> {
    let index = files.find("index.json")?;
    let bytes = store.read_document(&index.digest, MAX_MANIFEST)?;
    let index = match Document::parse(&bytes, None).map_err(document_error("index.json"))? {
        Document::Index(index) => index,
        Document::Manifest(_) => {
            return Err(ArchiveError::Invalid("index.json is not an index".to_owned()));
        }
    };
    let mut found: Vec<Found> = Vec::new();
    let mut other = None;
    let known =
        |entry: &&Descriptor| entry.media_type.is_empty() || media::is_document(&entry.media_type);
    // What is of an unknown type is not ours to judge (image-spec "image-layout.md").
    for entry in index.manifests.iter().filter(known) {
        let (digest, manifest) = match image_of(store, files, entry, options, 0) {
            // Signatures and attestations lie beside the images they are about.
            Err(ArchiveError::Document {
                what,
                source: source @ DocumentError::Unsupported(_),
            }) => {
                other.get_or_insert(ArchiveError::Document { what, source });
                continue;
            }
            image => image?,
        };
        let config_bytes = store.read_document(&manifest.config.digest, MAX_CONFIG)?;
        let config = ImageConfig::parse(&config_bytes, manifest.layers.len())
            .map_err(document_error(manifest.config.digest.to_string()))?;
        let image = ImageRecord::new(digest, &manifest, &config);
        for layer in &manifest.layers {
            let stored = files.find_blob(&layer.digest)?;
            if stored.size != layer.size {
                return Err(ArchiveError::Invalid(format!(
                    "blob {} has {} bytes where the manifest says {}",
                    layer.digest, stored.size, layer.size
                )));
            }
        }
        let name = name_of(entry, progress);
        match found.iter_mut().find(|known| known.image.manifest == digest) {
            Some(known) => known.names.extend(name),
            None => found.push(Found { image, names: name.into_iter().collect() }),
        }
    }
    match other {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The manifest that an index's entry leads to, through further indexes by platform.
fn image_of(
    store: &Store,
    files: &Files,
    entry: &Descriptor,
    options: &PullOptions,
    depth: usize,
) -> Result<(Digest, Manifest), ArchiveError> {
    let name = blob_name(&entry.digest);
    files.find_blob(&entry.digest)?;
    let bytes = store.read_document(&entry.digest, MAX_MANIFEST)?;
    let kind = Some(entry.media_type.as_str());
    match Document::parse(&bytes, kind).map_err(document_error(&name))? {
        Document::Manifest(manifest) => Ok((entry.digest, manifest)),
        Document::Index(_) if depth >= MAX_NESTING => {
            Err(ArchiveError::Invalid("indexes lie too deep in each other".to_owned()))
        }
        Document::Index(index) => {
            let chosen = index.choose(&options.platform).map_err(document_error(&name))?;
            image_of(store, files, chosen, options, depth + 1)
        }
    }
}

/// containerd and Docker give the whole name, skopeo and podman often too in the other
/// annotation; umoci only a tag, which names nothing without a repository.
fn name_of(entry: &Descriptor, progress: &dyn Progress) -> Option<Reference> {
    let annotations = entry.annotations.as_ref()?;
    let whole = annotations.get("io.containerd.image.name");
    let short = annotations.get("org.opencontainers.image.ref.name");
    let text = whole.or_else(|| short.filter(|name| name.contains([':', '/'])));
    match text.map(|text| text.parse::<Reference>()) {
        Some(Ok(reference)) if reference.digest().is_none() => Some(reference.or_latest()),
        Some(Ok(_)) | None => None,
        Some(Err(error)) => {
            progress.event(Event::Warning(&format!("the archive's name is left out: {error}")));
            None
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

fn docker_images(store: &Store, files: &Files) -> Result<Vec<Found>, ArchiveError> {
    let manifest = files.find("manifest.json")?;
    let bytes = store.read_document(&manifest.digest, MAX_MANIFEST)?;
    let entries: Vec<DockerEntry> =
        json("manifest.json", &bytes, MAX_MANIFEST).map_err(document_error("docker-archive"))?;
    let mut found = Vec::new();
    for entry in entries {
        let config = files.find(&entry.config)?;
        let config_bytes = store.read_document(&config.digest, MAX_CONFIG)?;
        let names = entry.layers.unwrap_or_default();
        if names.len() > MAX_LAYERS {
            return Err(ArchiveError::Invalid(format!("{} layers", names.len())));
        }
        let mut layers = Vec::new();
        for name in &names {
            let stored = files.find(name)?;
            let kind = layer_type(store, &stored, name)?;
            layers.push(Descriptor::new(kind, stored.digest, stored.size));
        }
        let image = compose_of(store, config.digest, &config_bytes, layers, Dialect::Docker)?;
        let mut references = Vec::new();
        for tag in entry.repo_tags.unwrap_or_default() {
            let parsed = tag.parse::<Reference>();
            let reference = parsed.map_err(|e| ArchiveError::Invalid(e.to_string()))?;
            references.push(reference.or_latest());
        }
        found.push(Found { image, names: references });
    }
    Ok(found)
}

fn layer_type(store: &Store, stored: &Stored, name: &str) -> Result<&'static str, ArchiveError> {
    use std::io::Read;
    let mut start = Vec::new();
    store.open_blob(&stored.digest)?.take(8).read_to_end(&mut start)?;
    match Compression::detect(&start) {
        Ok(Compression::None) => Ok(media::DOCKER_LAYER),
        Ok(Compression::Gzip) => Ok(media::DOCKER_LAYER_GZIP),
        Ok(Compression::Zstd) => Ok(media::OCI_LAYER_ZSTD),
        Ok(Compression::Bzip2) => {
            Err(ArchiveError::Invalid(format!("{} is bzip2, which no layer is", clip(name))))
        }
        Ok(Compression::Xz) => {
            Err(ArchiveError::Invalid(format!("{} is xz, which no layer is", clip(name))))
        }
        Err(other) => Err(ArchiveError::Invalid(format!("{} is {other}", clip(name)))),
    }
}
