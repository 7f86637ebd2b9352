//! `POST /containers/create`: the body becomes the words of `husk create`, which knows what
//! each of them means and refuses what cannot be honoured. Beside the container's record is kept
//! what was asked for, since clients expect it back as it was.

mod body;
mod words;

use std::path::PathBuf;

use husk_engine::container::Container;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::container::taken;
use crate::call::Call;
use crate::failure::{Failure, Result, with_tag};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};
pub(super) use body::Endpoint;
use body::{Create, HostConfig};
use words::Words;
pub(super) use words::{attachment, refused};

/// `POST /containers/create`.
///
/// # Errors
/// 404 where the image is not there, at which clients pull it; 409 where the name is taken.
pub(crate) async fn create(service: Shared, mut call: Call) -> Result<Reply> {
    let asked: Value = call.json().await?;
    if !asked.is_object() {
        return Err(Failure::invalid("invalid JSON: the body must be an object"));
    }
    let body: Create = serde_json::from_value(asked.clone())
        .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))?;
    let name = call.query.text("name").map(|name| name.strip_prefix('/').unwrap_or(name));
    let name = name.map(str::to_owned);
    let platform = call.query.text("platform").map(str::to_owned);
    let (id, warnings) =
        service.blocking(move |service| make(service, &asked, body, name, platform)).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id, "Warnings": warnings }))
}

fn make(
    service: &Service,
    asked: &Value,
    mut body: Create,
    name: Option<String>,
    platform: Option<String>,
) -> Result<(String, Vec<String>)> {
    if let Some(name) = &name {
        husk_engine::container::name::validate("container", name).map_err(|_| {
            Failure::invalid(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
        })?;
        // Before the image: clients that reuse a name need not have it.
        if let Ok(owner) = Container::find(&service.home, name)
            && owner.record.name == *name
        {
            return Err(taken(service, name));
        }
    }
    let image = body.image.clone().unwrap_or_default();
    if image.is_empty() {
        return Err(Failure::invalid("no image is named: Image is empty"));
    }
    if service.home.images()?.find(&image).is_err() {
        let missing = if is_id(&image) { image.clone() } else { with_tag(&image) };
        return Err(Failure::not_found(format!("No such image: {missing}")));
    }
    if let Some((label, value)) = service.policy.label() {
        let labels = body.labels.get_or_insert_default();
        labels.insert(label.to_owned(), value.unwrap_or_default().to_owned());
    }
    let words = Words::of(body, name.as_deref(), platform.as_deref())?;
    let (printed, warnings) = service.ask(&words.all).map_err(|failure| match &name {
        Some(name) if failure.status == StatusCode::CONFLICT => taken(service, name),
        _ => match failure.message.contains("has no command") {
            true => Failure::invalid("no command specified"),
            false => failure,
        },
    })?;
    let id = printed.trim().to_owned();
    let container = Container::open(&service.home, &id)?;
    husk_record::write_json(&path(&container), asked).map_err(husk_engine::error::Error::from)?;
    Ok((id, warnings))
}

fn is_id(name: &str) -> bool {
    name.starts_with("sha256:")
        || (name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Where what was asked for is kept.
fn path(container: &Container) -> PathBuf {
    container.directory.join("docker.json")
}

/// What was asked for; null of a container that was not made through the API.
pub(super) fn asked(container: &Container) -> Value {
    husk_record::read::<Value>(&path(container)).ok().flatten().unwrap_or_default()
}

/// `POST /containers/{id}/update`.
///
/// # Errors
/// A limit that cannot be honoured.
pub(crate) async fn update(service: Shared, mut call: Call, id: &str) -> Result<Reply> {
    let asked: Value = call.json().await?;
    let body: HostConfig = serde_json::from_value(asked.clone())
        .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))?;
    let mut words = words::of_update(body)?;
    let id = id.to_owned();
    let warnings = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            if words.len() == 1 {
                return Ok(Vec::new());
            }
            words.push(container.id().to_owned());
            let (_, warnings) = service.ask(&words)?;
            let mut kept = self::asked(&container);
            if let (Some(kept), Some(asked)) =
                (kept["HostConfig"].as_object_mut(), asked.as_object())
            {
                let is_given = |value: &Value| !value.is_null() && *value != 0 && *value != "";
                for (name, value) in asked.iter().filter(|(_, value)| is_given(value)) {
                    kept.insert(name.clone(), value.clone());
                }
            }
            if !kept.is_null() {
                husk_record::write_json(&path(&container), &kept)
                    .map_err(husk_engine::error::Error::from)?;
            }
            Ok(warnings)
        })
        .await?;
    reply::json(&json!({ "Warnings": warnings }))
}
