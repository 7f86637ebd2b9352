//! `build --secret` and `--ssh`.

use std::path::PathBuf;

use crate::error::{Error, Result, file};
use husk_image::build::Secret;

/// As Docker's: the largest secret in bytes.
const MAX_SECRET: u64 = 500 << 10;

/// Reads what `--secret` means.
pub(super) fn secret(text: &str) -> Result<Secret> {
    let bad = |problem: &str| Error::flag("--secret", text, problem);
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(|| bad("is not KEY=VALUE,..."))?;
        match name {
            "id" => id = Some(value),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            _ => return Err(bad("has a key that is not one of id, src, env, type")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| bad("has no id"))?;
    let by_variable = variable.or(if kind == Some("env") { source.or(Some(id)) } else { None });
    let content = match (by_variable, source) {
        (Some(_), Some(_)) if kind != Some("env") => return Err(bad("has both src and env")),
        (Some(name), _) => {
            let value = std::env::var_os(name);
            let value = value.ok_or_else(|| bad("names a variable that is not set"))?;
            std::os::unix::ffi::OsStringExt::into_vec(value)
        }
        // As Docker does: the variable of that name, or else the file.
        (None, None) if std::env::var_os(id).is_some() => {
            std::env::var_os(id).map(std::os::unix::ffi::OsStringExt::into_vec).unwrap_or_default()
        }
        (None, path) => {
            let path = path.unwrap_or(id);
            let opened = std::fs::File::open(path).map_err(file("open --secret", path))?;
            let mut content = Vec::new();
            std::io::Read::read_to_end(
                &mut std::io::Read::take(opened, MAX_SECRET + 1),
                &mut content,
            )
            .map_err(file("read --secret", path))?;
            content
        }
    };
    if content.len() as u64 > MAX_SECRET {
        return Err(bad("is over the limit of 500 KiB"));
    }
    Ok(Secret { id: id.to_owned(), content })
}

/// Reads what `--ssh` means: `default`, or an id with a socket.
pub(super) fn agent(text: &str) -> Result<(String, PathBuf)> {
    let bad = |problem: &str| Error::flag("--ssh", text, problem);
    let (id, path) = match text.split_once('=') {
        Some((id, path)) => (id, PathBuf::from(path)),
        None => {
            let set = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
            let set = set.ok_or_else(|| bad("needs an agent: SSH_AUTH_SOCK is not set"))?;
            (text, PathBuf::from(set))
        }
    };
    if id.is_empty() {
        return Err(bad("has no id, as in default=/run/agent.sock"));
    }
    let meta = std::fs::metadata(&path).map_err(file("look at --ssh", &path))?;
    if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) {
        return Err(bad("is not an agent's socket; keys are added to one with ssh-add(1)"));
    }
    let path = std::path::absolute(&path).map_err(file("resolve --ssh", &path))?;
    Ok((id.to_owned(), path))
}
