//! `build --cache-from` and `--cache-to`.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use husk_engine::home::Home;
use husk_image::archive::load_directory;
use husk_image::build::{CacheExport, import_cache, write_layout};
use husk_image::progress::{Event, Progress, Silent};
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::store::{ImageRecord, Store};

use super::Registry;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Image(Reference),
    /// In the built image.
    Inline,
}

/// The caches that a build reads and writes.
#[derive(Debug)]
pub(super) struct Caches {
    from: Vec<Place>,
    to: Vec<Place>,
    /// `mode=max`.
    all_stages: bool,
}

/// Reads `type=...` with its keys, or an image's name.
fn parse(flag: &'static str, text: &str, path_key: &str) -> Result<(Place, bool)> {
    let bad = |problem: &str| Error::flag(flag, text, problem);
    let named =
        |name: &str| -> Result<Place> { Ok(Place::Image(name.parse::<Reference>()?.or_latest())) };
    if !text.contains('=') {
        return Ok((named(text)?, false));
    }
    let (mut kind, mut path, mut name, mut max) = ("", None, None, false);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = value,
            Some((key, value)) if key == path_key => path = Some(value),
            Some(("ref", value)) => name = Some(value),
            Some(("mode", "min")) => max = false,
            Some(("mode", "max")) => max = true,
            _ => return Err(bad("has a key or a mode that is not supported")),
        }
    }
    let place = match (kind, path, name) {
        ("local", Some(path), None) => Place::Directory(PathBuf::from(path)),
        ("registry", None, Some(name)) => named(name)?,
        ("inline", None, None) if flag == "--cache-to" => Place::Inline,
        ("local", ..) => return Err(bad(&format!("type=local needs {path_key}=DIRECTORY"))),
        ("registry", ..) => return Err(bad("type=registry needs ref=IMAGE")),
        _ => return Err(bad("type must be one of local, registry, inline (of --cache-to)")),
    };
    if max && !matches!(place, Place::Directory(_)) {
        return Err(bad("mode=max is built for type=local only; use mode=min"));
    }
    Ok((place, max))
}

impl Caches {
    /// Reads the flags.
    pub(super) fn parse(from: &[String], to: &[String]) -> Result<Caches> {
        let from: Result<Vec<_>> =
            from.iter().map(|text| parse("--cache-from", text, "src")).collect();
        let to: Result<Vec<_>> = to.iter().map(|text| parse("--cache-to", text, "dest")).collect();
        let to = to?;
        Ok(Caches {
            from: from?.into_iter().map(|(place, _)| place).collect(),
            all_stages: to.iter().any(|(_, max)| *max),
            to: to.into_iter().map(|(place, _)| place).collect(),
        })
    }

    /// What the build is to make for them.
    pub(super) fn export(&self) -> CacheExport {
        CacheExport {
            inline: self.to.contains(&Place::Inline),
            apart: self.to.iter().any(|place| *place != Place::Inline),
            all_stages: self.all_stages,
        }
    }

    /// Makes what the caches hold known here. One that cannot be had is a warning, as with
    /// Docker: the build goes on without it.
    pub(super) fn import(
        &self,
        home: &Home,
        store: &Store,
        registry: &Registry,
        progress: &dyn Progress,
    ) -> Result<()> {
        for place in &self.from {
            let imported = match place {
                Place::Directory(path) => import_directory(store, path),
                Place::Image(reference) => import_image(home, store, reference, registry),
                Place::Inline => Ok(()),
            };
            if let Err(error) = imported {
                let text = format!("--cache-from is not used: {error}");
                progress.event(Event::Warning(&text));
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
        registry: &Registry,
    ) -> Result<()> {
        for place in &self.to {
            match place {
                Place::Inline => {}
                Place::Directory(path) => write_layout(store, images, path)?,
                Place::Image(reference) => {
                    // The last one is the built stage's.
                    if let Some(image) = images.last() {
                        registry.push(home, image, reference)?;
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
    registry: &Registry,
) -> Result<()> {
    // By digest, so that no tag of the store's moves.
    let digest = registry.digest(reference)?;
    let exact = reference.at(digest).to_string();
    let pulled = registry.pull(home, &exact, None)?;
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
