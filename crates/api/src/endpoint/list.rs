//! `GET /containers/json`.

use std::collections::BTreeMap;

use husk_engine::clock;
use husk_engine::container::config::Mount;
use husk_engine::container::health::HealthStatus;
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, Source};
use husk_engine::home::Home;
use husk_net::{Claim, Endpoint};
use serde_json::{Value, json};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::query::Filters;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUS: [&str; 7] =
    ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// # Errors
/// A filter that is not known, or a wrong value of one.
pub(crate) async fn list(service: Shared, call: Call) -> Result<Reply> {
    let filters = call.query.filters(&FILTERS)?;
    for (name, allowed) in [("status", &STATUS[..]), ("health", &HEALTH[..])] {
        for value in filters.get(name).into_iter().flatten() {
            if !allowed.contains(&value.as_str()) {
                return Err(Failure::invalid(format!("invalid filter '{name}={value}'")));
            }
        }
    }
    let limit = call.query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| *limit > 0);
    let (all, size) = (call.query.is("all") || limit.is_some(), call.query.is("size"));
    let rows = service
        .blocking(move |service| {
            let store = Known::read(&service.home)?;
            let mut rows = Vec::new();
            let asks_state = filters.contains_key("status") || filters.contains_key("exited");
            for container in Container::survey(&service.home)?.0 {
                // Being removed.
                let Ok(state) = container.state() else { continue };
                if !service.sees(&container)
                    || (!all && !asks_state && !is_up(&state))
                    || !store.passes(service, &container, &state, &filters)?
                {
                    continue;
                }
                rows.push(store.row(&service.home, &container, &state, size));
                if limit.is_some_and(|limit| rows.len() >= limit) {
                    break;
                }
            }
            Ok(rows)
        })
        .await?;
    reply::json(&rows)
}

/// The rows of `system/df`.
///
/// # Errors
/// Networks that cannot be read.
pub(super) fn usage(service: &Service, containers: &[Container]) -> Result<Vec<Value>> {
    let known = Known::read(&service.home)?;
    let mut rows = Vec::new();
    for container in containers.iter().filter(|one| service.sees(one)) {
        let Ok(state) = container.state() else { continue };
        rows.push(known.row(&service.home, container, &state, true));
    }
    Ok(rows)
}

/// What is read once for all rows.
struct Known {
    claims: Vec<Claim>,
    endpoints: Vec<Endpoint>,
    /// Ids of networks by name.
    networks: BTreeMap<String, String>,
}

impl Known {
    fn read(home: &Home) -> Result<Self> {
        let nets = home.networks()?;
        let own = nets.list()?.into_iter().map(|network| (network.name, network.id));
        let built_in = nets.built_in().into_iter().map(|one| (one.name.to_owned(), one.id));
        Ok(Self {
            claims: nets.claims(None)?,
            endpoints: nets.endpoints(None)?,
            networks: own.chain(built_in).collect(),
        })
    }

    fn row(&self, home: &Home, container: &Container, state: &State, size: bool) -> Value {
        let record = &container.record;
        let config = &record.config;
        let mut row = json!({
            "Id": record.id,
            "Names": [format!("/{}", record.name)],
            "Image": record.image,
            "ImageID": image_id(container),
            "Command": config.args.join(" "),
            "Created": clock::parse(&record.created).unwrap_or_default(),
            "Ports": self.ports(container, state),
            "Labels": config.labels,
            "State": status_word(state),
            "Status": status_text(state, health_of(container, state)),
            "HostConfig": { "NetworkMode": network_mode(container) },
            "NetworkSettings": { "Networks": self.networks_of(container) },
            "Mounts": mounts(home, container),
        });
        if size {
            let own = husk_engine::usage::changes(container);
            let image = || {
                let Source::Image { manifest, .. } = &record.source else { return None };
                let store = home.images().ok()?;
                let record = store.image(manifest).ok()?;
                store.unpacked_size(&record.chain_ids()).ok()
            };
            row["SizeRw"] = own.into();
            row["SizeRootFs"] = (own + image().unwrap_or_default()).into();
        }
        row
    }

