//! Checkpoints of containers.

use std::path::PathBuf;

use husk_engine::checkpoint::{self, CheckpointRequest, Place};
use husk_engine::error::Error;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;

/// The body of a creation, Docker's `CheckpointCreateOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    #[serde(rename = "CheckpointID")]
    checkpoint_id: String,
    checkpoint_dir: String,
    exit: bool,
}

/// The directory of `CheckpointDir` or `dir`; none where it is empty.
fn directory(text: &str) -> Result<Option<PathBuf>> {
    match text {
        "" => Ok(None),
        // A client does not need the path of the server's directory.
        _ if !text.starts_with('/') => {
            Err(Failure::invalid(format!("checkpoint directory {text:?} must be absolute")))
        }
        _ => Ok(Some(PathBuf::from(text))),
    }
}

/// `POST /containers/{id}/checkpoints`: `CheckpointID`, `CheckpointDir`, `Exit`.
///
/// # Errors
/// 409 for a container that does not run and for a name that is taken; why CRIU could not.
pub(crate) async fn create(service: Shared, mut call: Call, id: &str) -> Result<Reply> {
    let body: Create = call.json().await?;
    let place = Place { directory: directory(&body.checkpoint_dir)?, name: body.checkpoint_id };
    let request =
        CheckpointRequest { place, leave_running: !body.exit, ..CheckpointRequest::default() };
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            checkpoint::create(&service.home, &container, &request).map_err(|error| match error {
                Error::NotRunning(_) => {
                    Failure::conflict(format!("container {} is not running", container.id()))
                }
                other => other.into(),
            })
        })
        .await?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `GET /containers/{id}/checkpoints`: `dir`.
///
/// # Errors
/// A directory that cannot be read.
pub(crate) async fn list(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let directory = directory(call.query.text("dir").unwrap_or_default())?;
    let id = id.to_owned();
    let names = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            Ok(checkpoint::list(&container, directory.as_deref())?)
        })
        .await?;
    let list: Vec<_> = names.iter().map(|name| json!({ "Name": name })).collect();
    reply::json(&list)
}

/// `DELETE /containers/{id}/checkpoints/{checkpoint}`: `dir`.
///
/// # Errors
/// 404 where no checkpoint has the name.
pub(crate) async fn remove(service: Shared, call: Call, id: &str, name: &str) -> Result<Reply> {
    let directory = directory(call.query.text("dir").unwrap_or_default())?;
    let (id, place) = (id.to_owned(), Place { directory, name: name.to_owned() });
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            Ok(checkpoint::remove(&container, &place)?)
        })
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The checkpoint that `POST /containers/{id}/start` names by `checkpoint` and `checkpoint-dir`.
///
/// # Errors
/// A directory that is not absolute or goes without a name.
pub(crate) fn of_start(call: &Call) -> Result<Option<Place>> {
    let directory = directory(call.query.text("checkpoint-dir").unwrap_or_default())?;
    match (call.query.text("checkpoint").filter(|name| !name.is_empty()), directory) {
        (Some(name), directory) => Ok(Some(Place { directory, name: name.to_owned() })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Failure::invalid("checkpoint-dir goes with checkpoint")),
    }
}
