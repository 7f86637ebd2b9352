//! `--filter` of `husk events`, with Docker's rules (moby, daemon/events/filter.go): values of one
//! key are alternatives, and all keys must pass; each label must be there.

use std::collections::BTreeMap;

use super::{Event, EventType};
use crate::error::{Error, Field, Result};

/// The keys that Docker knows.
const KEYS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// The keys whose values are an object's id or name, or the beginning of one.
const OBJECTS: [&str; 9] =
    ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];

/// Filters of events; none let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Filters of keys and values.
    ///
    /// # Errors
    /// A key that Docker does not know.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in pairs {
            if !KEYS.contains(&key) {
                let problem = format!("is not a filter: must be one of {}", KEYS.join(", "));
                return Err(Error::field(Field::Filters, key, problem));
            }
            filters.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(Self(filters))
    }

    fn passes(&self, key: &str, passes: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|value| passes(value)))
    }

    /// Whether an event passes.
    pub fn include(&self, event: &Event) -> bool {
        let name = event.attribute("name");
        let names = |value: &str| event.actor.id.starts_with(value) || name.starts_with(value);
        self.event(event)
            && self.passes("type", |value| value == event.typ.name())
            && self.passes("scope", |value| value == "local")
            && OBJECTS.iter().all(|key| self.passes(key, names))
            && self.passes("image", |value| names_image(value, event))
            && self.labels(&event.actor.attributes)
    }

    /// An action with its arguments is asked for by the word before them.
    fn event(&self, event: &Event) -> bool {
        let Some(values) = self.0.get("event") else { return true };
        let by_beginning = ["health_status", "exec_create", "exec_start"];
        match values.iter().any(|value| by_beginning.contains(&value.as_str())) {
            true => values.iter().any(|value| event.action.starts_with(value.as_str())),
            false => values.contains(&event.action),
        }
    }

    fn labels(&self, attributes: &BTreeMap<String, String>) -> bool {
        let has = |value: &String| match value.split_once('=') {
            Some((name, value)) => attributes.get(name).is_some_and(|known| known == value),
            None => attributes.contains_key(value),
        };
        self.0.get("label").is_none_or(|values| values.iter().all(has))
    }
}

/// With or without the tag, by id or by name.
fn names_image(value: &str, event: &Event) -> bool {
    let attribute = if event.typ == EventType::Image { "name" } else { "image" };
    [event.actor.id.as_str(), event.attribute(attribute)]
        .into_iter()
        .any(|name| value == name || value == without_tag(name))
}

/// A reference without its tag: what follows a colon in its last part.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Actor;

    fn event(typ: EventType, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let actor = Actor { id: id.to_owned(), attributes: attributes.collect() };
        Event { typ, action: action.to_owned(), actor, time_nano: 0 }
    }

    #[test]
    fn as_docker_filters() {
        use EventType::{Container, Image, Network};
        let attributes = [("image", "reg:5000/bb:2"), ("name", "web"), ("tier", "front")];
        let start = event(Container, "start", "abcdef", &attributes);
        let health = event(Container, "health_status: healthy", "abcdef", &attributes);
        let tag = event(Image, "tag", "sha256:12", &[("name", "bb:latest")]);
        let connect = event(Network, "connect", "0123", &[("name", "web_net"), ("type", "bridge")]);
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Pairs<'_>, [bool; 4]); 17] = [
            (&[], [true; 4]),
            (&[("type", "container")], [true, true, false, false]),
            (&[("type", "container"), ("type", "image")], [true, true, true, false]),
            (&[("event", "start")], [true, false, false, false]),
            (&[("event", "health_status")], [false, true, false, false]),
            (&[("event", "health_status"), ("event", "start")], [true, true, false, false]),
            (&[("container", "we")], [true, true, false, true]),
            (&[("container", "abc")], [true, true, false, false]),
            (&[("container", "eb")], [false; 4]),
            (&[("network", "web_net")], [false, false, false, true]),
            (&[("image", "reg:5000/bb")], [true, true, false, false]),
            (&[("image", "reg:5000/bb:2")], [true, true, false, false]),
            (&[("image", "bb")], [false, false, true, false]),
            (&[("label", "tier")], [true, true, false, false]),
            (&[("label", "tier=front"), ("label", "name=web")], [true, true, false, false]),
            (&[("label", "tier=front"), ("label", "x")], [false; 4]),
            (&[("scope", "local"), ("type", "network")], [false, false, false, true]),
        ];
        for (pairs, expected) in cases {
            let filters = Filters::new(pairs.iter().copied()).unwrap();
            let found = [&start, &health, &tag, &connect].map(|event| filters.include(event));
            assert_eq!(found, expected, "{pairs:?}");
        }
        assert!(Filters::new([("colour", "x")]).is_err());
    }
}