    fn ports(&self, container: &Container, state: &State) -> Vec<Value> {
        if state.status != Status::Running {
            return Vec::new();
        }
        let mut ports = Vec::new();
        for claim in self.claims.iter().filter(|claim| claim.container == container.id()) {
            let hosts = match claim.host_ip {
                None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
                Some(ip) => vec![ip.to_string()],
            };
            for host in hosts {
                ports.push(json!({
                    "IP": host, "PrivatePort": claim.container_port,
                    "PublicPort": claim.host_port, "Type": claim.protocol.to_string(),
                }));
            }
        }
        for text in &container.record.config.exposed {
            let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let Ok(port) = port.parse::<u16>() else { continue };
            if !ports.iter().any(|one| one["PrivatePort"] == port && one["Type"] == protocol) {
                ports.push(json!({ "PrivatePort": port, "Type": protocol }));
            }
        }
        ports
    }

    /// The container's networks: those it is on, and those it will be on.
    fn networks_of(&self, container: &Container) -> BTreeMap<String, Value> {
        let default = ["bridge".to_owned()];
        let asked: &[String] = match container.record.config.networks.as_slice() {
            [] => &default,
            asked => asked,
        };
        let names = asked.iter().map(|value| husk_net::network_name(value));
        let mut networks = BTreeMap::new();
        for name in names.filter(|name| !name.starts_with("container:")) {
            let endpoint = self
                .endpoints
                .iter()
                .find(|one| one.container == container.id() && one.network == name);
            networks.insert(name.to_owned(), self.endpoint(container, name, endpoint));
        }
        networks
    }

    fn endpoint(&self, container: &Container, name: &str, endpoint: Option<&Endpoint>) -> Value {
        let (v4, v6) =
            (endpoint.and_then(|e| e.address(false)), endpoint.and_then(|e| e.address(true)));
        let text = |ip: std::net::IpAddr| ip.to_string();
        let id = self.networks.get(name).cloned().unwrap_or_default();
        let half = |id: &str| id.get(..32).unwrap_or_default().to_owned();
        let own = format!("{}{}", half(container.id()), half(&id));
        json!({
            "IPAMConfig": null, "Links": null, "Aliases": null, "DriverOpts": null,
            "GwPriority": 0, "NetworkID": id, "DNSNames": null,
            "EndpointID": if endpoint.is_some() { own } else { String::new() },
            "MacAddress": endpoint.map_or_else(String::new, |e| husk_net::format_mac(e.mac)),
            "IPAddress": v4.map_or_else(String::new, |a| text(a.address)),
            "IPPrefixLen": v4.map_or(0, |a| a.prefix),
            "Gateway": v4.map_or_else(String::new, |a| text(a.gateway)),
            "GlobalIPv6Address": v6.map_or_else(String::new, |a| text(a.address)),
            "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix),
            "IPv6Gateway": v6.map_or_else(String::new, |a| text(a.gateway)),
        })
    }

