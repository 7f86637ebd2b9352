//! What is known of an image.

use std::path::PathBuf;

use husk_image::config::ImageConfig;
use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::store::ImageRecord;

use crate::error::Result;
use crate::home::Home;

/// An image.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// Its record: ids, platform, layers.
    pub record: ImageRecord,
    /// Its names, and the digest that the registry knew it by for each.
    pub names: Vec<(Reference, Digest)>,
    /// Its config, with history and diff ids.
    pub config: ImageConfig,
    /// Bytes of the files of its layers.
    pub size: u64,
    /// The directories of its layers, lowest first.
    pub directories: Vec<PathBuf>,
}

/// Looks at an image by its name, its id or the beginning of one.
///
/// # Errors
/// An image that is not there, or damaged.
pub fn inspect(home: &Home, image: &str) -> Result<ImageDetails> {
    let store = home.images()?;
    let record = store.find(image)?;
    let config = store.config(&record)?;
    let same = |known: &husk_image::store::Image| known.record.manifest == record.manifest;
    let names = store.images()?.into_iter().find(same).map(|known| known.names);
    let size = store.unpacked_size(&record.chain_ids())?;
    let layers = store.layers(&record.chain_ids())?;
    let directories = layers.into_iter().map(|layer| layer.path).collect();
    Ok(ImageDetails { record, names: names.unwrap_or_default(), config, size, directories })
}
