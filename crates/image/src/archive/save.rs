//! Saving: images out of the store, byte for byte.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::Serialize;

use super::ArchiveError;
use crate::digest::{Digest, Hasher};
use crate::document::{Descriptor, Index, media};
use crate::reference::Reference;
use crate::store::{ImageRecord, Store};

/// What an archive is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI layout that is also a docker-archive (manifest.json beside index.json), as
    /// Docker writes it since version 25. Docker, podman, skopeo and containerd read it.
    Docker,
    /// An OCI layout alone.
    Oci,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// The documents of an archive and the blobs it holds, each once, in order.
struct Plan {
    index: Vec<u8>,
    docker: Vec<u8>,
    blobs: Vec<Digest>,
}

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn plan(store: &Store, images: &[(ImageRecord, Vec<Reference>)]) -> Result<Plan, ArchiveError> {
    let mut manifests = Vec::new();
    let mut entries = Vec::new();
    let mut blobs = Vec::new();
    for (image, names) in images {
        // A digest is no name that an archive could give, and readers refuse one.
        let names: Vec<&Reference> = names.iter().filter(|name| name.digest().is_none()).collect();
        let size = store.blob_size(&image.manifest)?;
        let plain = Descriptor {
            platform: Some(image.platform.clone()),
            ..Descriptor::new(&image.media_type, image.manifest, size)
        };
        for name in &names {
            let annotations = BTreeMap::from([
                ("io.containerd.image.name".to_owned(), name.to_string()),
                (
                    "org.opencontainers.image.ref.name".to_owned(),
                    name.tag().unwrap_or_default().to_owned(),
                ),
            ]);
            manifests.push(Descriptor { annotations: Some(annotations), ..plain.clone() });
        }
        if names.is_empty() {
            manifests.push(plain);
        }
        entries.push(DockerEntry {
            config: blob_path(&image.id),
            repo_tags: names.iter().map(|name| name.familiar()).collect(),
            layers: image.layers.iter().map(|layer| blob_path(&layer.blob)).collect(),
        });
        blobs.extend([image.manifest, image.id]);
        blobs.extend(image.layers.iter().map(|layer| layer.blob));
    }
    let mut seen = std::collections::HashSet::new();
    blobs.retain(|digest| seen.insert(*digest));
    let index = Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests };
    let json = |error: serde_json::Error| ArchiveError::Invalid(error.to_string());
    let index = serde_json::to_vec(&index).map_err(json)?;
    let docker = serde_json::to_vec(&entries).map_err(json)?;
    Ok(Plan { index, docker, blobs })
}

/// Writes images with their names as a tar. Times are zero, so that the same images
/// give the same archive.
///
/// # Errors
/// [`ArchiveError`].
pub fn save_stream(
    store: &Store,
    images: &[(ImageRecord, Vec<Reference>)],
    format: Format,
    stream: impl Write,
) -> Result<(), ArchiveError> {
    let _activity = store.activity()?;
    let plan = plan(store, images)?;
    let mut tar = tar::Builder::new(stream);
    for directory in ["blobs/", "blobs/sha256/"] {
        append(&mut tar, directory, tar::EntryType::Directory, 0, std::io::empty())?;
    }
    for digest in &plan.blobs {
        let size = store.blob_size(digest)?;
        let mut blob = Hashed { file: store.open_blob(digest)?, hasher: Hasher::new() };
        append(&mut tar, &blob_path(digest), tar::EntryType::Regular, size, &mut blob)?;
        // Before the documents that would make an image of what is written.
        let found = blob.hasher.finish();
        if found != *digest {
            return Err(ArchiveError::DamagedBlob { expected: *digest, found });
        }
    }
    let mut document = |name: &str, bytes: &[u8]| {
        append(&mut tar, name, tar::EntryType::Regular, bytes.len() as u64, bytes)
    };
    document("oci-layout", LAYOUT)?;
    document("index.json", &plan.index)?;
    if format == Format::Docker {
        document("manifest.json", &plan.docker)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

/// A file, hashed as it is read.
struct Hashed {
    file: std::fs::File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    kind: tar::EntryType,
    size: u64,
    data: impl Read,
) -> Result<(), ArchiveError> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_mtime(0);
    header.set_path(name)?;
    header.set_cksum();
    let mut data = data.take(size);
    tar.append(&header, &mut data)?;
    match data.limit() {
        0 => Ok(()),
        left => Err(ArchiveError::Invalid(format!("{name} is {left} bytes shorter than it was"))),
    }
}
