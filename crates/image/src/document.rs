//! Manifests, indexes and configs: hostile bytes into typed values, once.
//!
//! The types are our own rather than `oci-spec`'s: both dialects (OCI and Docker
//! schema 2) are read by one shape, the bytes that were hashed are always kept beside
//! the value and never written anew, and an ambiguous document (CVE-2021-41190: both
//! `layers` and `manifests`) is refused here, before anything looks at a part of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, clip};
use crate::platform::Platform;

/// Largest manifest or index, as containerd and the distribution project cap them.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest image config.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Most layers of an image: overlayfs stacks at most 500 lower directories.
pub const MAX_LAYERS: usize = 500;
/// How deep an index may lie in an index.
pub const MAX_NESTING: usize = 4;
/// Largest layer or other blob that a descriptor may announce.
pub const MAX_BLOB: u64 = 1 << 40;

/// Media types of both dialects.
pub mod media {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, not compressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, not compressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// What a registry may answer a request for a manifest with.
    pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

    /// A Content-Type without its parameters.
    pub(crate) fn bare(content_type: &str) -> &str {
        content_type.split(';').next().unwrap_or(content_type).trim()
    }

    /// What says nothing about a blob: Docker of 2015 and 2016 wrote it for configs, and other
    /// builders write it for layers. The content decides: a config must parse, and a layer be
    /// what the config's diff id says.
    const NOTHING: [&str; 7] = [
        "",
        "application/octet-stream",
        "application/json",
        "application/tar",
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
    ];

    /// Whether a blob of this type may be an image's config.
    pub(crate) fn may_be_config(kind: &str) -> bool {
        [OCI_CONFIG, DOCKER_CONFIG].contains(&bare(kind)) || NOTHING.contains(&bare(kind))
    }

    /// Whether a blob of this type may be a layer.
    pub(crate) fn may_be_layer(kind: &str) -> bool {
        let says_so = kind.contains(".image.layer.") || kind.contains(".image.rootfs.");
        says_so || NOTHING.contains(&bare(kind))
    }

    /// Whether a Content-Type is a manifest's or an index's.
    pub(crate) fn is_document(content_type: &str) -> bool {
        ACCEPTED.contains(&bare(content_type))
    }
}

/// Why a document is not taken. Each names what it was about.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Longer than its cap.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The cap in bytes.
        limit: u64,
    },
    /// Not JSON of the expected shape.
    #[error("{what}: {property}: {source}")]
    Json {
        /// Which document.
        what: &'static str,
        /// The property's path, as in `layers[0].size`.
        property: String,
        /// The parser's message with line and column.
        source: serde_json::Error,
    },
    /// HTML or other text where JSON was due: a captive portal, a wrong address.
    #[error("{what}: the answer is not JSON but begins {start:?}")]
    NotJson {
        /// Which document.
        what: &'static str,
        /// The first characters.
        start: String,
    },
    /// Both `layers` and `manifests`, or neither.
    #[error("manifest: has {0}, so what it describes is ambiguous")]
    Ambiguous(&'static str),
    /// A media type that contradicts the document or the server's Content-Type.
    #[error("manifest: mediaType {found:?} where the {place} says {expected:?}")]
    MediaType {
        /// What the document says.
        found: String,
        /// Who says otherwise.
        place: &'static str,
        /// What it says.
        expected: String,
    },
    /// Schema 1, artifacts and other things that are not images.
    #[error("manifest: {0}")]
    Unsupported(String),
    /// A size, a count or another value out of bounds.
    #[error("{what}: {problem}")]
    Invalid {
        /// Which document.
        what: &'static str,
        /// Property and value.
        problem: String,
    },
    /// An index without an image for the platform.
    #[error("no image for platform {wanted}; there are {offered}")]
    NoPlatform {
        /// The platform asked for.
        wanted: Platform,
        /// What the index offers.
        offered: String,
    },
}

/// A typed pointer to a blob (image-spec "descriptor.md").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the blob.
    #[serde(default)]
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations. Never a control input: only `org.opencontainers.image.ref.name` of
    /// a layout's index is ever read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            size,
            digest,
            platform: None,
            annotations: None,
        }
    }
}

