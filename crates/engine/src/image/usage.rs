//! What images have on the disk.

use std::collections::HashMap;

use super::{ImageSummary, ListRequest, list};
use crate::container::{Container, Source};
use crate::error::Result;
use crate::home::Home;
use crate::reporter::Silent;

/// An image and what it has on the disk.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image.
    pub image: ImageSummary,
    /// Bytes of layers that other images have as well.
    pub shared: u64,
    /// Bytes that go with it.
    pub unique: u64,
}

/// Every image's share of the disk.
///
/// # Errors
/// A store that cannot be read.
pub fn usage(home: &Home) -> Result<Vec<ImageUsage>> {
    let store = home.images()?;
    let images = list(home, &ListRequest::default(), &Silent)?;
    let mut users: HashMap<_, usize> = HashMap::new();
    for image in &images {
        for layer in image.record.chain_ids() {
            *users.entry(layer).or_default() += 1;
        }
    }
    let mut all = Vec::new();
    for image in images {
        let (mut shared, mut unique) = (0, 0);
        for layer in store.layers(&image.record.chain_ids())? {
            match users.get(&layer.chain_id) {
                Some(2..) => shared += layer.record.size,
                _ => unique += layer.record.size,
            }
        }
        all.push(ImageUsage { image, shared, unique });
    }
    Ok(all)
}

/// Bytes of a container's image; 0 where it has none, or none that is there.
pub fn size_of(home: &Home, container: &Container) -> u64 {
    let Source::Image { manifest, .. } = &container.record.source else { return 0 };
    let layers = home.images().and_then(|store| {
        let record = store.image(manifest)?;
        Ok(store.layers(&record.chain_ids())?)
    });
    layers.unwrap_or_default().iter().map(|layer| layer.record.size).sum()
}
