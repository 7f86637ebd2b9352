//! `build --cache-from` and `--cache-to`.

use std::path::PathBuf;

use husk_engine::build::{CachePlace, Caches};
use husk_image::reference::Reference;

use crate::error::{Error, Result};

/// Reads `type=...` with its keys, or an image's name.
fn place(flag: &'static str, text: &str, path_key: &str) -> Result<(CachePlace, bool)> {
    let bad = |problem: &str| Error::flag(flag, text, problem);
    let named = |name: &str| -> Result<CachePlace> {
        Ok(CachePlace::Image(name.parse::<Reference>()?.or_latest()))
    };
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
        ("local", Some(path), None) => CachePlace::Directory(PathBuf::from(path)),
        ("registry", None, Some(name)) => named(name)?,
        ("inline", None, None) if flag == "--cache-to" => CachePlace::Inline,
        ("local", ..) => return Err(bad(&format!("type=local needs {path_key}=DIRECTORY"))),
        ("registry", ..) => return Err(bad("type=registry needs ref=IMAGE")),
        _ => return Err(bad("type must be one of local, registry, inline (of --cache-to)")),
    };
    if max && !matches!(place, CachePlace::Directory(_)) {
        return Err(bad("mode=max is built for type=local only; use mode=min"));
    }
    Ok((place, max))
}

/// Reads the flags.
pub(super) fn caches(from: &[String], to: &[String]) -> Result<Caches> {
    let from: Result<Vec<_>> = from.iter().map(|text| place("--cache-from", text, "src")).collect();
    let to: Result<Vec<_>> = to.iter().map(|text| place("--cache-to", text, "dest")).collect();
    let to = to?;
    Ok(Caches {
        from: from?.into_iter().map(|(place, _)| place).collect(),
        all_stages: to.iter().any(|(_, max)| *max),
        to: to.into_iter().map(|(place, _)| place).collect(),
    })
}
