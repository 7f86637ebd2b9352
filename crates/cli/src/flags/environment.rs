//! The environment, labels, and other pairs of NAME=VALUE.

use std::collections::BTreeMap;

use super::Flags;
use crate::error::{Error, Result, file};

impl Flags {
    /// The files', then the flags'.
    pub(super) fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            labels.extend(pairs("--label-file", &lines("read --label-file", path)?, true)?);
        }
        labels.extend(pairs("--label", &self.label, true)?);
        Ok(labels)
    }

    /// The files', then the flags'. A name alone stands for our own value; without one the
    /// container has none either, nor the image's.
    pub(super) fn environment(&self) -> Result<Vec<String>> {
        let mut env = Vec::new();
        let mut set = |entry: &str, flag| {
            let name = entry.split_once('=').map_or(entry, |(name, _)| name);
            if name.is_empty() || entry.contains('\0') {
                return Err(Error::flag(flag, entry, "must be NAME=VALUE"));
            }
            // A file's lines are not a shell's: a space there is a mistake, as Docker says too.
            if flag == "--env-file" && name.contains(char::is_whitespace) {
                return Err(Error::flag(flag, entry, "has a space in its name"));
            }
            env.push(match (entry.contains('='), std::env::var(entry)) {
                (false, Ok(value)) => format!("{entry}={value}"),
                _ => entry.to_owned(),
            });
            Ok(())
        };
        for path in &self.env_file {
            for line in lines("read --env-file", path)? {
                set(&line, "--env-file")?;
            }
        }
        for entry in &self.env {
            set(entry, "--env")?;
        }
        Ok(env)
    }
}

/// The lines of a file but for empty ones and comments.
pub(crate) fn lines(operation: &'static str, path: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(file(operation, path))?;
    let kept = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text.lines().map(str::trim_start).filter(kept).map(str::to_owned).collect())
}

/// NAME=VALUE; with `bare` NAME alone is NAME=.
pub(crate) fn pairs(
    flag: &'static str,
    list: &[String],
    bare: bool,
) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for text in list {
        let pair = match text.split_once('=') {
            Some(pair) if !pair.0.is_empty() => pair,
            None if bare && !text.is_empty() => (text.as_str(), ""),
            _ => return Err(Error::flag(flag, text, "must be NAME=VALUE")),
        };
        map.insert(pair.0.to_owned(), pair.1.to_owned());
    }
    Ok(map)
}