/// An image manifest of either dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The dialect.
    pub media_type: String,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Annotations, kept for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An image index or Docker manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The dialect.
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// What a manifest request may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several images.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Parses JSON and recognises the HTML that a wrong address answers with.
pub(crate) fn json<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
    limit: u64,
) -> Result<T, DocumentError> {
    if bytes.len() as u64 > limit {
        return Err(DocumentError::TooLarge { what, size: bytes.len() as u64, limit });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let property = clip(&error.path().to_string());
        (property, error.into_inner())
    });
    let whole = parsed.and_then(|value: T| match deserializer.end() {
        Ok(()) => Ok(value),
        Err(source) => Err((".".to_owned(), source)),
    });
    whole.map_err(|(property, source)| {
        let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes));
        let start = text.trim_start();
        if start.starts_with(['{', '[']) || source.is_data() {
            DocumentError::Json { what, property, source }
        } else {
            DocumentError::NotJson { what, start: start.chars().take(40).collect() }
        }
    })
}

impl Document {
    /// Parses a manifest or an index.
    ///
    /// `content_type` is the server's or the descriptor's media type, where there is
    /// one: a document that says something else about itself is refused.
    ///
    /// # Errors
    /// [`DocumentError`], naming the property.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document, DocumentError> {
        let raw: RawDocument = json("manifest", bytes, MAX_MANIFEST)?;
        if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
            return Err(DocumentError::Unsupported(
                "Docker schema 1, which has no verifiable config; have it pushed anew".to_owned(),
            ));
        }
        if raw.schema_version != Some(2) {
            return Err(DocumentError::Unsupported(format!(
                "schemaVersion is {}, not 2",
                raw.schema_version.map_or("absent".to_owned(), |version| version.to_string())
            )));
        }
        let outside = content_type.filter(|kind| media::is_document(kind)).map(media::bare);
        let kind = match (raw.media_type.as_deref().filter(|kind| !kind.is_empty()), outside) {
            (Some(own), Some(outside)) if own != outside => {
                return Err(DocumentError::MediaType {
                    found: clip(own),
                    place: "descriptor or Content-Type",
                    expected: outside.to_owned(),
                });
            }
            (Some(own), _) => Some(own.to_owned()),
            (None, outside) => outside.map(str::to_owned),
        };
        match (raw.config, raw.layers, raw.manifests) {
            (_, Some(_), Some(_)) => Err(DocumentError::Ambiguous("both layers and manifests")),
            (Some(_), _, Some(_)) => Err(DocumentError::Ambiguous("both config and manifests")),
            (_, None, None) => Err(DocumentError::Ambiguous("neither layers nor manifests")),
            (None, Some(_), None) => Err(DocumentError::Ambiguous("layers but no config")),
            (Some(config), Some(layers), None) => {
                let media_type = shape(kind, &[media::OCI_MANIFEST, media::DOCKER_MANIFEST])?;
                let manifest = Manifest {
                    schema_version: 2,
                    media_type,
                    config,
                    layers,
                    annotations: raw.annotations,
                };
                manifest.check()?;
                Ok(Document::Manifest(manifest))
            }
            (None, None, Some(manifests)) => {
                let media_type = shape(kind, &[media::OCI_INDEX, media::DOCKER_INDEX])?;
                Ok(Document::Index(Index { schema_version: 2, media_type, manifests }))
            }
        }
    }

    /// Parses a document that must be an image manifest.
    ///
    /// # Errors
    /// As [`Document::parse`], and for an index.
    pub fn parse_manifest(
        bytes: &[u8],
        content_type: Option<&str>,
    ) -> Result<Manifest, DocumentError> {
        match Document::parse(bytes, content_type)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => {
                Err(DocumentError::Unsupported("an index where an image is due".to_owned()))
            }
        }
    }
}