    /// Values of one filter are or-ed, filters are and-ed.
    fn passes(
        &self,
        service: &Service,
        container: &Container,
        state: &State,
        filters: &Filters,
    ) -> Result<bool> {
        for (name, values) in filters {
            let mut any = false;
            for value in values {
                any = self.matches(service, container, state, name, value)?;
                // Labels are and-ed.
                if any != (name == "label") {
                    break;
                }
            }
            if !any {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn matches(
        &self,
        service: &Service,
        container: &Container,
        state: &State,
        name: &str,
        value: &str,
    ) -> Result<bool> {
        let record = &container.record;
        let config = &record.config;
        let created = |one: &Container| clock::instant(&one.record.created);
        Ok(match name {
            "id" => record.id.starts_with(value),
            "name" => name_matches(&record.name, value),
            "label" => has_label(&config.labels, value),
            "status" => status_word(state) == value,
            "exited" => state.status == Status::Exited && state.exit_code.to_string() == value,
            "health" => health_of(container, state).map_or("none", HealthStatus::name) == value,
            "ancestor" => is_of_image(service, container, value),
            "before" => created(container) < created(&service.container(value)?),
            "since" => created(container) > created(&service.container(value)?),
            "is-task" => matches!(value, "false" | "0"),
            "isolation" => matches!(value, "default" | ""),
            "network" => self.networks_of(container).iter().any(|(name, endpoint)| {
                name == value
                    || (!value.is_empty()
                        && endpoint["NetworkID"].as_str().is_some_and(|id| id.starts_with(value)))
            }),
            "volume" => {
                config.mounts.iter().any(|one| one.source() == value || one.target() == value)
            }
            "publish" | "expose" => {
                let (port, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
                let (first, last) = port.split_once('-').unwrap_or((port, port));
                let number = |text: &str| {
                    text.parse::<u64>()
                        .map_err(|_| Failure::invalid(format!("invalid filter '{name}={value}'")))
                };
                let range = number(first)?..=number(last)?;
                self.ports(container, state).iter().any(|one| {
                    let of = if name == "publish" { "PublicPort" } else { "PrivatePort" };
                    one["Type"] == protocol && one[of].as_u64().is_some_and(|n| range.contains(&n))
                })
            }
            _ => false,
        })
    }
}

/// As Docker: an expression that may be found anywhere in the name, with or without its slash.
/// Of expressions the marks of beginning and end are known.
pub(super) fn name_matches(name: &str, wanted: &str) -> bool {
    let (from_start, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let (to_end, wanted) = match wanted.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
    match (from_start, to_end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

/// `NAME` or `NAME=VALUE`.
pub(super) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

fn is_of_image(service: &Service, container: &Container, wanted: &str) -> bool {
    let image = &container.record.image;
    let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
    let id = image_id(container);
    let digits = wanted.trim_start_matches("sha256:");
    plain(image) == plain(wanted)
        || (digits.len() >= 3 && id.trim_start_matches("sha256:").starts_with(digits))
        || service
            .home
            .images()
            .and_then(|store| Ok(store.find(wanted)?))
            .is_ok_and(|found| found.id.to_string() == id)
}

pub(super) fn image_id(container: &Container) -> String {
    match &container.record.source {
        Source::Image { id, .. } => id.to_string(),
        Source::Host | Source::Tree => String::new(),
    }
}

fn network_mode(container: &Container) -> String {
    let first = container.record.config.networks.first();
    first.map_or("bridge", |value| husk_net::network_name(value)).to_owned()
}

fn mounts(home: &Home, container: &Container) -> Vec<Value> {
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, propagation, .. } => json!({
            "Type": "bind", "Source": source, "Destination": target, "RW": !read_only,
            "Mode": if *read_only { "ro" } else { "" },
            "Propagation": if propagation.is_empty() { "rprivate" } else { propagation },
        }),
        Mount::Volume { name, target, read_only, .. } => json!({
            "Type": "volume", "Name": name, "Source": husk_engine::volume::data(home, name),
            "Destination": target, "Driver": "local", "RW": !read_only, "Propagation": "",
            "Mode": if *read_only { "ro" } else { "z" },
        }),
        Mount::Tmpfs { target, .. } => json!({
            "Type": "tmpfs", "Source": "", "Destination": target, "Mode": "", "RW": true,
            "Propagation": "",
        }),
    };
    container.record.config.mounts.iter().map(one).collect()
}

pub(super) fn status_word(state: &State) -> &'static str {
    match state.status {
        Status::Created => "created",
        Status::Running if state.paused => "paused",
        Status::Running => "running",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
    }
}

fn since(time: &str) -> String {
    let (now, _) = clock::now();
    clock::human(now.saturating_sub(clock::parse(time).unwrap_or(now)))
}

fn status_text(state: &State, health: Option<HealthStatus>) -> String {
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running if state.paused => format!("Up {} (Paused)", since(&state.started)),
        Status::Running => match health {
            None => format!("Up {}", since(&state.started)),
            Some(HealthStatus::Starting) => {
                format!("Up {} (health: starting)", since(&state.started))
            }
            Some(health) => format!("Up {} ({})", since(&state.started), health.name()),
        },
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished))
        }
        Status::Exited => {
            let when = if state.finished.is_empty() { &state.started } else { &state.finished };
            format!("Exited ({}) {} ago", state.exit_code, since(when))
        }
    }
}

/// Docker's notion of running: also one that waits to be run again.
pub(super) fn is_up(state: &State) -> bool {
    matches!(state.status, Status::Running | Status::Restarting)
}

/// What is known of a container's health; what cannot be read is not told.
fn health_of(container: &Container, state: &State) -> Option<HealthStatus> {
    container.health(state).ok().flatten().map(|health| health.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_docker_finds_them() {
        for (wanted, found) in [
            ("we", true),
            ("^web$", true),
            ("^/web$", true),
            ("/web", true),
            ("^eb", false),
            ("b$", true),
            ("^we$", false),
        ] {
            assert_eq!(name_matches("web", wanted), found, "{wanted}");
        }
        let labels = BTreeMap::from([("a".to_owned(), "b=c".to_owned())]);
        assert!(has_label(&labels, "a") && has_label(&labels, "a=b=c"));
        assert!(!has_label(&labels, "a=b") && !has_label(&labels, "b"));
    }
}
