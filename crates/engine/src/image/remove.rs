//! Removing images and their names.

pub use husk_image::store::Removal;

use crate::container::sweep::{restore_pins, sweep};
use crate::error::Result;
use crate::events::object::{self, Removed};
use crate::home::Home;

/// What is to be removed.
#[derive(Clone, Debug, Default)]
pub struct RemoveRequest {
    /// A name, or an id or its beginning.
    pub image: String,
    /// By its id also with several names; also if containers have it, which then keep its
    /// layers.
    pub force: bool,
}

/// Removes a name, and with its last one the image; gives what went, in order.
///
/// # Errors
/// [`husk_image::store::StoreError::NoImage`], [`husk_image::store::StoreError::InUse`].
pub fn remove(home: &Home, request: &RemoveRequest) -> Result<Vec<Removal>> {
    // A pin of a container that is no more would keep its image.
    sweep(home)?;
    restore_pins(home)?;
    let store = home.images()?;
    let removed = store.find(&request.image).ok().map(|image| Removed::of(home, &image));
    let removals = store.remove(&request.image, request.force)?;
    if let Some(image) = removed {
        object::record_removal(home, &image, &removals);
    }
    Ok(removals)
}
