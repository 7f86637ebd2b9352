//! Events of images, networks, volumes and the build cache.

use std::collections::BTreeMap;

use super::{Actor, Event, EventType, Journal};

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
