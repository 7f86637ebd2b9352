//! Giving an image another name.

use husk_image::reference::Reference;

use crate::error::{Error, Result};
use crate::events::object;
use crate::home::Home;

/// Gives an image another name, which then no longer stands for what it stood for; gives the
/// name in full.
///
/// # Errors
/// An image that is not there, a malformed name or one with a digest.
pub fn tag(home: &Home, image: &str, name: &str) -> Result<Reference> {
    let store = home.images()?;
    let record = store.find(image)?;
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Error::other(format_args!("{name}: cannot tag a name with a digest")));
    }
    let reference = reference.or_latest();
    store.tag(&reference, &record.manifest, &record.manifest)?;
    object::record_image(home, "tag", &record, Some(&reference.familiar()));
    Ok(reference)
}
