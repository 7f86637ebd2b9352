//! A new image of layers that are in the store: its config, manifest and record.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::document::{Descriptor, Manifest, media};
use crate::store::{ImageRecord, Store, StoreError};

/// Which dialect the documents are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OCI image-spec.
    Oci,
    /// Docker schema 2.
    Docker,
}

/// Writes `config` and a manifest of it and `layers` (lowest first) into the store. The
/// caller holds an [`crate::store::Activity`], unpacks the layers
/// ([`crate::registry::unpack_image`]) where that is not done yet, and then adds the
/// image ([`Store::add_image`]).
///
/// # Errors
/// [`StoreError`]; [`StoreError::Document`] where config and layers do not fit.
pub fn compose(
    store: &Store,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    dialect: Dialect,
) -> Result<ImageRecord, StoreError> {
    let bytes = json(config)?;
    let config_digest = store.put_document(&bytes)?;
    compose_of(store, config_digest, &bytes, layers, dialect)
}

/// As [`compose`], with a config that exists already, byte for byte.
pub(crate) fn compose_of(
    store: &Store,
    config_digest: Digest,
    config_bytes: &[u8],
    layers: Vec<Descriptor>,
    dialect: Dialect,
) -> Result<ImageRecord, StoreError> {
    let config = ImageConfig::parse(config_bytes, layers.len())?;
    let (manifest_type, config_type) = match dialect {
        Dialect::Oci => (media::OCI_MANIFEST, media::OCI_CONFIG),
        Dialect::Docker => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: manifest_type.to_owned(),
        config: Descriptor::new(config_type, config_digest, config_bytes.len() as u64),
        layers,
        annotations: None,
    };
    let digest = store.put_document(&json(&manifest)?)?;
    Ok(ImageRecord::new(digest, &manifest, &config))
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Record { path: "image".into(), source })
}

/// Now, as configs have it. SOURCE_DATE_EPOCH (reproducible-builds.org) stands in for
/// the clock where it is set.
#[must_use]
pub fn timestamp() -> String {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match set {
        Some(seconds) => rfc3339(seconds, 0),
        None => rfc3339(now().as_secs(), now().subsec_nanos()),
    }
}

/// Seconds since the epoch as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 0000-03-01, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(rfc3339(1_709_210_096, 0), "2024-02-29T12:34:56Z");
        assert_eq!(rfc3339(4_107_542_399, 0), "2100-02-28T23:59:59Z");
        assert_eq!(rfc3339(1_735_689_599, 0), "2024-12-31T23:59:59Z");
    }
}
