//! `POST /containers/create` and `update`: the body becomes the engine's request. Beside the
//! container's record is kept what was asked for, since clients expect it back as it was.

use std::path::PathBuf;
use std::sync::Mutex;

use husk_engine::container::request::{ContainerRequest, PullPolicy};
use husk_engine::container::{self, Container};
use husk_engine::error::Error;
use husk_engine::live::{self, UpdateRequest};
use husk_engine::reporter::Reporter;
use husk_image::progress::Event;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::container::taken;
use crate::call::Call;
use crate::failure::{Failure, Result, with_tag};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

/// A field that cannot be honoured.
pub(super) fn refused(field: &str, why: &str) -> Failure {
    Failure::invalid(format!("{field}: {why}"))
}

/// Keeps what the engine says, for the answer.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    fn into_list(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_default()
    }
}

impl Reporter for Warnings {
    fn notice(&self, text: &str) {
        if let Ok(mut list) = self.0.lock() {
            list.push(text.to_owned());
        }
    }

    fn progress(&self, _: Event<'_>) {}
}

/// `POST /containers/create`.
///
/// # Errors
/// 404 where the image is not there, at which clients pull it; 409 where the name is taken.
pub(crate) async fn create(service: Shared, mut call: Call) -> Result<Reply> {
    let mut asked: Value = call.json().await?;
    without_query(&mut asked, &call);
    let mut request = husk_docker::container_request(&asked)?;
    let name = call.query.text("name").map(|name| name.strip_prefix('/').unwrap_or(name));
    request.name = name.unwrap_or_default().to_owned();
    request.platform = call.query.text("platform").map(str::to_owned);
    request.pull = PullPolicy::Never;
    let (id, warnings) = service.blocking(move |service| make(service, &asked, request)).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id, "Warnings": warnings }))
}

/// dockerode sends in the body what it has sent in the query, too.
fn without_query(asked: &mut Value, call: &Call) {
    let Some(asked) = asked.as_object_mut() else { return };
    for name in ["name", "platform"] {
        if asked.get(name).and_then(Value::as_str) == call.query.get(name) {
            asked.remove(name);
        }
    }
}

fn make(
    service: &Service,
    asked: &Value,
    mut request: ContainerRequest,
) -> Result<(String, Vec<String>)> {
    let name = request.name.clone();
    if !name.is_empty() {
        container::name::validate("container", &name).map_err(|_| {
            Failure::invalid(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
        })?;
        // Before the image: clients that reuse a name need not have it.
        if let Ok(owner) = Container::find(&service.home, &name)
            && owner.record.name == name
        {
            return Err(taken(service, &name));
        }
    }
    let image = &request.image;
    if image.is_empty() {
        return Err(Failure::invalid("no image is named: Image is empty"));
    }
    if service.home.images()?.find(image).is_err() {
        let missing = if is_id(image) { image.clone() } else { with_tag(image) };
        return Err(Failure::not_found(format!("No such image: {missing}")));
    }
    if let Some((label, value)) = service.policy.label() {
        request.labels.insert(label.to_owned(), value.unwrap_or_default().to_owned());
    }
    let warnings = Warnings::default();
    let created = container::create(&service.home, &request, &warnings);
    let container = created.map_err(|error| match error {
        Error::NameInUse { .. } => taken(service, &name),
        Error::NoCommand(_) => Failure::invalid("no command specified"),
        error => error.into(),
    })?;
    husk_record::write_json(&path(&container), asked).map_err(Error::from)?;
    Ok((container.id().to_owned(), warnings.into_list()))
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
    let body = husk_docker::update_request(&asked)?;
    let request = UpdateRequest {
        limits: body.limits.checked()?,
        restart_policy: body.restart_policy,
        ..UpdateRequest::default()
    };
    let id = id.to_owned();
    let warnings = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            let warnings = Warnings::default();
            if !request.is_empty() {
                live::update(&service.home, &container, &request, &warnings)?;
                keep(&container, &asked)?;
            }
            Ok(warnings.into_list())
        })
        .await?;
    reply::json(&json!({ "Warnings": warnings }))
}

/// Puts what was changed into what was asked for.
fn keep(container: &Container, changes: &Value) -> Result<()> {
    let mut kept = asked(container);
    if kept.is_null() {
        return Ok(());
    }
    if let (Some(kept), Some(changes)) = (kept["HostConfig"].as_object_mut(), changes.as_object()) {
        let is_given = |value: &Value| !value.is_null() && *value != 0 && *value != "";
        for (name, value) in changes.iter().filter(|(_, value)| is_given(value)) {
            kept.insert(name.clone(), value.clone());
        }
    }
    Ok(husk_record::write_json(&path(container), &kept).map_err(Error::from)?)
}
