//! Events of images, networks, volumes and the build cache.

use std::collections::BTreeMap;

use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Removal};

use super::{Actor, Event, EventType, Journal};
use crate::home::Home;

/// Records what happened to an image; `name` is that in question, and its id where there is none.
pub(crate) fn record_image(home: &Home, action: &str, image: &ImageRecord, name: Option<&str>) {
    let id = image.id.to_string();
    let labels = labels(home, image);
    Journal::of(home).image(action, &id, name.unwrap_or(&id), &labels);
}

/// Records that an image was pulled or pushed, which is about a reference.
pub(crate) fn record_transfer(
    home: &Home,
    action: &str,
    image: &ImageRecord,
    reference: &Reference,
) {
    let labels = labels(home, image);
    let (id, name) = (reference.familiar(), reference.familiar_name());
    Journal::of(home).image(action, &id, &name, &labels);
}

/// Records what a removal did to an image.
pub(crate) fn record_removal(home: &Home, image: &Removed, removals: &[Removal]) {
    for removal in removals {
        let action = match removal {
            Removal::Untagged(_) => "untag",
            Removal::Deleted(_) => "delete",
        };
        Journal::of(home).image(action, &image.id, &image.id, &image.labels);
    }
}

/// What an event says of an image that is there no more.
pub(crate) struct Removed {
    id: String,
    labels: BTreeMap<String, String>,
}

impl Removed {
    pub(crate) fn of(home: &Home, image: &ImageRecord) -> Self {
        Self { id: image.id.to_string(), labels: labels(home, image) }
    }
}

/// The labels of an image; none where they cannot be read.
fn labels(home: &Home, image: &ImageRecord) -> BTreeMap<String, String> {
    let config = home.images().ok().and_then(|store| store.config(image).ok());
    let labels = config.and_then(|config| config.config).and_then(|config| config.labels);
    labels.unwrap_or_default().into_iter().collect()
}

impl Journal {
    /// What happened to an image: `tag`, `untag`, `delete`, `import`, `load`, `save`, `create`, with its
    /// id (`sha256:...`), its labels, and the name in question: that which a tag gives, else the
    /// id.
    pub fn image(&self, action: &str, id: &str, name: &str, labels: &BTreeMap<String, String>) {
        let mut attributes = labels.clone();
        attributes.insert("name".to_owned(), name.to_owned());
        self.object(EventType::Image, action, id, attributes);
    }

    /// A network was made (`create`) or removed (`destroy`).
    pub fn network(&self, action: &str, id: &str, name: &str, driver: &str) {
        self.object(EventType::Network, action, id, network(name, driver));
    }

    /// A container was connected to a network (`connect`) or disconnected from it (`disconnect`).
    pub fn connection(&self, action: &str, network: &NetworkName, container: &str) {
        self.record(&[network.event(action, container)]);
    }

    /// A volume was made (`create`) or removed (`destroy`).
    pub fn volume(&self, action: &str, name: &str) {
        let driver = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        self.object(EventType::Volume, action, name, driver);
    }

    /// Unused objects of a kind were removed, which gave back so many bytes.
    pub fn prune(&self, typ: EventType, reclaimed: u64) {
        let bytes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.object(typ, "prune", "", bytes);
    }

    fn object(&self, typ: EventType, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        self.record(&[Event::now(typ, action, Actor { id: id.to_owned(), attributes })]);
    }
}

fn network(name: &str, driver: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), name.to_owned()), ("type".to_owned(), driver.to_owned())])
}

/// What an event says of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkName {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
}

impl NetworkName {
    pub(super) fn event(&self, action: &str, container: &str) -> Event {
        let mut attributes = network(&self.name, self.driver);
        attributes.insert("container".to_owned(), container.to_owned());
        Event::now(EventType::Network, action, Actor { id: self.id.clone(), attributes })
    }
}
