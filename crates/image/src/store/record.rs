//! Images and their names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{FileLock, Store, StoreError, remove_tree};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::document::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLayer {
    /// The blob as the manifest has it.
    pub blob: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The digest of this layer on top of those below it.
    pub chain_id: Digest,
}

/// What listing and running an image needs, so that neither parses documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The image id: the digest of the config.
    pub id: Digest,
    /// The manifest.
    pub manifest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// What it runs on.
    pub platform: Platform,
    /// RFC 3339, as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Layers, lowest first.
    pub layers: Vec<ImageLayer>,
}

impl ImageRecord {
    /// Makes the record of a manifest and its config.
    #[must_use]
    pub fn new(manifest_digest: Digest, manifest: &Manifest, config: &ImageConfig) -> ImageRecord {
        let ids = config.rootfs.diff_ids.iter().zip(config.chain_ids());
        let layers = manifest.layers.iter().zip(ids);
        let layer = |(blob, (diff_id, chain_id)): (&Descriptor, (&Digest, Digest))| ImageLayer {
            blob: blob.digest,
            size: blob.size,
            diff_id: *diff_id,
            chain_id,
        };
        ImageRecord {
            id: manifest.config.digest,
            manifest: manifest_digest,
            media_type: manifest.media_type.clone(),
            platform: config.platform(),
            created: config.created.clone(),
            layers: layers.map(layer).collect(),
        }
    }

    /// The chain ids of the layers, lowest first.
    #[must_use]
    pub fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.chain_id).collect()
    }
}

/// An image with the names that point to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is.
    pub record: ImageRecord,
    /// Its references and, for each, the digest that the registry knew it by: the
    /// manifest's, or that of the index it was chosen from. Empty: a dangling image.
    pub names: Vec<(Reference, Digest)>,
}

