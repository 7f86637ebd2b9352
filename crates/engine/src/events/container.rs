//! Events of containers: what their actions have for attributes, and in which order several of
//! them come that are one step of the engine's.

use std::collections::BTreeMap;

use husk_net::Mode;

use super::object::NetworkName;
use super::{Actor, Event, EventType, Journal};
use crate::container::Container;
use crate::container::config::Mount;
use crate::home::Home;
use crate::rootless::is_rootless;

/// Labels are left out of events where they are larger than this together.
const MAX_LABELS: usize = 256 << 10;

/// The event of a container with its labels, image and name, and what its action has beside.
pub(crate) fn event(container: &Container, action: &str, extra: &[(&str, &str)]) -> Event {
    let record = &container.record;
    let labels = &record.config.labels;
    let size: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut attributes = match size <= MAX_LABELS {
        true => labels.clone(),
        false => BTreeMap::new(),
    };
    let own = [("image", record.image.as_str()), ("name", record.name.as_str())];
    for (name, value) in own.iter().chain(extra) {
        attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    let actor = Actor { id: container.id().to_owned(), attributes };
    Event::now(EventType::Container, action, actor)
}

/// Records an event of a container.
pub(crate) fn record(container: &Container, action: &str, extra: &[(&str, &str)]) {
    Journal::of_container(container).record(&[event(container, action, extra)]);
}

/// The same of one that may have been renamed since it was opened, as by its monitor.
pub(crate) fn record_current(container: &Container, action: &str, extra: &[(&str, &str)]) {
    let now = container.reopened();
    record(now.as_ref().unwrap_or(container), action, extra);
}

/// Records what a start does: volumes are mounted, networks connected, the program runs.
pub(crate) fn record_start(home: &Home, container: &Container) {
    let mut events: Vec<Event> = volumes(container).map(mounted(container)).collect();
    let networks = networks(home, container);
    events.extend(networks.iter().map(|network| network.event("connect", container.id())));
    events.push(event(container, "start", &[]));
    Journal::of_container(container).record(&events);
}

/// Records what the end of its program does; the container is as it was at the start.
pub(crate) fn record_end(home: &Home, container: &Container, end: &End) {
    let now = container.reopened();
    let container = now.as_ref().unwrap_or(container);
    let mut events = Vec::new();
    if end.oom_killed {
        events.push(event(container, "oom", &[]));
    }
    let networks = networks(home, container);
    events.extend(networks.iter().map(|network| network.event("disconnect", container.id())));
    events.extend(volumes(container).map(|mount| unmounted(container, mount)));
    let (seconds, code) = (end.seconds.to_string(), end.exit_code.to_string());
    events.push(event(container, "die", &[("execDuration", &seconds), ("exitCode", &code)]));
    Journal::of_container(container).record(&events);
}

/// How a program ended.
pub(crate) struct End {
    pub(crate) exit_code: i32,
    /// How long it ran.
    pub(crate) seconds: u64,
    pub(crate) oom_killed: bool,
}

fn volumes(container: &Container) -> impl Iterator<Item = &Mount> {
    let is_volume = |mount: &&Mount| matches!(mount, Mount::Volume { .. });
    container.record.config.mounts.iter().filter(is_volume)
}

fn of_volume(mount: &Mount, action: &str, attributes: &[(&str, &str)]) -> Event {
    let mut attributes: BTreeMap<_, _> =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    attributes.insert("driver".to_owned(), "local".to_owned());
    let actor = Actor { id: mount.source().to_owned(), attributes };
    Event::now(EventType::Volume, action, actor)
}

fn mounted(container: &Container) -> impl Fn(&Mount) -> Event {
    let id = container.id().to_owned();
    move |mount| {
        let writable = !matches!(mount, Mount::Volume { read_only: true, .. });
        let attributes = [
            ("container", id.as_str()),
            ("destination", mount.target()),
            ("propagation", ""),
            ("read/write", if writable { "true" } else { "false" }),
        ];
        of_volume(mount, "mount", &attributes)
    }
}

fn unmounted(container: &Container, mount: &Mount) -> Event {
    of_volume(mount, "unmount", &[("container", container.id())])
}

/// The networks that a container is on, as far as they are Docker's: none of its own where it
/// shares another's.
fn networks(home: &Home, container: &Container) -> Vec<NetworkName> {
    let Ok(mode) = Mode::parse(&container.record.config.networks, is_rootless()) else {
        return Vec::new();
    };
    let names = match mode {
        Mode::None => vec!["none".to_owned()],
        Mode::Host => vec!["host".to_owned()],
        Mode::Networks(attachments) => attachments.into_iter().map(|one| one.network).collect(),
        Mode::Container(_) | Mode::Pasta => Vec::new(),
    };
    names.iter().filter_map(|name| NetworkName::find(home, name)).collect()
}

impl NetworkName {
    /// The network of a name or id; `None` where there is none.
    pub fn find(home: &Home, name: &str) -> Option<Self> {
        let nets = home.networks().ok()?;
        let built_in = |driver| nets.built_in().into_iter().find(|one| one.driver == driver);
        match name {
            "none" | "host" => {
                let driver = if name == "none" { "null" } else { "host" };
                let id = built_in(driver)?.id;
                Some(Self { id, name: name.to_owned(), driver })
            }
            _ => {
                let network = nets.inspect(name).ok()?;
                Some(Self { id: network.id, name: network.name, driver: "bridge" })
            }
        }
    }
}
