//! Named volumes: a directory each.
//!
//! ```text
//! <root>/volumes/.lock              held while one is made or removed
//! <root>/volumes/.removed-ID        one that is being removed
//! <root>/volumes/NAME/data          what containers see
//! <root>/volumes/NAME/lock          held while it is filled
//! <root>/volumes/NAME/filling       there while it is filled, and where that was cut short
//! <root>/volumes/NAME/volume.json   its labels and when it was made
//! ```

mod create;
mod list;
mod prune;
mod usage;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bind_source;
use crate::container::config::Mount;
use crate::container::state::Status;
use crate::container::{Container, name, remove_directory};
use crate::error::{Error, Result, file};
use crate::events::Journal;
use crate::home::{Home, make_directory};
use crate::lock::Lock;

pub use create::{CreateRequest, create};
pub use list::{FILTERS, list};
pub use prune::{PruneRequest, prune};
pub use usage::{VolumeUsage, usage};

/// `volume.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Made for one container, which takes it along when it is removed.
    #[serde(default)]
    pub anonymous: bool,
    /// The host's directory that containers see, where it is not one of the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// Why its record could not be read, where that is so: its data are there all the same,
    /// and labels are lost.
    #[serde(skip)]
    pub damage: Option<String>,
}

/// A directory of the host as a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// `type` as it was given.
    #[serde(rename = "type")]
    pub typ: String,
    /// As it was given.
    pub device: String,
    /// The same without links, as it was when the volume was made.
    pub resolved: String,
    /// With the mounts below it.
    pub recursive: bool,
}

fn directory(home: &Home, name: &str) -> PathBuf {
    home.root.join("volumes").join(name)
}

/// What containers see of it.
pub fn data(home: &Home, name: &str) -> PathBuf {
    directory(home, name).join("data")
}

/// What the name of a volume that is being removed begins with; no volume's does.
const REMOVED: &str = ".removed-";

fn lock(home: &Home) -> Result<Lock> {
    let volumes = home.root.join("volumes");
    make_directory(&volumes)?;
    Ok(Lock::exclusive(&volumes.join(".lock"))?)
}

fn empty(data: &Path) -> Result<()> {
    let opened = std::fs::File::open(data).map_err(file("open", data))?;
    husk_rootfs::remove::content(opened.as_fd()).map_err(file("empty", data))
}

fn no_volume(name: &str) -> Error {
    Error::NoVolume(name.to_owned())
}

impl Volume {
    /// Makes a volume; one that is there stays as it is.
    ///
    /// # Errors
    /// A malformed name, the errno of what failed.
    pub fn create(
        home: &Home,
        wanted: &str,
        labels: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Self> {
        Self::create_bound(home, wanted, labels, anonymous, None)
    }

    /// The options of the driver as they were given.
    pub fn options(&self) -> BTreeMap<String, String> {
        let Some(bound) = &self.bound else { return BTreeMap::new() };
        let how = if bound.recursive { "rbind" } else { "bind" };
        let pairs = [("type", bound.typ.as_str()), ("o", how), ("device", &bound.device)];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// What containers see of it, and whether with the mounts below.
    ///
    /// # Errors
    /// A directory of the host that has gone, or a link that was put in its place.
    pub fn source(home: &Home, wanted: &str) -> Result<(PathBuf, bool)> {
        let volume = Self::find(home, wanted)?;
        match volume.bound {
            None => Ok((data(home, wanted), true)),
            Some(bound) => {
                let path = bind_source::path(&bound.device, &bound.resolved)?;
                Ok((PathBuf::from(path), bound.recursive))
            }
        }
    }

    fn create_bound(
        home: &Home,
        wanted: &str,
        labels: BTreeMap<String, String>,
        anonymous: bool,
        bound: Option<Bound>,
    ) -> Result<Self> {
        name::validate("volume", wanted)?;
        let _lock = lock(home)?;
        if let Some(known) = Self::load(home, wanted)? {
            return Ok(known);
        }
        let data = data(home, wanted);
        make_directory(&directory(home, wanted))?;
        match std::fs::create_dir(&data) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(file("make", &data)(error));
            }
            _ => {}
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&data, mode).map_err(file("chmod", &data))?;
        let created = crate::clock::timestamp();
        let volume =
            Self { name: wanted.to_owned(), created, labels, anonymous, bound, damage: None };
        volume.write(home)?;
        Journal::of(home).volume("create", wanted);
        Ok(volume)
    }

