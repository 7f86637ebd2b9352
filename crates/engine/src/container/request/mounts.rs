//! What is mounted: paths of the host, volumes, tmpfs.

use std::path::Path;

use husk_image::facts::Facts;

use super::{ContainerRequest, MountRequest, MountSource};
use crate::container::config::{BindRecursive, Mount};
use crate::container::{Container, name};
use crate::error::{Error, Field, Result, file};
use crate::home::Home;

impl ContainerRequest {
    pub(super) fn mounts(&self, home: &Home, image: &Facts) -> Result<Vec<Mount>> {
        let host = &self.host_config;
        let mut mounts = Vec::new();
        for text in &host.binds {
            mounts.push(resolve(parse_bind(text)?, text)?);
        }
        for mount in &host.mounts {
            mounts.push(resolve(mount.clone(), &mount.target)?);
        }
        for (target, options) in &host.tmpfs {
            let options = options.split(',').filter(|one| !one.is_empty()).map(str::to_owned);
            mounts.push(Mount::Tmpfs { target: target.clone(), options: options.collect() });
        }
        for index in 0..mounts.len() {
            let target = mounts[index].target().to_owned();
            let Some(plain) = plain(&target) else {
                let problem = "the target must be an absolute path other than /";
                return Err(Error::field(Field::Binds, target, problem));
            };
            if mounts[..index].iter().any(|other| other.target() == plain) {
                return Err(Error::field(Field::Binds, target, "duplicate mount target"));
            }
            mounts[index].set_target(plain);
        }
        for text in &host.volumes_from {
            for mount in mounts_of(home, text)? {
                // What is said of a target itself counts.
                if mounts.iter().all(|known| known.target() != mount.target()) {
                    mounts.push(mount);
                }
            }
        }
        for target in &self.volumes {
            let Some(target) = plain(target) else {
                let problem = "the target must be an absolute path other than /";
                return Err(Error::field(Field::Volumes, target, problem));
            };
            add_anonymous(&mut mounts, &target)?;
        }
        for target in &image.volumes {
            add_anonymous(&mut mounts, target)?;
        }
        Ok(mounts)
    }
}

fn add_anonymous(mounts: &mut Vec<Mount>, target: &str) -> Result<()> {
    if mounts.iter().all(|mount| mount.target() != target) {
        let (name, target) = (name::new_id()?, target.to_owned());
        mounts.push(Mount::Volume {
            name,
            target,
            read_only: false,
            anonymous: true,
            no_copy: false,
        });
    }
    Ok(())
}

/// An absolute path without what does not count in it: two that are written otherwise may be
/// the same. `None` for a relative one and for the root.
fn plain(target: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in target.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

/// The other container's volumes and paths. The anonymous ones stay its own.
fn mounts_of(home: &Home, text: &str) -> Result<Vec<Mount>> {
    let (name, read_only) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw" | "z" | "Z")) => (name, false),
        Some(_) => return Err(Error::field(Field::VolumesFrom, text, "must be CONTAINER[:ro]")),
        None => (text, false),
    };
    let mut mounts = Container::find(home, name)?.record.config.mounts;
    mounts.retain(|mount| !matches!(mount, Mount::Tmpfs { .. }));
    for mount in &mut mounts {
        match mount {
            Mount::Volume { read_only: access, anonymous, .. } => {
                (*access, *anonymous) = (*access || read_only, false);
            }
            Mount::Bind { read_only: access, .. } => *access |= read_only,
            Mount::Tmpfs { .. } => {}
        }
    }
    Ok(mounts)
}

