//! What happens to containers, images, networks and volumes, as a journal that outlives every
//! process: one JSON object a line, in the words of Docker's events.
//!
//! ```text
//! <root>/events/journal      appended to
//! <root>/events/journal.1    what was the journal before it became too large
//! <root>/events/lock         held while one takes the other's place
//! ```
//!
//! ```json
//! {"type":"container","action":"die","actor":{"id":"4c66...","attributes":{"exitCode":"0",
//!  "image":"bb","name":"c1"}},"timeNano":1796069156900340350}
//! ```
//!
//! Each record is one write(2) to a descriptor with O_APPEND, so records of several processes
//! follow each other whole. A writer takes no lock. One that opened the journal before it was
//! replaced writes to the older file, which readers therefore look at again.
//!
//! A journal that cannot be written loses events and nothing else: no operation fails for it.
//! What a full disk or a power failure leaves of a record is skipped and reported by the reader
//! ([`read`]), and does not touch the records around it.

pub(crate) mod container;
mod filter;
pub(crate) mod object;
mod parse;
mod read;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::container::Container;
use crate::home::{Home, make_directory};
use crate::lock::Lock;

pub use filter::Filters;
pub use object::NetworkName;
pub use parse::Damage;
pub use read::{Entry, EventRequest, read};

/// How large the journal becomes before it is replaced: some 12,000 events. Twice as much is
/// kept on disk.
const LIMIT: u64 = 4 << 20;

/// The name of the journal's file.
const JOURNAL: &str = "journal";
/// The name of the file that has the events before it.
const OLDER: &str = "journal.1";

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// The build cache.
    Builder,
    /// A container.
    Container,
    /// The engine itself.
    Daemon,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl EventType {
    /// As Docker spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Container => "container",
            Self::Daemon => "daemon",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id; a volume's name; the reference of an image that was pulled or pushed.
    pub id: String,
    /// Its labels and name, and what the action has beside.
    pub attributes: BTreeMap<String, String>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What it is about.
    #[serde(rename = "type")]
    pub typ: EventType,
    /// What happened, as Docker spells it: `start`, `exec_create: ls /`.
    pub action: String,
    /// To which object.
    pub actor: Actor,
    /// Nanoseconds since 1970.
    pub time_nano: u64,
}

/// The document that Docker's API and `docker events --format json` have for an event, with the
/// fields in Docker's order.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(rename = "Type")]
    typ: EventType,
    #[serde(rename = "Action")]
    action: &'a str,
    #[serde(rename = "Actor")]
    actor: DocumentActor<'a>,
    scope: &'a str,
    time: u64,
    #[serde(rename = "timeNano")]
    time_nano: u64,
}

#[derive(Debug, Serialize)]
struct DocumentActor<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Attributes")]
    attributes: &'a BTreeMap<String, String>,
}

impl Event {
    /// An event that happens now.
    pub fn now(typ: EventType, action: impl Into<String>, actor: Actor) -> Self {
        let (seconds, nanoseconds) = clock::now();
        let time_nano = seconds.saturating_mul(1_000_000_000) + u64::from(nanoseconds);
        Self { typ, action: action.into(), actor, time_nano }
    }

    /// An attribute; empty where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.actor.attributes.get(name).map_or("", String::as_str)
    }

    /// Seconds and nanoseconds since 1970.
    pub fn time(&self) -> clock::Instant {
        let nanoseconds = u32::try_from(self.time_nano % 1_000_000_000).unwrap_or_default();
        (self.time_nano / 1_000_000_000, nanoseconds)
    }

    /// `status`, `id` and `from`, which Docker's API has below version 1.52 for containers and
    /// images; the latter has no `from`.
    pub fn legacy(&self) -> Option<(&str, &str, Option<&str>)> {
        let from = match self.typ {
            EventType::Container => Some(self.attribute("image")).filter(|from| !from.is_empty()),
            EventType::Image => None,
            _ => return None,
        };
        Some((&self.action, &self.actor.id, from))
    }

    /// The event as a line of Docker's API, without a line feed. With `legacy` it has the
    /// fields of [`Event::legacy`].
    pub fn to_docker_json(&self, legacy: bool) -> String {
        let old = self.legacy().filter(|_| legacy);
        let document = Document {
            status: old.map(|(status, ..)| status),
            id: old.map(|(_, id, _)| id),
            from: old.and_then(|(.., from)| from),
            typ: self.typ,
            action: &self.action,
            actor: DocumentActor { id: &self.actor.id, attributes: &self.actor.attributes },
            scope: "local",
            time: self.time().0,
            time_nano: self.time_nano,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// The journal of one engine.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
    limit: u64,
}

impl Journal {
    /// That of the engine with these directories.
    pub fn of(home: &Home) -> Self {
        Self::in_root(&home.root)
    }

    fn in_root(root: &Path) -> Self {
        Self { directory: root.join("events"), limit: LIMIT }
    }

    /// That of the engine which has the container, whose directory is ROOT/containers/ID.
    pub(crate) fn of_container(container: &Container) -> Self {
        let root = container.directory.parent().and_then(Path::parent);
        Self::in_root(root.unwrap_or(Path::new("/")))
    }

    /// Appends events, in their order and not separated by others.
    pub fn record(&self, events: &[Event]) {
        let mut lines = Vec::new();
        for event in events {
            // A map with text keys has a JSON form.
            if serde_json::to_writer(&mut lines, event).is_ok() {
                lines.push(b'\n');
            }
        }
        if !lines.is_empty() {
            // See the head of this file: nobody fails for what is not recorded.
            let _ = self.append(&lines);
        }
    }

    fn append(&self, lines: &[u8]) -> std::io::Result<()> {
        let mut opened = match self.open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_directory(&self.directory).map_err(std::io::Error::other)?;
                self.open()?
            }
            opened => opened?,
        };
        let meta = opened.metadata()?;
        if !meta.is_file() {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        if meta.len() > 0 && meta.len() + lines.len() as u64 > self.limit {
            self.replace(meta.ino());
            opened = self.open()?;
        }
        // Not write_all: the second half of a record would follow another's. Readers skip
        // what a full disk leaves of one.
        opened.write(lines).map(drop)
    }

    fn open(&self) -> std::io::Result<std::fs::File> {
        // A FIFO would be waited for, and a link leads elsewhere.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags);
        options.open(self.directory.join(JOURNAL))
    }

    /// Puts the journal in the older one's place, unless another has done so.
    fn replace(&self, inode: u64) {
        let Ok(Some(_lock)) = Lock::try_exclusive(&self.directory.join("lock")) else { return };
        let path = self.directory.join(JOURNAL);
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.ino() == inode) {
            let _ = std::fs::rename(&path, self.directory.join(OLDER));
        }
    }
}

#[cfg(test)]
mod tests;
