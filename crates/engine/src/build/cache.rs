//! Caches of builds that other machines have, or are to have.

use std::path::{Path, PathBuf};

use husk_image::archive::load_directory;
use husk_image::build::{CacheExport, import_cache, write_layout};
use husk_image::progress::Silent;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::{ImageRecord, Store};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::image::{self, PullRequest, RegistryAccess};
use crate::reporter::Reporter;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// An OCI layout.
    Directory(PathBuf),
    /// An image of a registry.
    Image(Reference),
    /// In the built image; only to be written.
    Inline,
}

/// The caches that a build reads and writes.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    /// Those that are read.
    pub from: Vec<CachePlace>,
    /// Those that are written.
    pub to: Vec<CachePlace>,
    /// What is written has the steps of all stages, and not of the built one alone; only
    /// into directories.
    pub all_stages: bool,
}

impl Caches {
    /// What the build is to make for them.
    pub(super) fn export(&self) -> CacheExport {
        CacheExport {
            inline: self.to.contains(&CachePlace::Inline),
            apart: self.to.iter().any(|place| *place != CachePlace::Inline),
            all_stages: self.all_stages,
        }
    }

    /// Makes what the caches hold known here. One that cannot be had is a warning, as with
    /// Docker: the build goes on without it.
    pub(super) fn import(
        &self,
        home: &Home,
        store: &Store,
        registry: &RegistryAccess,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        for place in &self.from {
            let imported = match place {
                CachePlace::Directory(path) => import_directory(store, path),
                CachePlace::Image(reference) => {
                    import_image(home, store, reference, registry, reporter)
                }
                CachePlace::Inline => Ok(()),
            };
            if let Err(error) = imported {
                reporter.notice(&format!("warning: --cache-from is not used: {error}"));
            }
        }
        Ok(())
    }

    /// Writes the cache of a build.
    pub(super) fn write(
        &self,
        home: &Home,
        store: &Store,
        images: &[ImageRecord],
        registry: &RegistryAccess,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        for place in &self.to {
            match place {
                CachePlace::Inline => {}
                CachePlace::Directory(path) => write_layout(store, images, path)?,
                CachePlace::Image(reference) => {
                    // The last one is the built stage's.
                    if let Some(image) = images.last() {
                        image::push_image(home, image, reference, registry, reporter)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn import_directory(store: &Store, path: &Path) -> Result<()> {
    if !path.join("index.json").exists() {
        return Err(Error::other(format_args!("{}: no cache is there", path.display())));
    }
    // An image that is here already keeps its place in the list.
    let known: Vec<_> = store.images()?.into_iter().map(|image| image.record.manifest).collect();
    for loaded in load_directory(store, path, &PullOptions::default(), &Silent)? {
        import_cache(store, &loaded.image)?;
        if !known.contains(&loaded.image.manifest) {
            forget(store, &loaded.image.id.to_string());
        }
    }
    Ok(())
}

fn import_image(
    home: &Home,
    store: &Store,
    reference: &Reference,
    registry: &RegistryAccess,
    reporter: &dyn Reporter,
) -> Result<()> {
    // By digest, so that no tag of the store's moves.
    let digest = image::manifest_digest(reference, registry)?;
    let exact = reference.at(digest).to_string();
    let request = PullRequest { image: exact.clone(), platform: None, registry: registry.clone() };
    let pulled = image::pull(home, &request, reporter)?.image;
    if import_cache(store, &pulled)? == 0 {
        forget(store, &exact);
        let name = reference.familiar();
        return Err(Error::other(format_args!("{name} carries no cache of husk build")));
    }
    forget(store, &exact);
    Ok(())
}

/// Takes the image that carried a cache out of the list; its layers stay with the steps.
fn forget(store: &Store, name: &str) {
    let _ = store.remove(name, false);
}
