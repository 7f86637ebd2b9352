//! The image config: one shape for reading and for writing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::build::CacheEntry;
use crate::digest::{Digest, clip};
use crate::document::{DocumentError, MAX_CONFIG, json};
use crate::platform::Platform;

/// An image config (image-spec "config.md"), as read and as written by `build`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Go's GOARCH.
    #[serde(default)]
    pub architecture: String,
    /// Go's GOOS.
    #[serde(default)]
    pub os: String,
    /// The architecture's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What a container of it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RunConfig>,
    /// The layers' diff ids, lowest first.
    pub rootfs: RootFs,
    /// How the image came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
    /// Results of build steps that the image carries (`build --cache-to type=inline`).
    #[serde(rename = "husk.build.cache", default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Vec<CacheEntry>>,
}

/// The `rootfs` of an image config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// One entry of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// No layer belongs to this entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The `config` of an image config, untyped as the image gives it; see
/// [`crate::facts::Facts`] for the checked form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User and group as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `port/protocol` keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// What runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or what runs where there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Docker's probe, kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<serde_json::Value>,
    /// Paths that get a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The shell of a Dockerfile's shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Instructions for builds on top of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
}

/// The `{}` that Go writes for a set's member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    // Docker accepts null and {} alike.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Empty, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Empty {})
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl ImageConfig {
    /// Parses a config and checks that it goes with `layers` layers.
    ///
    /// # Errors
    /// [`DocumentError`], naming the property.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<ImageConfig, DocumentError> {
        let config: ImageConfig = json("image config", bytes, MAX_CONFIG)?;
        let invalid = |problem| DocumentError::Invalid { what: "image config", problem };
        if config.rootfs.kind != "layers" {
            let kind = clip(&config.rootfs.kind);
            return Err(invalid(format!("rootfs.type is {kind:?}, not \"layers\"")));
        }
        if config.rootfs.diff_ids.len() != layers {
            let ids = config.rootfs.diff_ids.len();
            return Err(invalid(format!(
                "rootfs.diff_ids has {ids} entries for {layers} layers of the manifest"
            )));
        }
        Ok(config)
    }

    /// The platform the image is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
        }
    }

    /// The chain ids of the layers, lowest first (image-spec "config.md").
    #[must_use]
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Option<Digest> = None;
        let next = |diff_id: &Digest| {
            let id = chain.map_or(*diff_id, |below| below.chain(diff_id));
            chain = Some(id);
            id
        };
        self.rootfs.diff_ids.iter().map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_agree_with_their_manifest() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":null,"Volumes":{{"/v":{{}}}},
            "ExposedPorts":{{"80/tcp":null}}}},"rootfs":{{"type":"layers","diff_ids":["{a}","{b}"]}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes(), 2).unwrap();
        assert_eq!(config.chain_ids(), [a, a.chain(&b)]);
        assert!(ImageConfig::parse(text.as_bytes(), 3).is_err());
        assert!(ImageConfig::parse(text.replace("layers", "x").as_bytes(), 2).is_err());
    }
}
