//! `GET /containers/json`.

use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::health::HealthStatus;
use husk_engine::container::state::{State, Status};
use husk_engine::error::Result;
use husk_engine::home::Home;
use husk_net::Claim;
use serde_json::{Value, json};

use super::inspect::mounts;
use super::network::networks;
use crate::document::OMITTED;

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

/// The published ports, and the exposed ones that are not: of what runs.
fn ports(container: &Container, state: &State, claims: &[Claim]) -> Vec<Value> {
    let mut ports = Vec::new();
    for claim in claims {
        let hosts = match claim.host_ip {
            None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
            Some(ip) => vec![ip.to_string()],
        };
        ports.extend(hosts.into_iter().map(|host| {
            json!({
                "IP": host, "PrivatePort": claim.container_port, "PublicPort": claim.host_port,
                "Type": claim.protocol.to_string(),
            })
        }));
    }
    if state.status == Status::Running {
        for text in &container.record.config.exposed {
            let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let Ok(port) = port.parse::<u16>() else { continue };
            let is_published = claims.iter().any(|claim| {
                claim.container_port == port && claim.protocol.to_string() == protocol
            });
            if !is_published {
                ports.push(json!({ "PrivatePort": port, "Type": protocol }));
            }
        }
    }
    ports
}

/// A row of the list: with the published ports of this container, and the bytes of what it has
/// changed and of its image where they were asked for.
///
/// # Errors
/// Files of the engine that cannot be read.
pub fn list_row(
    home: &Home,
    container: &Container,
    state: &State,
    claims: &[Claim],
    sizes: Option<(u64, u64)>,
) -> Result<Value> {
    let record = &container.record;
    let config = &record.config;
    let health = container.health(state)?.map(|health| health.status);
    let network = config.networks.first().map_or("bridge", |value| husk_net::network_name(value));
    let (created, _) = clock::instant(&record.created).unwrap_or_default();
    let mut row = json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name)],
        "Image": record.image,
        "ImageID": container.image_id(),
        "Command": config.args.join(" "),
        "Created": created,
        "Ports": ports(container, state, claims),
        "Labels": config.labels,
        "State": state.word(),
        "Status": status_text(state, health),
        "HostConfig": { "NetworkMode": network },
        "NetworkSettings": { "Networks": networks(&home.networks()?, record)? },
        "Mounts": mounts(home, container),
    });
    match sizes {
        Some((changes, image)) => {
            row["SizeRw"] = changes.into();
            row["SizeRootFs"] = (changes + image).into();
        }
        None => row[OMITTED] = json!({ "SizeRw": 0, "SizeRootFs": 0 }),
    }
    Ok(row)
}
