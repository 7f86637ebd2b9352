//! What is mounted: paths of the host, volumes, tmpfs.

use husk_image::facts::Facts;

use super::Flags;
use crate::error::{Error, Result, file};
use husk_engine::container::config::{BindRecursive, Mount};
use husk_engine::container::{Container, name};
use husk_engine::home::Home;

impl Flags {
    pub(super) fn mounts(&self, home: &Home, image: &Facts) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(volume(text)?);
        }
        for text in &self.mount {
            mounts.push(crate::volume::parse_mount(text)?);
        }
        for text in &self.tmpfs {
            let (target, options) = text.split_once(':').unwrap_or((text, ""));
            let options = options.split(',').filter(|one| !one.is_empty()).map(str::to_owned);
            mounts.push(Mount::Tmpfs { target: target.to_owned(), options: options.collect() });
        }
        for index in 0..mounts.len() {
            let target = mounts[index].target().to_owned();
            let Some(plain) = plain(&target) else {
                let problem = "the target must be an absolute path other than /";
                return Err(Error::flag("--volume", target, problem));
            };
            if mounts[..index].iter().any(|other| other.target() == plain) {
                return Err(Error::flag("--volume", target, "duplicate mount target"));
            }
            mounts[index].set_target(plain);
        }
        for text in &self.volumes_from {
            for mount in mounts_of(home, text)? {
                // What is said of a target itself counts.
                if mounts.iter().all(|known| known.target() != mount.target()) {
                    mounts.push(mount);
                }
            }
        }
        for target in &image.volumes {
            if mounts.iter().all(|mount| mount.target() != target) {
                mounts.push(anonymous(target)?);
            }
        }
        Ok(mounts)
    }
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

/// `--volumes-from`: the other's volumes and paths. The anonymous ones stay its own.
fn mounts_of(home: &Home, text: &str) -> Result<Vec<Mount>> {
    let (name, read_only) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw" | "z" | "Z")) => (name, false),
        Some(_) => return Err(Error::flag("--volumes-from", text, "must be CONTAINER[:ro]")),
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

fn anonymous(target: &str) -> Result<Mount> {
    let (name, target) = (name::new_id()?, target.to_owned());
    Ok(Mount::Volume { name, target, read_only: false, anonymous: true, no_copy: false })
}

/// `-v`.
fn volume(text: &str) -> Result<Mount> {
    let bad = |problem: &str| Error::flag("--volume", text, problem);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => return anonymous(target),
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
                return Err(Error::flag("--volume", text, problem));
            }
        }
    }
    let target = target.to_owned();
    if source.starts_with('/') || source.starts_with('.') {
        if no_copy {
            return Err(bad("nocopy is for volumes, and the source is a path"));
        }
        let source = std::path::absolute(source).map_err(file("resolve", source))?;
        let source = source.to_str().ok_or_else(|| bad("is not UTF-8"))?.to_owned();
        if !std::path::Path::new(&source).exists() {
            // As Docker for -v: what is missing becomes a directory.
            std::fs::create_dir_all(&source).map_err(file("make", &source))?;
        }
        return Ok(Mount::Bind {
            source,
            target,
            read_only,
            propagation,
            recursive: BindRecursive::Enabled,
            resolved: String::new(),
        });
    }
    name::validate("volume", source)
        .map_err(|_| bad("the source must be an absolute path or a volume name"))?;
    Ok(Mount::Volume { name: source.to_owned(), target, read_only, anonymous: false, no_copy })
}
