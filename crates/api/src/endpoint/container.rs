//! Containers: what changes them, and what is told of them.

use std::time::Duration;

use husk_engine::changes::{self, Kind};
use husk_engine::checkpoint::{RestoreRequest, restore};
use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::error::{Error, ErrorKind};
use husk_engine::launch::{self, StartRequest};
use husk_engine::remove::{self, RemoveRequest};
use husk_engine::stop::{self, StopRequest};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::checkpoint;
use super::list::{has_label, is_up};
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;
use crate::stream::hub;

fn done() -> Reply {
    reply::empty(StatusCode::NO_CONTENT)
}

fn not_running(container: &Container) -> Failure {
    Failure::conflict(format!("container {} is not running", container.id()))
}

/// `POST /containers/{id}/start`.
///
/// # Errors
/// 304 where it runs; why it could not be started.
pub(crate) async fn start(service: Shared, mut call: Call, id: &str) -> Result<Reply> {
    // Old clients send a HostConfig, which no version since has taken.
    let body = call.bytes().await?;
    if body.len() > 7 {
        return Err(Failure::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    let checkpoint = checkpoint::of_start(&call)?;
    let container = service.find(id).await?;
    let waiters = service.hub.take(container.id());
    let (output, stdin) = hub::wants(&waiters);
    let request = StartRequest { attach: output, stdin, ..StartRequest::default() };
    let begun = service
        .blocking({
            let container = container.clone();
            move |service| {
                if container.state()?.paused {
                    return Ok(Err(Failure::conflict(
                        "cannot start a paused container, try unpause instead",
                    )));
                }
                // Remarks have no place in the answer.
                let home = &service.home;
                let started = match &checkpoint {
                    None => launch::start(home, &container, &request, &mut |_| ()),
                    Some(place) => {
                        let options = RestoreRequest::default();
                        restore(home, &container, place, &options, &request, &mut |_| ())
                    }
                };
                if let (Err(error), true) = (&started, container.record.config.auto_remove)
                    && !matches!(error, Error::Running(_))
                {
                    // Unless another has started it meanwhile.
                    let request = RemoveRequest { force: false, volumes: true };
                    let _ = remove::remove_container(&service.home, &container, &request);
                }
                Ok(match started {
                    Ok(attachment) => Ok(attachment),
                    Err(Error::Running(_)) => Err(Failure::not_modified()),
                    Err(Error::Runtime { message, kind }) => Err(not_started(message, kind)),
                    Err(other) => Err(other.into()),
                })
            }
        })
        .await?;
    match begun {
        Ok(attachment) => {
            hub::hand_on(attachment, waiters);
            Ok(done())
        }
        Err(failure) if failure.status == StatusCode::NOT_MODIFIED => {
            service.hub.give_back(container.id(), waiters);
            Err(failure)
        }
        Err(failure) => {
            hub::tell_failed(waiters, kind_of(&failure), &failure.message).await;
            Err(failure)
        }
    }
}

/// What clients find an exit status by, in the words of runc.
const NO_PROGRAM: &str = "executable file not found";
const NO_PERMISSION: &str = "permission denied";

fn not_started(message: String, kind: ErrorKind) -> Failure {
    let words = match kind {
        ErrorKind::ProgramNotFound if !message.contains("no such file or directory") => {
            Some(format!("{NO_PROGRAM} in $PATH"))
        }
        ErrorKind::NotExecutable if !message.contains(NO_PERMISSION) => {
            Some(NO_PERMISSION.to_owned())
        }
        _ => None,
    };
    let message = match words {
        Some(words) => format!("{message}: {words}"),
        None => message,
    };
    match kind {
        ErrorKind::ProgramNotFound | ErrorKind::NotExecutable => Failure::invalid(message),
        _ => Failure::internal(message),
    }
}

fn kind_of(failure: &Failure) -> ErrorKind {
    if failure.message.contains(NO_PROGRAM) || failure.message.contains("o such file or directory")
    {
        ErrorKind::ProgramNotFound
    } else if failure.message.contains(NO_PERMISSION) {
        ErrorKind::NotExecutable
    } else {
        ErrorKind::Runtime
    }
}

/// `signal` and `t`.
fn stop_request(call: &Call) -> Result<StopRequest> {
    let signal = call.query.text("signal").map(str::to_owned);
    if let Some(signal) = &signal {
        check_signal(signal)?;
    }
    let timeout = match call.query.number::<i64>("t")? {
        None => None,
        // For ever, as far as anyone will wait.
        Some(seconds @ ..0) => {
            let _ = seconds;
            Some(Duration::from_secs(u64::from(u32::MAX)))
        }
        Some(seconds) => Some(Duration::from_secs(seconds.unsigned_abs().min(u64::from(u32::MAX)))),
    };
    Ok(StopRequest { signal, timeout })
}

fn check_signal(signal: &str) -> Result<()> {
    match husk_sys::signal_name::number(signal) {
        Some(_) => Ok(()),
        None => Err(Failure::invalid(format!("invalid signal: {signal}"))),
    }
}

/// `POST /containers/{id}/stop`.
///
/// # Errors
/// 304 where it does not run.
pub(crate) async fn stop(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let (request, id) = (stop_request(&call)?, id.to_owned());
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            if !is_up(&container.state()?) {
                return Err(Failure::not_modified());
            }
            Ok(stop::stop(&service.home, &container, &request)?)
        })
        .await?;
    Ok(done())
}