/// What removing an image did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name went.
    Untagged(Reference),
    /// The image went.
    Deleted(Digest),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NameRecord {
    pub(super) reference: String,
    pub(super) manifest: Digest,
    target: Digest,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Pin {
    image: Digest,
}

/// The file name of a reference: readable, and a digest where it would be too long.
fn file_name(reference: &Reference) -> String {
    let text = reference.to_string();
    let escaped = text.replace('%', "%25").replace('/', "%2F");
    if escaped.len() <= 200 { escaped } else { Digest::of(text.as_bytes()).hex() }
}

impl Store {
    pub(super) fn image_path(&self, manifest: &Digest) -> PathBuf {
        self.root.join("images").join(format!("{}.json", manifest.hex()))
    }

    pub(super) fn name_path(&self, reference: &Reference) -> PathBuf {
        self.root.join("names").join(file_name(reference))
    }

    fn pin_path(&self, id: &str) -> PathBuf {
        self.root.join("pins").join(id)
    }

    /// Writes a record, also in place of a damaged one that is a directory.
    fn write_durably<T: Serialize>(path: &std::path::Path, value: &T) -> Result<(), StoreError> {
        if path.is_dir() {
            husk_record::remove(path)?;
        }
        Ok(husk_record::write_json_durably(path, value)?)
    }

    /// Makes the record of an image anew from its manifest and config, which their digests
    /// vouch for.
    ///
    /// # Errors
    /// A blob that is missing or damaged.
    pub fn derive_image(&self, manifest: &Digest) -> Result<ImageRecord, StoreError> {
        let bytes = self.read_document(manifest, MAX_MANIFEST)?;
        let document = Document::parse_manifest(&bytes, None)?;
        let bytes = self.read_document(&document.config.digest, MAX_CONFIG)?;
        let config = ImageConfig::parse(&bytes, document.layers.len())?;
        Ok(ImageRecord::new(*manifest, &document, &config))
    }

    /// Writes the record of an image whose blobs are in the store.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn mend_image(&self, record: &ImageRecord) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        Store::write_durably(&self.image_path(&record.manifest), record)
    }

    /// The record of an image; one that is damaged is derived from the image's blobs.
    fn image_record(&self, manifest: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        match husk_record::read::<ImageRecord>(&self.image_path(manifest)) {
            Ok(record) => Ok(record.filter(|record| record.manifest == *manifest)),
            Err(error @ husk_record::Error::Damaged { .. }) => {
                // What is wrong with the blobs is told by the check.
                self.derive_image(manifest).map(Some).map_err(|_| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records of images and names that are damaged: an image's cannot be derived either.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn damaged(&self) -> Result<Vec<StoreError>, StoreError> {
        let mut damaged = Vec::new();
        for manifest in self.manifests()? {
            damaged.extend(self.image_record(&manifest).err());
        }
        for file in self.names_in("names")? {
            let read = husk_record::read::<NameRecord>(&self.root.join("names").join(file));
            damaged.extend(read.err().map(StoreError::from));
        }
        Ok(damaged)
    }

    /// The manifests of which there are records.
    pub(super) fn manifests(&self) -> Result<Vec<Digest>, StoreError> {
        let files = self.names_in("images")?;
        let digest = |file: &String| Digest::from_hex(file.strip_suffix(".json")?).ok();
        Ok(files.iter().filter_map(digest).collect())
    }

    /// Adds an image whose blobs are in the store and points names at it, each with the
    /// digest that the registry knows it by; names that pointed to it stay.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] where a blob is missing.
    pub fn add_image(
        &self,
        record: &ImageRecord,
        names: &[(Reference, Digest)],
    ) -> Result<(), StoreError> {
        let blobs = record.layers.iter().map(|layer| &layer.blob);
        for blob in blobs.chain([&record.id, &record.manifest]) {
            if !self.has_blob(blob) {
                return Err(StoreError::NoBlob(*blob));
            }
        }
        // One step to others: who removes the image finds it with its names or not at all.
        let _lock = self.lock_names()?;
        let path = self.image_path(&record.manifest);
        Store::write_durably(&path, record)?;
        names.iter().try_for_each(|(name, target)| self.write_name(name, &record.manifest, target))
    }

    /// Reads an image's manifest and config from the store.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`], [`StoreError::Document`].
    pub fn documents(&self, record: &ImageRecord) -> Result<(Manifest, ImageConfig), StoreError> {
        let bytes = self.read_document(&record.manifest, MAX_MANIFEST)?;
        let manifest = Document::parse_manifest(&bytes, None)?;
        let config = self.config(record)?;
        Ok((manifest, config))
    }

    /// Reads an image's config from the store.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`], [`StoreError::Document`].
    pub fn config(&self, record: &ImageRecord) -> Result<ImageConfig, StoreError> {
        let bytes = self.read_document(&record.id, MAX_CONFIG)?;
        Ok(ImageConfig::parse(&bytes, record.layers.len())?)
    }

    /// Points a name at an image. `target` is the digest that the registry knows it by.
    ///
    /// # Errors
    /// [`StoreError::NoImage`] where the image is not in the store.
    pub fn tag(
        &self,
        reference: &Reference,
        manifest: &Digest,
        target: &Digest,
    ) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        if !self.image_path(manifest).is_file() {
            return Err(StoreError::NoImage(manifest.to_string()));
        }
        self.write_name(reference, manifest, target)
    }

    /// The caller has [`Store::lock_names`].
    fn write_name(
        &self,
        reference: &Reference,
        manifest: &Digest,
        target: &Digest,
    ) -> Result<(), StoreError> {
        let reference = reference.clone().or_latest();
        let record =
            NameRecord { reference: reference.to_string(), manifest: *manifest, target: *target };
        let path = self.name_path(&reference);
        Store::write_durably(&path, &record)
    }

    pub(super) fn lock_names(&self) -> Result<FileLock, StoreError> {
        let path = self.lock_path("names");
        Ok(FileLock::exclusive(&path)?)
    }

    /// All images, those with names first, in the order of the names.
    ///
    /// # Errors
    /// A directory that cannot be read. Damaged records are passed over, see
    /// [`Store::damaged`].
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        let mut names: BTreeMap<Digest, Vec<(Reference, Digest)>> = BTreeMap::new();
        for name in self.name_records()? {
            let reference = name.reference.parse()?;
            names.entry(name.manifest).or_default().push((reference, name.target));
        }
        let mut images = Vec::new();
        for manifest in self.manifests()? {
            let Ok(Some(record)) = self.image_record(&manifest) else { continue };
            let names = names.remove(&record.manifest).unwrap_or_default();
            images.push(Image { record, names });
        }
        images.sort_by(|a, b| {
            let key = |image: &Image| image.names.first().map(|(name, _)| name.to_string());
            (key(a).is_none(), key(a)).cmp(&(key(b).is_none(), key(b)))
        });
        Ok(images)
    }

    fn name_records(&self) -> Result<Vec<NameRecord>, StoreError> {
        let mut records = Vec::new();
        for file in self.names_in("names")? {
            match husk_record::read(&self.root.join("names").join(file)) {
                Ok(record) => records.extend(record),
                Err(husk_record::Error::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
    }

    /// Finds an image by its manifest's digest.
    ///
    /// # Errors
    /// [`StoreError::NoImage`].
    pub fn image(&self, manifest: &Digest) -> Result<ImageRecord, StoreError> {
        let record = self.image_record(manifest)?;
        record.ok_or_else(|| StoreError::NoImage(manifest.to_string()))
    }

    /// Finds an image as a person names it: a reference (`latest` where it has neither
    /// tag nor digest), an image id, a manifest digest, or the beginning of one of both.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::Ambiguous`], and a malformed reference.
    pub fn find(&self, name: &str) -> Result<ImageRecord, StoreError> {
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        if let Ok(reference) = &reference
            && let Some(record) = self.find_reference(reference)?
        {
            return Ok(record);
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        // One letter is a name that is missing rather than an id.
        let is_id = (2..=64).contains(&hex.len())
            && hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        if !is_id {
            reference?;
            return Err(StoreError::NoImage(name.to_owned()));
        }
        let begins = |record: &ImageRecord| {
            record.id.hex().starts_with(hex) || record.manifest.hex().starts_with(hex)
        };
        let mut damaged = self.manifests()?.into_iter().filter(|id| id.hex().starts_with(hex));
        if let Some(Err(error)) =
            damaged.find_map(|id| Some(self.image_record(&id)).filter(Result::is_err))
        {
            return Err(error);
        }
        let images = self.images()?;
        let mut found: Vec<&Image> = images.iter().filter(|image| begins(&image.record)).collect();
        found.dedup_by_key(|image| image.record.id);
        match found.as_slice() {
            [] => Err(StoreError::NoImage(name.to_owned())),
            [image] => Ok(image.record.clone()),
            several => {
                let ids: Vec<String> =
                    several.iter().take(5).map(|image| image.record.id.short()).collect();
                Err(StoreError::Ambiguous(name.to_owned(), ids.join(", ")))
            }
        }
    }

    /// Finds the image of a full reference.
    ///
    /// # Errors
    /// [`StoreError::Record`].
    pub fn find_reference(&self, reference: &Reference) -> Result<Option<ImageRecord>, StoreError> {
        if let Some(name) = husk_record::read::<NameRecord>(&self.name_path(reference))? {
            return self.image_record(&name.manifest);
        }
        let Some(digest) = reference.digest() else { return Ok(None) };
        // A digest names the same thing whatever tag stands beside it.
        for name in self.name_records()? {
            let known: Reference = name.reference.parse()?;
            let same = known.name() == reference.name();
            if same && (name.target == *digest || name.manifest == *digest) {
                return self.image_record(&name.manifest);
            }
        }
        Ok(None)
    }

    /// Removes a name, or with its last name (or by id) the image, with what nothing
    /// else needs.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where a container runs on it and `force` is not given; with
    /// `force` its names go and the image stays, dangling, until the container is gone.
    pub fn remove(&self, name: &str, force: bool) -> Result<Vec<Removal>, StoreError> {
        let lock = self.lock_names()?;
        let record = match self.find(name) {
            Err(StoreError::Record { path, .. }) => {
                let removed = self.remove_damaged(&path)?;
                drop(lock);
                self.collect()?;
                return Ok(removed);
            }
            found => found?,
        };
        let named = name.parse::<Reference>().map(Reference::or_latest).ok();
        let mut all = self.name_records()?;
        all.retain(|entry| entry.manifest == record.manifest);
        let by_name = named.is_some_and(|wanted| {
            let wanted = wanted.to_string();
            let found = all.iter().any(|entry| entry.reference == wanted);
            if found && all.len() > 1 {
                all.retain(|entry| entry.reference == wanted);
                return true;
            }
            false
        });
        if !by_name && all.len() > 1 && !force {
            let names: Vec<&str> = all.iter().map(|entry| entry.reference.as_str()).collect();
            return Err(StoreError::SeveralNames {
                image: name.to_owned(),
                names: names.join(", "),
            });
        }
        let pinned = self.pins()?.into_iter().find(|(_, image)| *image == record.manifest);
        if let (Some((container, _)), false, false) = (&pinned, by_name, force) {
            let container = container.clone();
            return Err(StoreError::InUse { image: name.to_owned(), container });
        }
        let mut removed = Vec::new();
        for entry in &all {
            let reference: Reference = entry.reference.parse()?;
            let path = self.name_path(&reference);
            remove_tree(&path)?;
            removed.push(Removal::Untagged(reference));
        }
        if !by_name && pinned.is_none() {
            let path = self.image_path(&record.manifest);
            remove_tree(&path)?;
            removed.push(Removal::Deleted(record.id));
        }
        drop(lock);
        self.collect()?;
        Ok(removed)
    }

    /// Removes the damaged record of a name, or that of an image with the names that lead to
    /// it. The caller has [`Store::lock_names`].
    pub(super) fn remove_damaged(
        &self,
        path: &std::path::Path,
    ) -> Result<Vec<Removal>, StoreError> {
        let mut removed = Vec::new();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let image = file.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok());
        if let Some(manifest) = image.filter(|_| path.starts_with(self.root.join("images"))) {
            for name in self.name_records()?.iter().filter(|name| name.manifest == manifest) {
                let reference: Reference = name.reference.parse()?;
                remove_tree(&self.name_path(&reference))?;
                removed.push(Removal::Untagged(reference));
            }
            removed.push(Removal::Deleted(manifest));
        }
        remove_tree(path)?;
        Ok(removed)
    }

    /// Says that container `id` runs on an image, which then keeps its layers. Take an
    /// [`super::Activity`] before looking the image up and hold it until this returns.
    ///
    /// # Errors
    /// [`StoreError::NoImage`] where the image has gone in between.
    pub fn pin(&self, id: &str, manifest: &Digest) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        self.image(manifest)?;
        let path = self.pin_path(id);
        // Not waited for: a container's record says the same, and the engine gives it back.
        Ok(husk_record::write_json(&path, &Pin { image: *manifest })?)
    }

    /// Says that a container is gone.
    ///
    /// # Errors
    /// [`StoreError::Io`]; a pin that is not there is none.
    pub fn unpin(&self, id: &str) -> Result<(), StoreError> {
        let path = self.pin_path(id);
        Ok(husk_record::remove(&path)?)
    }

    /// Containers and the manifests of their images.
    ///
    /// # Errors
    /// [`StoreError::Record`].
    pub fn pins(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        let mut pins = Vec::new();
        for id in self.names_in("pins")? {
            match husk_record::read::<Pin>(&self.pin_path(&id)) {
                Ok(pin) => pins.extend(pin.map(|pin| (id, pin.image))),
                // The container's record says which image it is; see the engine's sweep.
                Err(husk_record::Error::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pins)
    }
}
