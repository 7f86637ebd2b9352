//! Volumes.

use std::collections::BTreeMap;

use husk_engine::clock;
use husk_engine::container::name;
use husk_engine::volume::{self, Volume};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::create::refused;
use super::list::{has_label, name_matches};
use super::network::until;
use crate::call::{Call, Version};
use crate::failure::{Failure, Result};
use crate::query::Filters;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const LIST_FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];
const PRUNE_FILTERS: [&str; 4] = ["all", "label", "label!", "until"];

/// # Errors
/// Those of the endpoint.
pub(crate) async fn answer(service: Shared, mut call: Call, path: &[&str]) -> Result<Reply> {
    match (call.method.as_str(), path) {
        ("GET", []) => {
            let filters = call.query.filters(&LIST_FILTERS)?;
            let listed = service.blocking(move |service| list(service, &filters)).await?;
            reply::json(&json!({ "Volumes": listed, "Warnings": null }))
        }
        ("POST", ["create"]) => {
            let body: Create = call.json().await?;
            let made = service.blocking(move |service| create(service, body)).await?;
            reply::json_with(StatusCode::CREATED, &made)
        }
        ("POST", ["prune"]) => {
            let filters = call.query.filters(&PRUNE_FILTERS)?;
            // Before, those with names went, too.
            let all = call.version < Version(1, 42);
            let (removed, freed) =
                service.blocking(move |service| prune(service, &filters, all)).await?;
            reply::json(&json!({ "VolumesDeleted": removed, "SpaceReclaimed": freed }))
        }
        ("GET", [name]) => {
            let name = (*name).to_owned();
            let found = service
                .blocking(move |service| {
                    find(service, &name).map(|volume| document(service, &volume))
                })
                .await?;
            reply::json(&found)
        }
        ("DELETE", [name]) => {
            let (name, force) = ((*name).to_owned(), call.query.is("force"));
            let removed = service
                .blocking(move |service| {
                    let volume = find(service, &name)?;
                    Ok(Volume::remove(&service.home, &volume.name)?)
                })
                .await;
            match removed {
                Err(failure) if force && failure.status == StatusCode::NOT_FOUND => {}
                other => other?,
            }
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        ("PUT", [_]) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager: cluster volumes are not supported",
        )),
        _ => Err(Failure::not_found("page not found")),
    }
}

pub(super) fn document(service: &Service, volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": labels(volume),
        "Mountpoint": volume::data(&service.home, &volume.name),
        "Name": volume.name,
        "Options": volume.options(),
        "Scope": "local",
    })
}

/// As Docker marks those that were made for one container.
fn labels(volume: &Volume) -> BTreeMap<String, String> {
    let mut labels = volume.labels.clone();
    if volume.anonymous {
        labels.insert("com.docker.volume.anonymous".to_owned(), String::new());
    }
    labels
}

fn sees(service: &Service, volume: &Volume) -> bool {
    service.policy.label().is_none_or(|(label, value)| {
        let has = volume.labels.get(label);
        has.is_some_and(|has| value.is_none_or(|value| has == value))
    })
}

/// By the whole name, as Docker.
fn find(service: &Service, wanted: &str) -> Result<Volume> {
    let missing = || Failure::from(husk_engine::error::Error::NoVolume(wanted.to_owned()));
    let found = Volume::find(&service.home, wanted)?;
    match found.name == wanted && sees(service, &found) {
        true => Ok(found),
        false => Err(missing()),
    }
}

fn list(service: &Service, filters: &Filters) -> Result<Vec<Value>> {
    let mut listed = Vec::new();
    for volume in Volume::all(&service.home)? {
        if !sees(service, &volume) {
            continue;
        }
        let labels = labels(&volume);
        let used = match filters.contains_key("dangling") {
            true => Volume::user(&service.home, &volume.name)?.is_some(),
            false => false,
        };
        let passes = filters.iter().all(|(filter, values)| {
            let one = |value: &String| match filter.as_str() {
                "name" => name_matches(&volume.name, value),
                "label" => has_label(&labels, value),
                "driver" => value == "local",
                _ => used != matches!(value.as_str(), "true" | "1"),
            };
            match filter.as_str() {
                "label" => values.iter().all(one),
                _ => values.iter().any(one),
            }
        });
        if passes {
            listed.push(document(service, &volume));
        }
    }
    Ok(listed)
}

/// The body of a creation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    cluster_volume_spec: Option<Value>,
}

fn create(service: &Service, body: Create) -> Result<Value> {
    let wanted = body.name.filter(|name| !name.is_empty());
    if let Some(driver) = body.driver.filter(|driver| !matches!(driver.as_str(), "" | "local")) {
        return Err(Failure::not_found(format!(
            "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    if let Some(option) = body.driver_opts.unwrap_or_default().keys().next() {
        return Err(refused(&format!("DriverOpts[{option}]"), "options are not supported"));
    }
    if body.cluster_volume_spec.is_some_and(|spec| !spec.is_null()) {
        return Err(refused("ClusterVolumeSpec", "cluster volumes are not supported"));
    }
    let mut labels = body.labels.unwrap_or_default();
    if let Some((label, value)) = service.policy.label() {
        labels.insert(label.to_owned(), value.unwrap_or_default().to_owned());
    }
    let anonymous = wanted.is_none();
    let name = match wanted {
        Some(name) => name,
        None => name::new_id()?,
    };
    name::validate("volume", &name).map_err(|_| {
        Failure::invalid(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        ))
    })?;
    let made = Volume::create(&service.home, &name, labels, anonymous)?;
    Ok(document(service, &made))
}

fn prune(service: &Service, filters: &Filters, all: bool) -> Result<(Vec<String>, u64)> {
    let of = |name: &str| filters.get(name).cloned().unwrap_or_default();
    let (with, without) = (of("label"), of("label!"));
    let before = until(&of("until"))?;
    let all = all || of("all").iter().any(|value| matches!(value.as_str(), "true" | "1"));
    let (mut removed, mut freed) = (Vec::new(), 0);
    for volume in Volume::all(&service.home)? {
        let labels = labels(&volume);
        let created = clock::instant(&volume.created);
        if !(all || volume.anonymous)
            || volume.damage.is_some()
            || !sees(service, &volume)
            || !with.iter().all(|label| has_label(&labels, label))
            || without.iter().any(|label| has_label(&labels, label))
            || before.is_some_and(|before| created.is_none_or(|at| at >= before))
            || Volume::user(&service.home, &volume.name)?.is_some()
        {
            continue;
        }
        let bytes = husk_engine::usage::tree(&volume::data(&service.home, &volume.name));
        if Volume::remove(&service.home, &volume.name).is_ok() {
            freed += bytes;
            removed.push(volume.name);
        }
    }
    Ok((removed, freed))
}
