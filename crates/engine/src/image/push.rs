//! Pushing images to a registry.

use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::registry::PushOptions;
use husk_image::store::ImageRecord;

use super::RegistryAccess;
use crate::error::Result;
use crate::events::object;
use crate::home::Home;
use crate::reporter::{Reporter, StoreProgress};

/// What is to be pushed.
#[derive(Clone, Debug, Default)]
pub struct PushRequest {
    /// The image's name, which says where to; `latest` where it has no tag.
    pub image: String,
    /// How the registry is talked to.
    pub registry: RegistryAccess,
}

/// What a push gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The name at the registry.
    pub reference: Reference,
    /// The manifest's digest.
    pub digest: Digest,
}

/// Pushes an image.
///
/// # Errors
/// A malformed name, an image that is not there; those of the registry.
pub fn push(home: &Home, request: &PushRequest, reporter: &dyn Reporter) -> Result<Pushed> {
    let reference = request.image.parse::<Reference>()?.or_latest();
    let image = home.images()?.find(&request.image)?;
    let digest = push_image(home, &image, &reference, &request.registry, reporter)?;
    Ok(Pushed { reference, digest })
}

/// Pushes an image under a name that it need not have here; gives the manifest's digest.
///
/// # Errors
/// Those of the registry.
pub fn push_image(
    home: &Home,
    image: &ImageRecord,
    reference: &Reference,
    registry: &RegistryAccess,
    reporter: &dyn Reporter,
) -> Result<Digest> {
    let store = home.images()?;
    let client = registry.client(reference)?;
    let (options, progress) = (PushOptions::default(), StoreProgress(reporter));
    let digest =
        husk_image::registry::push(&store, &client, image, reference, &options, &progress)?;
    object::record_transfer(home, "push", image, reference);
    Ok(digest)
}

/// The digest of what a registry has under a name.
///
/// # Errors
/// Those of the registry.
pub fn manifest_digest(reference: &Reference, registry: &RegistryAccess) -> Result<Digest> {
    Ok(registry.client(reference)?.manifest(reference)?.digest)
}