/// `POST /containers/{id}/restart`.
///
/// # Errors
/// Why it could not be stopped or started.
pub(crate) async fn restart(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let (request, id) = (stop_request(&call)?, id.to_owned());
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            match stop::restart(&service.home, &container, &request, &mut |_| ()) {
                Err(Error::Runtime { message, kind }) => Err(not_started(message, kind)),
                other => Ok(other?),
            }
        })
        .await?;
    Ok(done())
}

/// `POST /containers/{id}/kill`.
///
/// # Errors
/// One that does not run; a signal that is not known.
pub(crate) async fn kill(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let signal = call.query.text("signal").unwrap_or("KILL").to_owned();
    check_signal(&signal)?;
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            stop::kill(&service.home, &container, &signal).map_err(|error| match error {
                Error::NotRunning(_) => Failure::conflict(format!(
                    "cannot kill container: {id}: container {} is not running",
                    container.id()
                )),
                other => other.into(),
            })
        })
        .await?;
    Ok(done())
}

/// `POST /containers/{id}/pause`.
///
/// # Errors
/// One that does not run or is paused.
pub(crate) async fn pause(service: Shared, id: &str) -> Result<Reply> {
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            husk_engine::pause::pause(&service.home, &container).map_err(|error| match error {
                Error::NotRunning(_) => not_running(&container),
                Error::AlreadyPaused(_) => {
                    Failure::conflict(format!("container {} is already paused", container.id()))
                }
                other => other.into(),
            })
        })
        .await?;
    Ok(done())
}

/// `POST /containers/{id}/unpause`.
///
/// # Errors
/// One that is not paused.
pub(crate) async fn unpause(service: Shared, id: &str) -> Result<Reply> {
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let container = service.container(&id)?;
            if !container.state()?.paused {
                let message = format!("container {} is not paused", container.id());
                return Err(Failure::conflict(message));
            }
            Ok(husk_engine::pause::unpause(&service.home, &container)?)
        })
        .await?;
    Ok(done())
}

/// The message that clients know a taken name by.
pub(super) fn taken(service: &crate::service::Service, name: &str) -> Failure {
    let owner = Container::find(&service.home, name);
    let id = owner.map(|owner| owner.record.id).unwrap_or_default();
    Failure::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// `POST /containers/{id}/rename`.
///
/// # Errors
/// A name that is taken, or is none.
pub(crate) async fn rename(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let name = call.query.text("name").unwrap_or_default();
    let name = name.strip_prefix('/').unwrap_or(name).to_owned();
    if name.is_empty() {
        return Err(Failure::invalid("Neither old nor new names may be empty"));
    }
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let mut container = service.container(&id)?;
            if container.record.name == name {
                return Err(Failure::invalid(
                    "Renaming a container with the same name as its current name",
                ));
            }
            husk_engine::container::name::validate("container", &name)
                .map_err(|error| Failure::invalid(error.to_string()))?;
            let _lock = container.lock()?;
            container.rename(&service.home, &name).map_err(|error| match error {
                Error::NameInUse { .. } => taken(service, &name),
                other => other.into(),
            })
        })
        .await?;
    Ok(done())
}

/// `DELETE /containers/{id}`.
///
/// # Errors
/// One that runs, without `force`.
pub(crate) async fn remove(service: Shared, call: Call, id: &str) -> Result<Reply> {
    if call.query.is("link") {
        return Err(Failure::not_implemented("link=1: links are removed with their containers"));
    }
    let request = RemoveRequest { force: call.query.is("force"), volumes: call.query.is("v") };
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let container = match service.container(&id) {
                Ok(container) => container,
                Err(failure) => {
                    // One whose record is damaged is still removed.
                    return match Container::find_damaged(&service.home, &id) {
                        Ok(whole) if request.force && service.policy.label().is_none() => {
                            let home = &service.home;
                            husk_engine::container::sweep::remove_damaged(home, &whole)?;
                            Ok(())
                        }
                        _ => Err(failure),
                    };
                }
            };
            let removed = remove::remove_container(&service.home, &container, &request);
            removed.map_err(|error| match error {
                Error::Running(name) => Failure::conflict(format!(
                    "cannot remove container \"{name}\": container is {}: stop the container \
                     before removing or force remove",
                    match container.state() {
                        Ok(state) if state.paused => "paused",
                        _ => "running",
                    }
                )),
                other => other.into(),
            })
        })
        .await?;
    Ok(done())
}

