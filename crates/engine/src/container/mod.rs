//! Containers as directories: no database, no daemon.
//!
//! ```text
//! <root>/containers/ID/
//!   lock              held while a command changes the container
//!   container.json    what it is: as asked for at create
//!   state.json        how far it is: replaced whole at every change
//!   log.json, log.json.1, ...
//!   upper/ work/      its changes to the image
//!   hosts, hostname, resolv.conf    of the current run
//! <run>/containers/ID/
//!   monitor.lock      held by the monitor as long as that lives
//!   attach.sock       the monitor's socket
//!   config.json, rootfs/    of the current run
//! <root>/container-names/NAME    the id, made with O_EXCL: two cannot have one name
//! ```

pub mod config;
mod create;
pub mod health;
pub mod name;
pub mod request;
pub mod restart;
pub mod state;
pub mod sweep;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use husk_image::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, file};
use crate::events;
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::notice::notice;
use crate::volume::Volume;
use config::{Config, Mount};
pub use create::create;
use state::{State, Status};

/// What a container's root is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// An image of the store.
    Image {
        /// The image id.
        id: Digest,
        /// The manifest's digest: what the store finds it by.
        manifest: Digest,
    },
    /// The root of this machine, below an overlay.
    Host,
    /// A mount of the process that runs a build; it is at `tree` in the run directory.
    Tree,
}

/// What a container is; written at `create`, and by `rename` and `update`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among containers.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// The image as it was asked for.
    pub image: String,
    /// What its root is made of.
    pub source: Source,
    /// How it is to run.
    pub config: Config,
}

/// The id of a container whose record cannot be read, and why.
pub type Damaged = (String, Error);

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it is.
    pub record: Record,
    /// Its directory.
    pub directory: PathBuf,
    /// Its directory of the current run.
    pub run: PathBuf,
}

fn directory_of(home: &Home, id: &str) -> PathBuf {
    home.root.join("containers").join(id)
}

fn names_of(home: &Home) -> PathBuf {
    home.root.join("container-names")
}

