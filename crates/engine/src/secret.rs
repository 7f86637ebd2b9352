//! Secrets: small files that containers get without having them in an image, an environment
//! that `inspect` shows, or a record.
//!
//! ```text
//! <root>/secrets/NAME/secret.json    id, times and labels
//! <root>/secrets/NAME/data           the secret itself, mode 0600
//! <run>/containers/ID/secrets/N      a copy for one container, while it runs
//! ```
//!
//! The copy is in the run directory, which is in memory on most hosts, with the owner and mode that
//! were asked for; it is bound into the container read-only.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::config::{BindRecursive, Config, Mount};
use crate::container::{Container, name, remove_directory};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};

/// The most that a secret has: 500 KiB, as Docker's.
pub const MAX_SIZE: usize = 500 << 10;

/// Where secrets are in a container that says nothing else.
const DIRECTORY: &str = "/run/secrets";

/// A secret, without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339; when it was last given another content.
    pub updated: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `--secret` of `run` and `create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretUse {
    /// The secret's name.
    pub name: String,
    /// A file: its path inside, absolute or below /run/secrets. A variable: its name.
    pub target: String,
    /// Whether it is a variable of the environment.
    pub variable: bool,
    /// The file's owner inside.
    pub uid: u32,
    /// The file's group inside.
    pub gid: u32,
    /// The file's permissions.
    pub mode: u32,
}

impl SecretUse {
    /// Reads `NAME[,type=mount|env][,target=T][,uid=N][,gid=N][,mode=OCTAL]`, as podman's.
    ///
    /// # Errors
    /// What of it cannot be honoured, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let name = first.strip_prefix("source=").or(first.strip_prefix("src=")).unwrap_or(first);
        if name.is_empty() {
            return Err("must begin with the secret's name".to_owned());
        }
        let (mut target, mut variable) = (None, false);
        let (mut uid, mut gid, mut mode) = (0, 0, 0o444);
        let number = |key: &str, value: &str| {
            value.parse::<u32>().map_err(|_| format!("{key} must be a number, not {value:?}"))
        };
        for part in parts {
            match part.split_once('=') {
                Some(("type", "mount")) => variable = false,
                Some(("type", "env")) => variable = true,
                Some(("target", value)) if !value.is_empty() => target = Some(value.to_owned()),
                Some(("uid", value)) => uid = number("uid", value)?,
                Some(("gid", value)) => gid = number("gid", value)?,
                Some(("mode", value)) => {
                    mode = u32::from_str_radix(value, 8)
                        .ok()
                        .filter(|mode| *mode <= 0o777)
                        .ok_or_else(|| format!("mode must be octal, at most 777, not {value:?}"))?;
                }
                _ => {
                    return Err(format!(
                        "{part:?}: must be type=mount or env, target, uid, gid or mode"
                    ));
                }
            }
        }
        let target = target.unwrap_or_else(|| name.to_owned());
        if target.split('/').any(|part| part == "..") || (variable && target.contains('=')) {
            return Err(format!("target {target:?} is not valid"));
        }
        Ok(Self { name: name.to_owned(), target, variable, uid, gid, mode })
    }

    fn path(&self) -> String {
        match self.target.starts_with('/') {
            true => self.target.clone(),
            false => format!("{DIRECTORY}/{}", self.target),
        }
    }
}

fn directory(home: &Home) -> PathBuf {
    home.root.join("secrets")
}

fn missing(name: &str) -> Error {
    Error::other(format_args!("no such secret: {name}"))
}

impl Secret {
    /// Makes a secret; with `replace` one that is there gets the new content and labels.
    ///
    /// # Errors
    /// A malformed name, an empty or too large content, a secret that is there.
    pub fn create(
        home: &Home,
        wanted: &str,
        data: &[u8],
        labels: BTreeMap<String, String>,
        replace: bool,
    ) -> Result<Self> {
        name::validate("secret", wanted)?;
        if data.is_empty() || data.len() > MAX_SIZE {
            return Err(Error::other(format_args!(
                "secret {wanted}: must have 1 to {MAX_SIZE} bytes, and has {}",
                data.len()
            )));
        }
        let at = directory(home).join(wanted);
        let now = crate::clock::timestamp();
        let known = Self::load(&at)?;
        if known.is_some() && !replace {
            return Err(Error::other(format_args!(
                "secret {wanted} exists: --replace gives it a new content"
            )));
        }
        make_directory(&at)?;
        let (id, created) = match known {
            Some(known) => (known.id, known.created),
            None => (name::new_id()?, now.clone()),
        };
        let secret = Self { id, name: wanted.to_owned(), created, updated: now, labels };
        // The record last: without it there is no secret.
        husk_record::write_durably(&at.join("data"), data)?;
        husk_record::write_json_durably(&at.join("secret.json"), &secret)?;
        Ok(secret)
    }

    fn load(at: &Path) -> Result<Option<Self>> {
        Ok(husk_record::read(&at.join("secret.json"))?)
    }

    /// All, by name.
    ///
    /// # Errors
    /// A directory or record that cannot be read.
    pub fn all(home: &Home) -> Result<Vec<Self>> {
        let path = directory(home);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file("list", &path))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            all.extend(Self::load(&entry.map_err(file("list", &path))?.path())?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The secret of a name, or of an id or the beginning of one.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(home: &Home, wanted: &str) -> Result<Self> {
        let mut all = Self::all(home)?;
        if let Some(at) = all.iter().position(|one| one.name == wanted) {
            return Ok(all.swap_remove(at));
        }
        all.retain(|one| !wanted.is_empty() && one.id.starts_with(wanted));
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(missing(wanted)),
        }
    }

    /// Removes a secret. Containers that run keep their copies; they cannot be started again.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(home: &Home, wanted: &str) -> Result<Self> {
        let secret = Self::find(home, wanted)?;
        let at = directory(home).join(&secret.name);
        husk_record::remove(&at.join("secret.json"))?;
        remove_directory(&at)?;
        Ok(secret)
    }

    /// What is secret.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn data(&self, home: &Home) -> Result<Vec<u8>> {
        let path = directory(home).join(&self.name).join("data");
        husk_record::read_bytes(&path)?.ok_or_else(|| missing(&self.name))
    }
}

/// The configuration of a container for its start, with its secrets: files that are bound, and
/// variables.
///
/// # Errors
/// A secret that is not there, a file that cannot be written.
pub(crate) fn provide(home: &Home, container: &Container) -> Result<Config> {
    let mut config = container.record.config.clone();
    let directory = container.run.join("secrets");
    for (number, wanted) in container.record.config.secrets.iter().enumerate() {
        let data = Secret::find(home, &wanted.name)?.data(home)?;
        if wanted.variable {
            let text = String::from_utf8(data).ok().filter(|text| !text.contains('\0'));
            let text = text.ok_or_else(|| {
                Error::other(format_args!("secret {}: is not text for a variable", wanted.name))
            })?;
            config.env.push(format!("{}={text}", wanted.target));
            continue;
        }
        make_directory(&directory)?;
        let path = directory.join(number.to_string());
        husk_record::write(&path, &data)?;
        chown(&path, Some(wanted.uid), Some(wanted.gid)).map_err(file("chown", &path))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wanted.mode))
            .map_err(file("chmod", &path))?;
        config.mounts.push(Mount::Bind {
            source: path.display().to_string(),
            target: wanted.path(),
            read_only: true,
            propagation: String::new(),
            recursive: BindRecursive::default(),
            resolved: String::new(),
        });
    }
    Ok(config)
}

/// Removes a container's copies, those in the description of its process included.
pub(crate) fn discard(container: &Container) {
    let secrets = &container.record.config.secrets;
    if !secrets.is_empty() {
        let _ = remove_directory(&container.run.join("secrets"));
    }
    if secrets.iter().any(|one| one.variable) {
        let _ = std::fs::remove_file(container.run.join("config.json"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_as_they_are_written() {
        let plain = SecretUse::parse("key").unwrap();
        assert_eq!((plain.path().as_str(), plain.mode, plain.uid), ("/run/secrets/key", 0o444, 0));
        let all = SecretUse::parse("key,target=/etc/k,uid=5,gid=6,mode=0400").unwrap();
        assert_eq!((all.path().as_str(), all.mode, all.uid, all.gid), ("/etc/k", 0o400, 5, 6));
        let variable = SecretUse::parse("source=key,type=env,target=KEY").unwrap();
        assert!(variable.variable && variable.target == "KEY" && variable.name == "key");
        for bad in [
            "",
            ",target=x",
            "key,mode=999",
            "key,mode=4755",
            "key,uid=-1",
            "key,colour=red",
            "key,target=../x",
            "key,type=env,target=A=B",
            "key,target=",
        ] {
            assert!(SecretUse::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn made_found_replaced_removed() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home { root: directory.path().join("r"), run: directory.path().join("n") };
        let none = BTreeMap::new;
        let made = Secret::create(&home, "key", b"one", none(), false).unwrap();
        assert!(Secret::create(&home, "key", b"two", none(), false).is_err());
        let again = Secret::create(&home, "key", b"two", none(), true).unwrap();
        assert_eq!(made.id, again.id);
        assert_eq!(Secret::find(&home, &made.id[..12]).unwrap().data(&home).unwrap(), b"two");
        let data = home.root.join("secrets/key/data");
        assert_eq!(std::fs::metadata(data).unwrap().permissions().mode() & 0o777, 0o600);
        for bad in ["../key", "", "a/b"] {
            assert!(Secret::create(&home, bad, b"x", none(), false).is_err(), "{bad:?}");
        }
        assert!(Secret::create(&home, "big", &vec![0; MAX_SIZE + 1], none(), false).is_err());
        Secret::remove(&home, "key").unwrap();
        assert!(Secret::find(&home, "key").is_err());
        assert!(Secret::all(&home).unwrap().is_empty());
    }
}