/// `GET /containers/{id}/top`.
///
/// # Errors
/// One that does not run; options that ps(1) refuses.
pub(crate) async fn top(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let options = call.query.text("ps_args").unwrap_or("-ef");
    let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    let id = id.to_owned();
    let text = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            let listed = husk_engine::top::top(&service.home, &container, &options);
            listed.map_err(|error| match error {
                Error::NotRunning(_) => not_running(&container),
                other => other.into(),
            })
        })
        .await?;
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| fields(line, titles.len())).collect();
    reply::json(&json!({ "Processes": rows, "Titles": titles }))
}

/// The words of a line; what is over belongs to the last, the command.
fn fields(line: &str, count: usize) -> Vec<&str> {
    let mut fields = Vec::with_capacity(count);
    let mut rest = line.trim_start();
    while fields.len() + 1 < count {
        let Some((word, after)) = rest.split_once(char::is_whitespace) else { break };
        fields.push(word);
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        fields.push(rest.trim_end());
    }
    fields
}

/// `GET /containers/{id}/changes`.
///
/// # Errors
/// What cannot be read.
pub(crate) async fn changes(service: Shared, id: &str) -> Result<Reply> {
    let id = id.to_owned();
    let found = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            Ok(changes::of(&service.home, &container)?)
        })
        .await?;
    let kind = |kind| match kind {
        Kind::Changed => 0,
        Kind::Added => 1,
        Kind::Deleted => 2,
    };
    let rows: Vec<_> =
        found.iter().map(|(of, path)| json!({ "Path": path, "Kind": kind(*of) })).collect();
    match rows.is_empty() {
        true => reply::json(&json!(null)),
        false => reply::json(&rows),
    }
}

const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// `POST /containers/prune`: removes those that do not run.
///
/// # Errors
/// A filter that is not known.
pub(crate) async fn prune(service: Shared, call: Call) -> Result<Reply> {
    let filters = call.query.filters(&PRUNE_FILTERS)?;
    let of = |name: &str| filters.get(name).cloned().unwrap_or_default();
    let (with, without, until) = (of("label"), of("label!"), of("until"));
    let mut before = None;
    for text in until {
        let time = clock::instant(&text).or_else(|| clock::seconds(&text));
        let time = time.or_else(|| clock::ago(&text));
        let bad = || Failure::invalid(format!("invalid filter 'until={text}'"));
        before = Some(time.ok_or_else(bad)?);
    }
    let (removed, freed) = service
        .blocking(move |service| {
            let (mut removed, mut freed) = (Vec::new(), 0);
            for container in Container::survey(&service.home)?.0 {
                let labels = &container.record.config.labels;
                let created = clock::instant(&container.record.created);
                if !service.sees(&container)
                    || container.state().is_ok_and(|state| is_up(&state))
                    || !with.iter().all(|label| has_label(labels, label))
                    || without.iter().any(|label| has_label(labels, label))
                    || before.is_some_and(|before| created.is_none_or(|at| at >= before))
                {
                    continue;
                }
                let bytes = husk_engine::usage::tree(&container.directory);
                let request = RemoveRequest { force: false, volumes: false };
                if remove::remove_container(&service.home, &container, &request).is_ok() {
                    removed.push(container.record.id);
                    freed += bytes;
                }
            }
            Ok((removed, freed))
        })
        .await?;
    let removed = if removed.is_empty() { Value::Null } else { json!(removed) };
    reply::json(&json!({ "ContainersDeleted": removed, "SpaceReclaimed": freed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_blanks() {
        assert_eq!(fields("root  12 sh -c  x ", 3), ["root", "12", "sh -c  x"]);
        assert_eq!(fields("root", 3), ["root"]);
        assert!(fields("", 3).is_empty());
    }

    #[test]
    fn a_failed_start_has_the_words_that_clients_look_for() {
        let missing =
            not_started("args[0]: not found in PATH".to_owned(), ErrorKind::ProgramNotFound);
        assert!(missing.message.ends_with(": executable file not found in $PATH"));
        assert_eq!(missing.status, StatusCode::BAD_REQUEST);
        assert_eq!(kind_of(&missing), ErrorKind::ProgramNotFound);
        let refused = not_started("x".to_owned(), ErrorKind::NotExecutable);
        assert_eq!(kind_of(&refused), ErrorKind::NotExecutable);
        assert_eq!(not_started("port".to_owned(), ErrorKind::Runtime).status, 500);
    }
}
