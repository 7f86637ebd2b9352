//! The environment, labels, and other pairs of NAME=VALUE.

use std::collections::BTreeMap;

use husk_image::facts::Facts;

use super::Flags;
use crate::error::{Error, Result, file};

impl Flags {
    /// The image's, then the files', then the flags'.
    pub(super) fn labels(&self, image: &Facts) -> Result<BTreeMap<String, String>> {
        let mut labels = image.labels.clone();
        for path in &self.label_file {
            labels.extend(pairs("--label-file", &lines("read --label-file", path)?, true)?);
        }
        labels.extend(pairs("--label", &self.label, true)?);
        Ok(labels)
    }

    pub(super) fn environment(&self, image: &Facts) -> Result<Vec<String>> {
        // As Docker's: what is asked for first, then what of the image's it does not replace.
        let mut env: Vec<(String, Option<String>)> = Vec::new();
        let mut set = |entry: &str, flag| {
            let (name, value) = match entry.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                // Our own value; without one the container has none either, nor the image's.
                None => (entry, std::env::var(entry).ok()),
            };
            if name.is_empty() || entry.contains('\0') {
                return Err(Error::flag(flag, entry, "must be NAME=VALUE"));
            }
            // A file's lines are not a shell's: a space there is a mistake, as Docker says too.
            if flag == "--env-file" && name.contains(char::is_whitespace) {
                return Err(Error::flag(flag, entry, "has a space in its name"));
            }
            match env.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = value,
                None => env.push((name.to_owned(), value)),
            }
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
        for (name, value) in &image.env {
            if env.iter().all(|(known, _)| known != name) {
                env.push((name.clone(), Some(value.clone())));
            }
        }
        let set = env.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Ok(set.map(|(name, value)| format!("{name}={value}")).collect())
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
