//! Images into tars and back.

use std::io::{BufRead, Write};
use std::path::Path;

use husk_image::archive::{self, ImportOptions};
pub use husk_image::archive::{Format as ArchiveFormat, Loaded};
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::ImageRecord;

use crate::error::{Error, Field, Result};
use crate::events::object;
use crate::home::Home;
use crate::reporter::{Reporter, StoreProgress};

/// What is to be saved.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// Names or ids. An image gets the names it is asked for by.
    pub images: Vec<String>,
    /// The archive's form.
    pub format: ArchiveFormat,
}

/// Writes images into one archive. `open` gives where to, and is called once all images are
/// found.
///
/// # Errors
/// An image that is not there; those of `open` and of writing.
pub fn save<W: Write>(
    home: &Home,
    request: &SaveRequest,
    open: impl FnOnce() -> Result<W>,
) -> Result<()> {
    let store = home.images()?;
    let mut images: Vec<(ImageRecord, Vec<Reference>)> = Vec::new();
    for name in &request.images {
        let record = store.find(name)?;
        let by_name = name.parse::<Reference>().ok().map(Reference::or_latest);
        let named = match by_name {
            Some(reference) if store.find_reference(&reference)?.is_some() => vec![reference],
            _ => Vec::new(),
        };
        match images.iter_mut().find(|(known, _)| known.manifest == record.manifest) {
            Some((_, names)) => names.extend(named),
            None => images.push((record, named)),
        }
    }
    archive::save_stream(&store, &images, request.format, open()?)?;
    for (image, _) in &images {
        object::record_image(home, "save", image, None);
    }
    Ok(())
}

/// Loads the images of a tar: one of Docker's or an OCI layout, compressed or not.
///
/// # Errors
/// What is wrong with the archive.
pub fn load(home: &Home, input: impl BufRead, reporter: &dyn Reporter) -> Result<Vec<Loaded>> {
    let (store, options) = (home.images()?, PullOptions::default());
    let loaded = archive::load_stream(&store, input, &options, &StoreProgress(reporter))?;
    record_load(home, &loaded);
    Ok(loaded)
}

/// Loads the images of an OCI layout in a directory.
///
/// # Errors
/// What is wrong with the layout.
pub fn load_directory(home: &Home, path: &Path, reporter: &dyn Reporter) -> Result<Vec<Loaded>> {
    let (store, options) = (home.images()?, PullOptions::default());
    let loaded = archive::load_directory(&store, path, &options, &StoreProgress(reporter))?;
    record_load(home, &loaded);
    Ok(loaded)
}

fn record_load(home: &Home, loaded: &[Loaded]) {
    for one in loaded {
        object::record_image(home, "load", &one.image, None);
    }
}

/// What an image of the files of a tar says of itself.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// The message of its history.
    pub message: Option<String>,
    /// Instructions of a Dockerfile that change the config and no file, such as `CMD ls`.
    pub changes: Vec<String>,
    /// Its name.
    pub name: Option<String>,
}

/// Makes an image of one layer of the files of a tar.
///
/// # Errors
/// An instruction or name that cannot be honoured; what is wrong with the tar.
pub fn import(
    home: &Home,
    request: &ImportRequest,
    input: impl BufRead,
    reporter: &dyn Reporter,
) -> Result<ImageRecord> {
    let progress = StoreProgress(reporter);
    let config = husk_image::build::config_of(&request.changes)
        .map_err(|error| Error::field(Field::Changes, &error.line, error.message))?;
    let reference = request.name.as_deref().map(str::parse).transpose()?;
    let named: Option<Reference> = reference.clone().map(Reference::or_latest);
    let import = ImportOptions { config, message: request.message.clone(), reference };
    let (store, options) = (home.images()?, PullOptions::default());
    let image = archive::import(&store, input, import, &options, &progress)?;
    if let Some(name) = named {
        object::record_image(home, "tag", &image, Some(&name.familiar()));
    }
    object::record_image(home, "import", &image, None);
    Ok(image)
}
