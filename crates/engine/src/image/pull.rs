//! Pulling images from a registry.

use husk_image::platform::Platform;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
pub use husk_image::registry::Pulled;

use super::RegistryAccess;
use crate::error::{Error, Field, Result};
use crate::events::object;
use crate::home::Home;
use crate::reporter::{Reporter, StoreProgress};

/// What is to be pulled.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// The image's name; `latest` where it has neither tag nor digest.
    pub image: String,
    /// OS/ARCHITECTURE[/VARIANT]; this machine's own where it is none.
    pub platform: Option<String>,
    /// How the registry is talked to.
    pub registry: RegistryAccess,
}

pub(super) fn options(platform: Option<&str>) -> Result<PullOptions> {
    let mut options = PullOptions::default();
    if let Some(text) = platform.filter(|text| !text.is_empty()) {
        let parsed = text.parse::<Platform>();
        options.platform =
            parsed.map_err(|error| Error::field(Field::Platform, text, error.to_string()))?;
    }
    Ok(options)
}

/// Pulls an image and unpacks it. The name then stands for it.
///
/// # Errors
/// A malformed name or platform; those of the registry. The store is then as it was, but for
/// beginnings of blobs, which the next attempt goes on with.
pub fn pull(home: &Home, request: &PullRequest, reporter: &dyn Reporter) -> Result<Pulled> {
    let reference: Reference = request.image.parse()?;
    let options = options(request.platform.as_deref())?;
    let store = home.images()?;
    let client = request.registry.client(&reference)?;
    let progress = StoreProgress(reporter);
    let pulled = husk_image::registry::pull(&store, &client, &reference, &options, &progress)?;
    object::record_transfer(home, "pull", &pulled.image, &reference.or_latest());
    Ok(pulled)
}