impl Container {
    /// Opens a container by its whole id.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn open(home: &Home, id: &str) -> Result<Self> {
        let directory = directory_of(home, id);
        let record: Option<Record> = husk_record::read(&directory.join("container.json"))?;
        let record = record.ok_or_else(|| Error::NoContainer(id.to_owned()))?;
        Ok(Self { record, directory, run: home.run.join("containers").join(id) })
    }

    /// Finds a container by its name, its id or the beginning of its id.
    ///
    /// # Errors
    /// [`Error::NoContainer`]; several whose ids begin so.
    pub fn find(home: &Home, wanted: &str) -> Result<Self> {
        let missing = || Error::NoContainer(wanted.to_owned());
        let plain = wanted.strip_prefix('/').unwrap_or(wanted);
        if plain.is_empty() || plain.starts_with('.') || plain.contains(['/', '\0']) {
            return Err(missing());
        }
        if let Ok(id) = std::fs::read_to_string(names_of(home).join(plain)) {
            match Self::open(home, id.trim()) {
                Err(Error::NoContainer(_)) => {}
                // One whose record is damaged is there all the same.
                found => return found,
            }
        }
        // The file of its name may be lost or damaged.
        if let Some(container) = Self::named(home, plain)? {
            return Ok(container);
        }
        if !plain.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut ids = Self::ids(home)?;
        ids.retain(|id| id.starts_with(plain));
        match ids.as_slice() {
            [] => Err(missing()),
            [id] => Self::open(home, id),
            _ => Err(Error::other(format_args!(
                "container ID prefix {wanted:?} is ambiguous: it matches {} containers",
                ids.len()
            ))),
        }
    }

    /// The container whose record has the name, whatever the file of the name says.
    fn named(home: &Home, name: &str) -> Result<Option<Self>> {
        for id in Self::ids(home)? {
            match Self::open(home, &id) {
                Ok(container) if container.record.name == name => return Ok(Some(container)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The id of the container that `wanted` means and whose record is damaged.
    ///
    /// # Errors
    /// As [`Container::find`]; [`Error::NoContainer`] also where its record can be read.
    pub fn find_damaged(home: &Home, wanted: &str) -> Result<String> {
        match Self::find(home, wanted) {
            Err(Error::Record { path, .. }) => {
                let id = Path::new(&path).parent().and_then(Path::file_name);
                let id = id.and_then(|id| id.to_str()).unwrap_or_default();
                Ok(id.to_owned())
            }
            Err(error) => Err(error),
            Ok(_) => Err(Error::NoContainer(wanted.to_owned())),
        }
    }

    pub(crate) fn ids(home: &Home) -> Result<Vec<String>> {
        let path = home.root.join("containers");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file("list", &path)(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(file("list", &path))?.file_name().into_string();
            ids.extend(name.ok().filter(|name| name.len() == 64));
        }
        Ok(ids)
    }

    /// Every container, the youngest first.
    ///
    /// # Errors
    /// A directory that cannot be read. A malformed record is told and passed over.
    pub fn all(home: &Home) -> Result<Vec<Self>> {
        let (all, damaged) = Self::survey(home)?;
        for (id, error) in damaged {
            let id = name::short(&id);
            notice(format_args!("container {id}: {error}; \"husk rm -f {id}\" removes it"));
        }
        Ok(all)
    }

    /// Every container, the youngest first, and the ids of those whose records cannot be read.
    /// A damaged record must not hide all others.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn survey(home: &Home) -> Result<(Vec<Self>, Vec<Damaged>)> {
        let (mut all, mut damaged) = (Vec::new(), Vec::new());
        for id in Self::ids(home)? {
            match Self::open(home, &id) {
                Ok(container) => all.push(container),
                // Being made, or being removed by another.
                Err(Error::NoContainer(_)) => {}
                Err(error) => damaged.push((id, error)),
            }
        }
        all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        damaged.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((all, damaged))
    }

    /// Makes the directory of a container and takes its name. With `name` empty one is
    /// generated.
    ///
    /// # Errors
    /// [`Error::NameInUse`].
    pub fn create(home: &Home, id: String, name: &str, mut parts: Parts) -> Result<Self> {
        crate::bind_source::resolve_all(&mut parts.config.mounts);
        let directory = directory_of(home, &id);
        make_directory(&directory)?;
        // Held until the record is there: it says that the name is not a dead one's.
        let named = Lock::exclusive(&directory.join("lock"))
            .map_err(Error::from)
            .and_then(|lock| take_name(home, &id, name).map(|name| (lock, name)));
        let (_lock, name) = named.inspect_err(|_| {
            let _ = husk_rootfs::remove::tree(&directory);
        })?;
        let record = Record {
            id: id.clone(),
            name,
            created: crate::clock::timestamp(),
            image: parts.image,
            source: parts.source,
            config: parts.config,
        };
        let run = home.run.join("containers").join(&id);
        let container = Self { record, directory, run };
        // Without a state it is one that was never started. Its volumes are made once it is
        // written down that it has them, so that nobody removes them again.
        let made = container.write().and_then(|()| container.make_volumes(home));
        if let Err(error) = made {
            // What failed is what the person has to see.
            let _ = container.forget(home);
            return Err(error);
        }
        events::container::record(&container, "create", &[]);
        Ok(container)
    }

    /// Makes those of its volumes that are not there; they are filled when it is started.
    fn make_volumes(&self, home: &Home) -> Result<()> {
        for mount in &self.record.config.mounts {
            if let Mount::Volume { name, anonymous, .. } = mount {
                Volume::create(home, name, BTreeMap::new(), *anonymous)?;
            }
        }
        Ok(())
    }

    /// As its record is by now; `None` where that is gone or damaged.
    pub(crate) fn reopened(&self) -> Option<Self> {
        let record = husk_record::read(&self.directory.join("container.json")).ok()??;
        Some(Self { record, directory: self.directory.clone(), run: self.run.clone() })
    }

    /// Whether the file of its name leads to it.
    pub fn has_name(&self, home: &Home) -> bool {
        let path = names_of(home).join(&self.record.name);
        std::fs::read_to_string(path).is_ok_and(|id| id == self.record.id)
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The image's id; empty where there is no image.
    pub fn image_id(&self) -> String {
        match &self.record.source {
            Source::Image { id, .. } => id.to_string(),
            Source::Host | Source::Tree => String::new(),
        }
    }

    /// Writes the record, so that it survives a power failure; that of a `--rm` container
    /// need not, since the container does not.
    ///
    /// # Errors
    /// The errno of what failed.
    pub fn write(&self) -> Result<()> {
        let path = self.directory.join("container.json");
        match self.record.config.auto_remove {
            true => Ok(husk_record::write_json(&path, &self.record)?),
            false => Ok(husk_record::write_json_durably(&path, &self.record)?),
        }
    }

    /// Writes the state. How a container ended survives a power failure. That it runs need not
    /// wait for the disk: whatever a power failure leaves of that is read as what it is then,
    /// the state of a container whose machine was restarted.
    ///
    /// # Errors
    /// The errno of what failed.
    pub fn write_state(&self, state: &State) -> Result<()> {
        let path = self.directory.join("state.json");
        let durably = state.status == Status::Exited && !self.record.config.auto_remove;
        match durably {
            true => Ok(husk_record::write_json_durably(&path, state)?),
            false => Ok(husk_record::write_json(&path, state)?),
        }
    }

    /// Writes the state into the file that is there, for where no other can be made. A
    /// reader may see half of it.
    ///
    /// # Errors
    /// The errno of what failed.
    pub fn overwrite_state(&self, state: &State) -> Result<()> {
        let path = self.directory.join("state.json");
        let record = |source| Error::Record { path: path.display().to_string(), source };
        let bytes = serde_json::to_vec(state).map_err(record)?;
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        let written = opened.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)
        });
        written.map_err(file("write", &path))
    }

    /// The state as it was last written; see [`Container::state`] for what is true. In place
    /// of a damaged one stands what can be seen from outside.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn written_state(&self) -> Result<State> {
        match husk_record::read(&self.directory.join("state.json")) {
            Ok(state) => Ok(state.unwrap_or_default()),
            Err(husk_record::Error::Damaged { path, source }) => {
                let problem = format!("{} was damaged ({source})", path.display());
                Ok(State::seen(self, problem))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the container's lock: no other command changes it meanwhile.
    ///
    /// # Errors
    /// [`Error::NoContainer`] where it was removed while we waited.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.directory.join("lock");
        let gone = || Error::NoContainer(self.record.name.clone());
        if !self.directory.exists() {
            return Err(gone());
        }
        let lock = match Lock::exclusive(&path) {
            // Removed while we waited.
            Err(husk_record::Error::File { source, .. })
                if source.kind() == ErrorKind::NotFound =>
            {
                return Err(gone());
            }
            lock => lock?,
        };
        // A directory is removed with its lock in it: what was locked may be nameless.
        if self.directory.join("container.json").exists() { Ok(lock) } else { Err(gone()) }
    }

    /// The same, unless another has it.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(crate) fn try_lock(&self) -> Result<Option<Lock>> {
        Ok(Lock::try_exclusive(&self.directory.join("lock"))?)
    }

    /// The lock that says that a monitor lives.
    pub fn monitor_lock(&self) -> PathBuf {
        self.run.join("monitor.lock")
    }

    /// The same of a container that is known by its whole id alone.
    pub fn monitor_lock_of(home: &Home, id: &str) -> PathBuf {
        home.run.join("containers").join(id).join("monitor.lock")
    }

    /// Another name. The caller holds the lock.
    ///
    /// # Errors
    /// [`Error::NameInUse`].
    pub fn rename(&mut self, home: &Home, name: &str) -> Result<()> {
        // As it is now that the lock is ours.
        *self = Self::open(home, self.id())?;
        let taken = take_name(home, self.id(), name)?;
        let old = std::mem::replace(&mut self.record.name, taken);
        self.write()?;
        // Docker's names begin with a slash, and here it shows.
        let name = format!("/{old}");
        events::container::record(self, "rename", &[("oldName", &name)]);
        let path = names_of(home).join(old);
        std::fs::remove_file(&path).map_err(file("remove", &path))
    }

    /// Removes the directories and gives the name back; tries every step.
    ///
    /// # Errors
    /// The first that failed: something is left, which `husk system prune` tries again to
    /// remove, but the container is gone.
    pub fn forget(&self, home: &Home) -> Result<()> {
        let renamed = Self::open(home, self.id()).map(|now| now.record.name);
        // The record first: without it the container is gone for everyone.
        let recorded = husk_record::remove(&self.directory.join("container.json"));
        let name = names_of(home).join(renamed.as_ref().unwrap_or(&self.record.name));
        if std::fs::read_to_string(&name).is_ok_and(|id| id == self.record.id) {
            let _ = std::fs::remove_file(&name);
        }
        let ran = remove_directory(&self.run);
        let removed = remove_directory(&self.directory);
        recorded.map_err(Error::from).and(ran).and(removed)
    }
}