fn shape(kind: Option<String>, allowed: &[&'static str]) -> Result<String, DocumentError> {
    match kind {
        None => Ok(allowed.first().copied().unwrap_or_default().to_owned()),
        Some(kind) if allowed.contains(&kind.as_str()) => Ok(kind),
        Some(kind) => Err(DocumentError::MediaType {
            found: clip(&kind),
            place: "shape of the document",
            expected: allowed.first().copied().unwrap_or_default().to_owned(),
        }),
    }
}

impl Manifest {
    fn check(&self) -> Result<(), DocumentError> {
        let invalid = |problem| DocumentError::Invalid { what: "manifest", problem };
        if self.layers.len() > MAX_LAYERS {
            return Err(invalid(format!(
                "{} layers, more than the {MAX_LAYERS} that overlayfs stacks",
                self.layers.len()
            )));
        }
        if self.config.size > MAX_CONFIG {
            return Err(DocumentError::TooLarge {
                what: "image config",
                size: self.config.size,
                limit: MAX_CONFIG,
            });
        }
        if !media::may_be_config(&self.config.media_type) {
            return Err(DocumentError::Unsupported(format!(
                "config.mediaType {:?} is not an image's, so this is not an image",
                clip(&self.config.media_type)
            )));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.size > MAX_BLOB {
                return Err(invalid(format!(
                    "layers[{index}].size {} is over the limit of {MAX_BLOB}",
                    layer.size
                )));
            }
            if layer.media_type.ends_with("+encrypted") {
                return Err(DocumentError::Unsupported(format!(
                    "layers[{index}] is encrypted, and there is nothing here to decrypt it"
                )));
            }
            if !media::may_be_layer(&layer.media_type) {
                return Err(DocumentError::Unsupported(format!(
                    "layers[{index}].mediaType {:?} is not a layer's",
                    clip(&layer.media_type)
                )));
            }
        }
        Ok(())
    }
}

impl Index {
    /// The descriptor of the image that serves `wanted` best, or of an index that leads to
    /// one (image-spec "image-index.md"). Entries of other kinds are left alone.
    ///
    /// # Errors
    /// [`DocumentError::NoPlatform`], listing what there is.
    pub fn choose(&self, wanted: &Platform) -> Result<&Descriptor, DocumentError> {
        let of = |kinds: &'static [&'static str]| {
            self.manifests.iter().filter(move |entry| kinds.contains(&entry.media_type.as_str()))
        };
        let images = || of(&[media::OCI_MANIFEST, media::DOCKER_MANIFEST, ""]);
        let indexes = || of(&[media::OCI_INDEX, media::DOCKER_INDEX]);
        let ranked = images()
            .chain(indexes())
            .filter_map(|entry| Some((wanted.rank(entry.platform.as_ref()?)?, entry)));
        if let Some((_, entry)) = ranked.min_by_key(|(rank, _)| *rank) {
            return Ok(entry);
        }
        // A layout's index of one image often carries no platform at all.
        let mut bare = images().filter(|entry| entry.platform.is_none());
        if let (Some(entry), None) = (bare.next(), bare.next()) {
            return Ok(entry);
        }
        if let Some(entry) = indexes().find(|entry| entry.platform.is_none()) {
            return Ok(entry);
        }
        let mut offered: Vec<String> =
            images().filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).collect();
        offered.truncate(20);
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Err(DocumentError::NoPlatform { wanted: wanted.clone(), offered: clip(&offered) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(b"x")
    }

    fn manifest(extra: &str) -> String {
        let digest = digest();
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{digest}","size":3}},
            "layers":[{{"mediaType":"{}","digest":"{digest}","size":3}}]{extra}}}"#,
            media::OCI_CONFIG,
            media::OCI_LAYER_GZIP
        )
    }

    #[test]
    fn both_dialects_are_read() {
        let parsed = Document::parse(manifest("").as_bytes(), None).unwrap();
        let Document::Manifest(parsed) = parsed else { panic!("{parsed:?}") };
        assert_eq!(parsed.media_type, media::OCI_MANIFEST);
        assert_eq!(parsed.layers.len(), 1);
        let docker = manifest(&format!(r#","mediaType":"{}""#, media::DOCKER_MANIFEST));
        let with_type = Document::parse(
            docker.as_bytes(),
            Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"),
        );
        assert!(with_type.is_ok());
    }

    #[test]
    fn ambiguous_and_foreign_documents_are_refused() {
        let cases: &[(String, Option<&str>, &str)] = &[
            (manifest(r#","manifests":[]"#), None, "both layers and manifests"),
            (r#"{"schemaVersion":2}"#.to_owned(), None, "neither layers nor manifests"),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), None, "no config"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), None, "schema 1"),
            (r#"{"layers":[]}"#.to_owned(), None, "schemaVersion is absent"),
            (manifest(""), Some(media::OCI_INDEX), "shape of the document"),
            (
                manifest(&format!(r#","mediaType":"{}""#, media::DOCKER_MANIFEST)),
                Some(media::OCI_MANIFEST),
                "Content-Type",
            ),
            (manifest(&format!(r#","mediaType":"{}""#, media::OCI_INDEX)), None, "shape"),
            (manifest(r#","layers":[]"#), None, "duplicate field"),
            ("<html><body>Sign in</body>".to_owned(), None, "not JSON but begins \"<html>"),
            (String::new(), None, "not JSON"),
            (manifest("").replace(&digest().hex(), "../../../etc/passwd"), None, "64 lower-case"),
            (manifest("").replace(":3}", ":-3}"), None, "size"),
            (manifest("").replace(media::OCI_CONFIG, "application/vnd.helm"), None, "not an image"),
            (manifest("").replace(media::OCI_LAYER_GZIP, "text/html"), None, "not a layer"),
            (manifest("").replace(":3}", ":99999999999999}"), None, "over the limit"),
            (manifest("").replace("+gzip", "+gzip+encrypted"), None, "layers[0] is encrypted"),
        ];
        for (text, kind, expected) in cases {
            let error = Document::parse(text.as_bytes(), *kind).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let huge = vec![b' '; MAX_MANIFEST as usize + 1];
        assert!(matches!(Document::parse(&huge, None), Err(DocumentError::TooLarge { .. })));
    }

    #[test]
    fn too_many_layers_are_refused() {
        let layer = Descriptor::new(media::OCI_LAYER, digest(), 1);
        let config = Descriptor::new(media::OCI_CONFIG, digest(), 1);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::OCI_MANIFEST.to_owned(),
            config,
            layers: vec![layer; MAX_LAYERS + 1],
            annotations: None,
        };
        let bytes = serde_json::to_vec(&manifest).unwrap();
        assert!(Document::parse(&bytes, None).unwrap_err().to_string().contains("501 layers"));
    }

    #[test]
    fn the_index_entry_for_the_platform_is_chosen() {
        let entry = |platform: Option<&str>, size| Descriptor {
            platform: platform.map(|text| text.parse().unwrap()),
            ..Descriptor::new(media::OCI_MANIFEST, digest(), size)
        };
        let mut index = Index {
            schema_version: 2,
            media_type: media::OCI_INDEX.to_owned(),
            manifests: vec![
                entry(Some("linux/arm/v5"), 1),
                entry(Some("linux/arm/v6"), 2),
                entry(Some("linux/amd64"), 3),
                entry(Some("unknown/unknown"), 4),
            ],
        };
        let size = |index: &Index, wanted: &str| {
            index.choose(&wanted.parse().unwrap()).map(|entry| entry.size)
        };
        assert_eq!(size(&index, "linux/arm/v7").unwrap(), 2);
        assert_eq!(size(&index, "linux/amd64").unwrap(), 3);
        let error = size(&index, "linux/s390x").unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/amd64"), "{error}");
        index.manifests = vec![entry(None, 9)];
        assert_eq!(size(&index, "linux/s390x").unwrap(), 9);
        let nested = |platform, size| Descriptor {
            media_type: media::OCI_INDEX.to_owned(),
            ..entry(platform, size)
        };
        index.manifests = vec![nested(None, 1), nested(Some("linux/s390x"), 2)];
        assert_eq!(size(&index, "linux/s390x").unwrap(), 2);
        assert_eq!(size(&index, "linux/amd64").unwrap(), 1);
        index.manifests.push(entry(Some("linux/amd64"), 3));
        assert_eq!(size(&index, "linux/amd64").unwrap(), 3);
        index.manifests = vec![Descriptor::new("application/xml", digest(), 1)];
        assert!(size(&index, "linux/amd64").is_err());
    }
}
