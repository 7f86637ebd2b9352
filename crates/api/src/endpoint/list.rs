//! `GET /containers/json`.

use std::collections::BTreeMap;

use husk_docker::Lister;
use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::health::HealthStatus;
use husk_engine::container::state::{State, Status};
use serde_json::Value;

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
            let lister = Lister::read(&service.home)?;
            let selection = Selection { service, lister: &lister, filters: &filters };
            let mut rows = Vec::new();
            let asks_state = filters.contains_key("status") || filters.contains_key("exited");
            for container in Container::survey(&service.home)?.0 {
                // Being removed.
                let Ok(state) = container.state() else { continue };
                if !service.sees(&container)
                    || (!all && !asks_state && !is_up(&state))
                    || !selection.passes(&container, &state)?
                {
                    continue;
                }
                rows.push(lister.row(&service.home, &container, &state, size));
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
    let lister = Lister::read(&service.home)?;
    let mut rows = Vec::new();
    for container in containers.iter().filter(|one| service.sees(one)) {
        let Ok(state) = container.state() else { continue };
        rows.push(lister.row(&service.home, container, &state, true));
    }
    Ok(rows)
}

/// Which containers are listed.
struct Selection<'a> {
    service: &'a Service,
    lister: &'a Lister,
    filters: &'a Filters,
}

impl Selection<'_> {
    /// Whether a container passes all filters.
    fn passes(&self, container: &Container, state: &State) -> Result<bool> {
        for (name, values) in self.filters {
            let mut any = false;
            for value in values {
                any = self.matches(container, state, name, value)?;
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
        container: &Container,
        state: &State,
        name: &str,
        value: &str,
    ) -> Result<bool> {
        let service = self.service;
        let record = &container.record;
        let config = &record.config;
        let created = |one: &Container| clock::instant(&one.record.created);
        Ok(match name {
            "id" => record.id.starts_with(value),
            "name" => name_matches(&record.name, value),
            "label" => has_label(&config.labels, value),
            "status" => state.word() == value,
            "exited" => state.status == Status::Exited && state.exit_code.to_string() == value,
            "health" => health_of(container, state).map_or("none", HealthStatus::name) == value,
            "ancestor" => is_of_image(service, container, value),
            "before" => created(container) < created(&service.container(value)?),
            "since" => created(container) > created(&service.container(value)?),
            "is-task" => matches!(value, "false" | "0"),
            "isolation" => matches!(value, "default" | ""),
            "network" => self.lister.networks(container).iter().any(|(name, endpoint)| {
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
                self.lister.ports(container, state).iter().any(|one| {
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
    let id = container.image_id();
    let digits = wanted.trim_start_matches("sha256:");
    plain(image) == plain(wanted)
        || (digits.len() >= 3 && id.trim_start_matches("sha256:").starts_with(digits))
        || service
            .home
            .images()
            .and_then(|store| Ok(store.find(wanted)?))
            .is_ok_and(|found| found.id.to_string() == id)
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