/// Removes a directory of the engine's own with all that a container has put there.
///
/// # Errors
/// The errno of what could not be removed.
pub fn remove_directory(path: &Path) -> Result<()> {
    husk_rootfs::remove::tree(path).map_err(file("remove", path))
}

/// Writes the file of a container's name again.
///
/// # Errors
/// [`Error::NameInUse`]: another has taken it.
pub(crate) fn restore_name(home: &Home, container: &Container) -> Result<()> {
    let _lock = container.lock()?;
    make_directory(&names_of(home))?;
    let path = names_of(home).join(&container.record.name);
    match std::fs::read_to_string(&path) {
        // Somebody else's, who lives.
        Ok(owner)
            if Container::open(home, owner.trim()).is_ok_and(|other| {
                other.record.name == container.record.name && other.id() != container.id()
            }) =>
        {
            let id = name::short(owner.trim()).to_owned();
            Err(Error::NameInUse { name: container.record.name.clone(), id })
        }
        _ => {
            if path.is_dir() {
                husk_record::remove(&path)?;
            }
            Ok(husk_record::write_durably(&path, container.id().as_bytes())?)
        }
    }
}

/// Removes the files of names that belong to a container, whatever its record says.
pub(crate) fn forget_names(home: &Home, id: &str) {
    let Ok(entries) = std::fs::read_dir(names_of(home)) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if std::fs::read_to_string(&path).is_ok_and(|owner| owner.trim() == id) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// What [`Container::create`] is told.
#[derive(Debug)]
pub struct Parts {
    /// The image as it was asked for.
    pub image: String,
    /// What its root is made of.
    pub source: Source,
    /// How it is to run.
    pub config: Config,
}

fn take_name(home: &Home, id: &str, wanted: &str) -> Result<String> {
    let names = names_of(home);
    make_directory(&names)?;
    if !wanted.is_empty() {
        name::validate("container", wanted)?;
        return match claim_name(home, &names.join(wanted), id)? {
            None => Ok(wanted.to_owned()),
            Some(owner) => {
                let id = name::short(&owner).to_owned();
                Err(Error::NameInUse { name: wanted.to_owned(), id })
            }
        };
    }
    for attempt in 0..100 {
        let name = name::generated(attempt)?;
        if claim_name(home, &names.join(&name), id)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::other("found no free name in 100 attempts: use --name"))
}

/// Gives the id of who has the name, if another has.
fn claim_name(home: &Home, path: &Path, id: &str) -> Result<Option<String>> {
    // link(2) makes the name appear with its content, and fails where it is there.
    let scratch = path.with_file_name(format!(".{id}"));
    let mut opened = std::fs::File::create(&scratch).map_err(file("create", &scratch))?;
    opened.write_all(id.as_bytes()).map_err(file("write", &scratch))?;
    let claimed = loop {
        match std::fs::hard_link(&scratch, path) {
            Ok(()) => break Ok(None),
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                break Err(file("link", path)(error));
            }
            Err(_) => {}
        }
        let owner = std::fs::read_to_string(path).unwrap_or_default();
        let of_owner = directory_of(home, &owner);
        let lives =
            of_owner.join("container.json").exists() || Lock::is_held(&of_owner.join("lock"));
        if owner.len() == 64 && lives {
            break Ok(Some(owner));
        }
        // The file may be damaged and the name still be somebody's.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(owner) = Container::named(home, name)? {
            break Ok(Some(owner.record.id));
        }
        // Left behind by an engine that was killed between two steps.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                break Err(file("remove", path)(error));
            }
            _ => {}
        }
    };
    let _ = std::fs::remove_file(&scratch);
    claimed
}