/// Reads one of `HostConfig.Binds`, `SOURCE:TARGET[:OPTIONS]` or `TARGET`. The source is as it
/// is written: an absolute path or a volume.
///
/// # Errors
/// [`Field::Binds`].
pub fn parse_bind(text: &str) -> Result<MountRequest> {
    let bad = |problem: &str| Error::field(Field::Binds, text, problem);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        ["", _] | ["", _, _] => return Err(bad("must be SOURCE:TARGET[:OPTIONS]")),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(bad("must be SOURCE:TARGET[:OPTIONS]")),
    };
    let (mut read_only, mut propagation, mut no_copy) = (false, String::new(), false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // SELinux labels: nothing is relabelled where nothing is labelled.
            // Caching was for Docker Desktop.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => no_copy = true,
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => {
                option.clone_into(&mut propagation);
            }
            _ => {
                let problem = format!(
                    "invalid option {option:?}: must be one of ro, rw, z, Z, nocopy, consistent, \
                     cached, delegated, [r]shared, [r]slave, [r]private"
                );
                return Err(Error::field(Field::Binds, text, problem));
            }
        }
    }
    let source = if source.starts_with('/') {
        if no_copy {
            return Err(bad("nocopy is for volumes, and the source is a path"));
        }
        let (path, recursive) = (source.to_owned(), BindRecursive::Enabled);
        MountSource::Bind { path, propagation, recursive, create: true }
    } else {
        MountSource::Volume { name: source.to_owned(), no_copy }
    };
    Ok(MountRequest { source, target: target.to_owned(), read_only })
}

/// `asked` is what the request says, for an error.
fn resolve(request: MountRequest, asked: &str) -> Result<Mount> {
    let MountRequest { source, target, read_only } = request;
    Ok(match source {
        MountSource::Bind { path, propagation, recursive, create } => {
            if !path.starts_with('/') {
                let problem = "the source of a bind must be an absolute path";
                return Err(Error::field(Field::Mounts, asked, problem));
            }
            match create {
                // As Docker for binds: what is missing becomes a directory.
                true if !Path::new(&path).exists() => {
                    std::fs::create_dir_all(&path).map_err(file("make", &path))?;
                }
                true => {}
                false => {
                    std::fs::metadata(&path).map_err(file("stat the mount's source", &path))?;
                }
            }
            let read_only = read_only || recursive == BindRecursive::Readonly;
            let resolved = String::new();
            Mount::Bind { source: path, target, read_only, propagation, recursive, resolved }
        }
        MountSource::Volume { name, no_copy } if name.is_empty() => {
            let name = name::new_id()?;
            Mount::Volume { name, target, read_only, anonymous: true, no_copy }
        }
        MountSource::Volume { name, no_copy } => {
            name::validate("volume", &name).map_err(|error| match asked == target {
                true => error,
                false => {
                    let problem = "the source must be an absolute path or a volume name";
                    Error::field(Field::Binds, asked, problem)
                }
            })?;
            Mount::Volume { name, target, read_only, anonymous: false, no_copy }
        }
        MountSource::Tmpfs { size, mode, options: more } => {
            let mut options = Vec::new();
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode}")));
            options.extend(more);
            if read_only {
                options.push("ro".to_owned());
            }
            Mount::Tmpfs { target, options }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_same_however_it_is_written() {
        assert_eq!(plain("/a//b/./c/../d/").as_deref(), Some("/a/b/d"));
        assert_eq!(plain("/a/.."), None);
        assert_eq!(plain("a"), None);
    }

    #[test]
    fn binds() {
        let read = |text: &str| parse_bind(text).map_err(|error| error.to_string());
        let bind = read("/s:/t:ro,rslave").unwrap();
        assert!(bind.read_only && bind.target == "/t");
        let MountSource::Bind { path, propagation, create: true, .. } = bind.source else {
            panic!("{bind:?}")
        };
        assert_eq!((path.as_str(), propagation.as_str()), ("/s", "rslave"));
        let volume = read("data:/t:nocopy").unwrap().source;
        assert_eq!(volume, MountSource::Volume { name: "data".to_owned(), no_copy: true });
        for bad in ["", ":/t", "a:b:c:d", "/s:/t:nocopy", "/s:/t:what"] {
            let read = read(bad);
            assert!(read.is_err() || bad.is_empty(), "{bad} {read:?}");
        }
    }
}
