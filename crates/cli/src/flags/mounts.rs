//! `--volume`, `--mount` and `--tmpfs`, of which paths are relative to our working directory.

use husk_engine::container::config::BindRecursive;
use husk_engine::container::request::{MountRequest, MountSource};

use super::bytes;
use crate::error::{Error, Result, file};

/// `-v`, with absolute sources.
pub(crate) fn binds(volumes: &[String]) -> Result<Vec<String>> {
    let absolute = |text: &String| match text.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            let source = absolute("--volume", text, source)?;
            Ok(format!("{source}:{rest}"))
        }
        _ => Ok(text.clone()),
    };
    volumes.iter().map(absolute).collect()
}

fn absolute(flag: &'static str, text: &str, source: &str) -> Result<String> {
    let path = std::path::absolute(source).map_err(file("resolve", source))?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(Error::flag(flag, text, "is not UTF-8")),
    }
}

/// `TARGET[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> (String, String) {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    (target.to_owned(), options.to_owned())
}

/// `--mount type=...,source=...,target=...`.
///
/// # Errors
/// A word that is not known, or that the type does not have.
pub(super) fn mount(text: &str) -> Result<MountRequest> {
    let bad = |problem: String| Error::flag("--mount", text, problem);
    let (mut typ, mut source, mut target) = ("volume", "", "");
    let (mut read_only, mut propagation) = (false, String::new());
    let (mut size, mut mode) = (None, None);
    let mut no_copy = false;
    let mut recursive = BindRecursive::Enabled;
    for word in text.split(',') {
        let (key, value) = word.split_once('=').unwrap_or((word, "true"));
        match key {
            "type" => typ = value,
            "source" | "src" => source = value,
            "target" | "destination" | "dst" => target = value,
            "readonly" | "ro" => read_only = value == "true" || value == "1",
            "volume-nocopy" => no_copy = value == "true" || value == "1",
            // Caching was for Docker Desktop; and what is missing is told by either flag.
            "consistency" if ["consistent", "cached", "delegated", "default"].contains(&value) => {}
            "volume-driver" if value == "local" => {}
            "bind-propagation" => value.clone_into(&mut propagation),
            "bind-recursive" => {
                recursive = BindRecursive::from_name(value).ok_or_else(|| {
                    bad(format!(
                        "bind-recursive {value:?} must be one of enabled, disabled, writable, readonly"
                    ))
                })?;
            }
            // The older name of bind-recursive=disabled.
            "bind-nonrecursive" if matches!(value, "true" | "1") => {
                recursive = BindRecursive::Disabled;
            }
            "tmpfs-size" => size = Some(bytes("--mount tmpfs-size", value)?.unsigned_abs()),
            "tmpfs-mode" => mode = Some(value.to_owned()),
            _ => return Err(bad(format!("unknown or unsupported option {key:?}"))),
        }
    }
    let source = match typ {
        "bind" => {
            // As Docker, also relative to the working directory if it begins with a dot.
            if !source.starts_with('/') && !source.starts_with('.') {
                return Err(bad("the source of a bind must be a path".to_owned()));
            }
            // Unlike -v, nothing is made.
            let path = absolute("--mount", text, source)?;
            MountSource::Bind { path, propagation, recursive, create: false }
        }
        "volume" => MountSource::Volume { name: source.to_owned(), no_copy },
        "tmpfs" => MountSource::Tmpfs { size, mode, options: Vec::new() },
        other => {
            return Err(bad(format!("invalid type {other:?}: must be bind, volume or tmpfs")));
        }
    };
    Ok(MountRequest { source, target: target.to_owned(), read_only })
}