    /// Makes a volume where there is none, and has an empty one filled; other containers
    /// that want it wait for that. Gives its directory.
    ///
    /// # Errors
    /// Those of `fill`, for example a full disk; the volume is then empty as before.
    pub fn prepare(
        home: &Home,
        wanted: &str,
        anonymous: bool,
        fill: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let volume = Self::create(home, wanted, BTreeMap::new(), anonymous)?;
        if volume.bound.is_some() {
            // Nothing is put into a directory of the host's.
            return Ok(Self::source(home, wanted)?.0);
        }
        let (directory, data) = (directory(home, wanted), data(home, wanted));
        let _lock = Lock::exclusive(&directory.join("lock"))?;
        let mark = directory.join("filling");
        if mark.exists() && !Self::is_in_use(home, wanted)? {
            // Who filled it was killed, and no program has seen it.
            empty(&data)?;
        }
        let mut entries = std::fs::read_dir(&data).map_err(file("list", &data))?;
        if entries.next().is_none() {
            std::fs::write(&mark, b"").map_err(file("write", &mark))?;
            fill(&data).or_else(|error| empty(&data).and(Err(error)))?;
        }
        match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", &mark)(error)),
            _ => Ok(data),
        }
    }

    fn is_in_use(home: &Home, wanted: &str) -> Result<bool> {
        let has = |mount: &Mount| matches!(mount, Mount::Volume { name, .. } if name == wanted);
        let mut all = Container::all(home)?;
        all.retain(|container| container.record.config.mounts.iter().any(has));
        Ok(all.iter().any(|one| one.state().is_ok_and(|state| state.status == Status::Running)))
    }

    fn load(home: &Home, wanted: &str) -> Result<Option<Self>> {
        let directory = directory(home, wanted);
        match husk_record::read(&directory.join("volume.json")) {
            Ok(volume) => Ok(volume),
            // The data are what counts, and they are beside it.
            Err(error @ husk_record::Error::Damaged { .. }) => {
                let made = std::fs::metadata(data(home, wanted)).and_then(|meta| meta.modified());
                Ok(Some(Self {
                    name: wanted.to_owned(),
                    created: made.map_or_else(|_| String::new(), crate::clock::timestamp_of),
                    labels: BTreeMap::new(),
                    anonymous: false,
                    bound: None,
                    damage: Some(error.to_string()),
                }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes its record, so that it survives a power failure.
    ///
    /// # Errors
    /// The errno of what failed.
    pub fn write(&self, home: &Home) -> Result<()> {
        let path = directory(home, &self.name).join("volume.json");
        if self.damage.is_some() {
            // What cannot be renamed over, as a directory.
            husk_record::remove(&path)?;
        }
        Ok(husk_record::write_json_durably(&path, self)?)
    }

    /// Finds a volume.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(home: &Home, wanted: &str) -> Result<Self> {
        name::validate("volume", wanted).map_err(|_| no_volume(wanted))?;
        Self::load(home, wanted)?.ok_or_else(|| no_volume(wanted))
    }

    /// All, by name.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn all(home: &Home) -> Result<Vec<Self>> {
        let path = home.root.join("volumes");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file("list", &path)(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.map_err(file("list", &path))?.file_name();
            if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
                all.extend(Self::load(home, name)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The name of a container that has it.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn user(home: &Home, wanted: &str) -> Result<Option<String>> {
        let has = |mount: &Mount| matches!(mount, Mount::Volume { name, .. } if name == wanted);
        let mut all = Container::all(home)?;
        all.retain(|container| container.record.config.mounts.iter().any(has));
        Ok(all.into_iter().next().map(|container| container.record.name))
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// There is none, or a container has it.
    pub fn remove(home: &Home, wanted: &str) -> Result<()> {
        // A container that wants it writes that down before it makes the volume, which takes
        // the lock: so it is seen here, or makes a new one.
        let lock = lock(home)?;
        let volume = Self::find(home, wanted)?;
        if let Some(container) = Self::user(home, &volume.name)? {
            return Err(Error::VolumeInUse { name: volume.name, container });
        }
        let path = directory(home, &volume.name);
        // Gone at once: what is left of a removal that was cut short is no volume, and nothing
        // that the next one of this name would find in it.
        let gone = home.root.join("volumes").join(format!("{REMOVED}{}", name::new_id()?));
        std::fs::rename(&path, &gone).map_err(file("rename", &path))?;
        drop(lock);
        Journal::of(home).volume("destroy", &volume.name);
        remove_directory(&gone)
    }

    /// Removes what removals that were cut short have left; gives its bytes.
    ///
    /// # Errors
    /// A directory that cannot be read or removed.
    pub fn sweep(home: &Home) -> Result<u64> {
        let path = home.root.join("volumes");
        let Ok(entries) = std::fs::read_dir(&path) else { return Ok(0) };
        let mut freed = 0;
        for entry in entries {
            let entry = entry.map_err(file("list", &path))?;
            if entry.file_name().as_encoded_bytes().starts_with(REMOVED.as_bytes()) {
                freed += crate::usage::tree(&entry.path());
                remove_directory(&entry.path())?;
            }
        }
        Ok(freed)
    }
}
