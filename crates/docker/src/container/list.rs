//! `GET /containers/json`.

use std::collections::BTreeMap;

use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::health::HealthStatus;
use husk_engine::container::state::{State, Status};
use husk_engine::error::Result;
use husk_engine::home::Home;
use husk_net::{Claim, Endpoint};
use serde_json::{Value, json};

use super::inspect::mounts;
use super::network::{endpoint, endpoint_id};
use crate::document::public;

/// How long ago, in Docker's words: `5 minutes`.
fn since(time: &str) -> String {
    let (now, _) = clock::now();
    clock::human(now.saturating_sub(clock::parse(time).unwrap_or(now)))
}

/// `Up 5 minutes`, `Exited (0) 3 seconds ago` and their like.
pub fn status_text(state: &State, health: Option<HealthStatus>) -> String {
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

/// What is read once for all rows of a list.
#[derive(Debug)]
pub struct Lister {
    claims: Vec<Claim>,
    endpoints: Vec<Endpoint>,
    /// Ids of networks by name.
    networks: BTreeMap<String, String>,
}

impl Lister {
    /// Reads the networks and published ports.
    ///
    /// # Errors
    /// Files of the engine that cannot be read.
    pub fn read(home: &Home) -> Result<Self> {
        let nets = home.networks()?;
        let own = nets.list()?.into_iter().map(|network| (network.name, network.id));
        let built_in = nets.built_in().into_iter().map(|one| (one.name.to_owned(), one.id));
        Ok(Self {
            claims: nets.claims(None)?,
            endpoints: nets.endpoints(None)?,
            networks: own.chain(built_in).collect(),
        })
    }

    /// A row of the list; with `size` also what the container and its image have on the disk, in
    /// bytes.
    pub fn row(&self, home: &Home, container: &Container, state: &State, size: bool) -> Value {
        let record = &container.record;
        let config = &record.config;
        // What cannot be read of a container's health is not told.
        let probed = container.health(state).ok().flatten();
        let health = probed.as_ref().map(|health| health.status);
        let mode = config.networks.first().map_or("bridge", |value| husk_net::network_name(value));
        let mut row = json!({
            "Id": record.id,
            "Names": [format!("/{}", record.name)],
            "Image": record.image,
            "ImageID": container.image_id(),
            "Command": config.args.join(" "),
            "Created": clock::parse(&record.created).unwrap_or_default(),
            "Ports": self.ports(container, state),
            "Labels": config.labels,
            "State": state.word(),
            "Status": status_text(state, health),
            "HostConfig": { "NetworkMode": mode },
            "NetworkSettings": { "Networks": self.networks(container) },
            "Mounts": mounts(home, container),
        });
        if let Some(health) = probed {
            // Of API 1.52; older clients pass over what they do not know.
            let (status, streak) = (health.status.name(), health.failing_streak);
            row["Health"] = json!({ "Status": status, "FailingStreak": streak });
        }
        if size {
            let own = husk_engine::usage::changes(container);
            row["SizeRw"] = own.into();
            row["SizeRootFs"] = (own + husk_engine::image::size_of(home, container)).into();
        }
        row
    }

    /// The published ports, and the exposed ones that are not: of what runs.
    pub fn ports(&self, container: &Container, state: &State) -> Vec<Value> {
        if state.status != Status::Running {
            return Vec::new();
        }
        let mut ports = Vec::new();
        for claim in self.claims.iter().filter(|claim| claim.container == container.id()) {
            let hosts = match claim.host_ip {
                None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
                Some(ip) => vec![ip.to_string()],
            };
            ports.extend(hosts.into_iter().map(|host| {
                json!({
                    "IP": host, "PrivatePort": claim.container_port,
                    "PublicPort": claim.host_port, "Type": claim.protocol.to_string(),
                })
            }));
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

    /// The container's networks by name: those it is on, and those it will be on.
    pub fn networks(&self, container: &Container) -> BTreeMap<String, Value> {
        let default = ["bridge".to_owned()];
        let asked: &[String] = match container.record.config.networks.as_slice() {
            [] => &default,
            asked => asked,
        };
        let names = asked.iter().map(|value| husk_net::network_name(value));
        let mut networks = BTreeMap::new();
        for name in names.filter(|name| !name.starts_with("container:")) {
            let mut own = self.endpoints.iter().filter(|one| one.container == container.id());
            let found = own.find(|one| one.network == name);
            let id = self.networks.get(name).cloned().unwrap_or_default();
            let mut shown = public(&endpoint(found));
            if found.is_some() {
                shown["EndpointID"] = endpoint_id(container.id(), &id).into();
            }
            shown["NetworkID"] = id.into();
            networks.insert(name.to_owned(), shown);
        }
        networks
    }
}
