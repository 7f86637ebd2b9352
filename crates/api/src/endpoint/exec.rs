//! Exec sessions: they outlive the client and this server.

use std::sync::Arc;

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::error::{Error, file};
use husk_engine::exec::{self, ExecRecord, ExecRequest, ExecStart, ExecStatus};
use husk_engine::home::Home;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::attach::size;
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};
use crate::stream::client;
use crate::stream::framing::{Origin, frame};
use crate::stream::keys::Keys;
use crate::stream::peer::Peer;
use crate::stream::relay::{self, Source, Wants};

/// The body of `POST /containers/{id}/exec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    user: Option<String>,
    privileged: Option<bool>,
    tty: Option<bool>,
    attach_stdin: Option<bool>,
    detach_keys: Option<String>,
    console_size: Option<(u16, u16)>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    cmd: Option<Vec<String>>,
}

/// The body of `POST /exec/{id}/start`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: Option<bool>,
    tty: Option<bool>,
    console_size: Option<(u16, u16)>,
}

fn not_running(container: &Container) -> Failure {
    Failure::conflict(format!("container {} is not running", container.id()))
}

fn paused(container: &Container) -> Failure {
    let name = &container.record.name;
    Failure::conflict(format!("container {name} is paused, unpause the container before exec"))
}

/// `POST /containers/{id}/exec`.
///
/// # Errors
/// A container that does not run; no command.
pub(crate) async fn create(service: Shared, mut call: Call, id: &str) -> Result<Reply> {
    let body: Create = call.json().await?;
    let tty = body.tty.unwrap_or_default();
    // A mistake in them is told now, and not when they are typed.
    Keys::parse(body.detach_keys.as_deref().filter(|keys| !keys.is_empty()), tty)?;
    let args = body.cmd.unwrap_or_default();
    if args.is_empty() {
        return Err(Failure::invalid("no exec command specified"));
    }
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let request = ExecRequest {
        args,
        env: body.env.unwrap_or_default(),
        working_dir: text(body.working_dir),
        user: text(body.user),
        tty,
        stdin: body.attach_stdin.unwrap_or_default(),
        privileged: body.privileged.unwrap_or_default(),
        size: body.console_size.filter(|(rows, columns)| tty && *rows > 0 && *columns > 0),
        detach_keys: text(body.detach_keys),
    };
    let id = id.to_owned();
    let session = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            exec::create(&container, &request).map_err(|error| match error {
                Error::NotRunning(_) => not_running(&container),
                Error::Paused(_) => paused(&container),
                other => other.into(),
            })
        })
        .await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": session }))
}

/// The container of a session, and what is known of it.
fn find(service: &Service, id: &str) -> Result<(Container, ExecRecord)> {
    let missing = || Failure::from(Error::NoExec(id.to_owned()));
    let container = container_of(&service.home, id)?.ok_or_else(missing)?;
    if !service.sees(&container) {
        return Err(missing());
    }
    let record = exec::inspect(&container, id)?;
    Ok((container, record))
}

fn container_of(home: &Home, id: &str) -> Result<Option<Container>> {
    if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let path = home.run.join("containers");
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(file("list", &path))?,
    };
    for entry in entries.flatten() {
        if entry.path().join("exec").join(format!("{id}.json")).exists() {
            let name = entry.file_name();
            return Ok(Some(Container::open(home, &name.to_string_lossy())?));
        }
    }
    Ok(None)
}

/// `POST /exec/{id}/start`.
///
/// # Errors
/// A session that is not there, or whose container does not run. What fails after that is told
/// in the stream, as Docker does.
pub(crate) async fn start(service: Shared, mut call: Call, id: &str) -> Result<Reply> {
    let body: Start = call.json().await?;
    let (wanted, detach) = (id.to_owned(), body.detach.unwrap_or_default());
    let (container, record, state) = service
        .blocking(move |service| {
            let (container, record) = find(service, &wanted)?;
            let state = container.state()?;
            Ok((container, record, state))
        })
        .await?;
    match state.status {
        Status::Running if state.paused => return Err(paused(&container)),
        Status::Running => {}
        _ => return Err(not_running(&container)),
    }
    let tty = record.tty;
    if body.tty.is_some_and(|asked| asked != tty) && !detach {
        // Docker takes the session's own.
    }
    let start = ExecStart {
        attach: !detach,
        stdin: record.stdin && !detach,
        size: body
            .console_size
            .filter(|(rows, columns)| tty && *rows > 0 && *columns > 0)
            .or(record.size),
    };
    let ran = record.status != ExecStatus::Created;
    let id = record.id.clone();
    let starting = async move {
        if ran {
            let message = format!("exec command {id} has already run");
            return Err(Failure::conflict(message));
        }
        service.blocking(move |_| Ok(exec::start(&container, &id, &start, &mut |_| ())?)).await
    };
    if detach {
        starting.await?;
        return Ok(reply::empty(StatusCode::OK));
    }
    let keys = Keys::parse(record.detach_keys.as_deref(), tty)?;
    let (answer, pending) = client::hijack(&mut call, !tty);
    let active = call.active.clone();
    tokio::spawn(async move {
        let _active = active;
        let started = starting.await;
        let Ok((input, mut output)) = pending.open().await else { return };
        let peer = started.and_then(|attachment| {
            Peer::new(attachment).map_err(|error| Failure::internal(error.to_string()))
        });
        match peer {
            Ok(peer) => {
                let wants = Wants {
                    stdin: start.stdin,
                    stdout: true,
                    stderr: true,
                    framed: !tty,
                    closes: !tty,
                    keys,
                };
                relay::serve(Source::Monitor(Arc::new(peer)), None, input, output, wants).await;
            }
            Err(failure) => {
                let text = format!("{}\r\n", failure.message);
                // As Docker does, in the stream of standard output.
                let _ = output.send(frame(Origin::Stdout, !tty, text.as_bytes())).await;
            }
        }
    });
    Ok(answer)
}

/// `POST /exec/{id}/resize`.
///
/// # Errors
/// A session that is not there or does not run.
pub(crate) async fn resize(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let (rows, columns) = size(&call)?;
    let id = id.to_owned();
    service
        .blocking(move |service| {
            let (container, record) = find(service, &id)?;
            if record.status != ExecStatus::Running {
                return Err(Failure::conflict(format!("exec process {id} is not running")));
            }
            Ok(exec::resize(&container, &id, rows, columns)?)
        })
        .await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /exec/{id}/json`.
///
/// # Errors
/// A session that is not there.
pub(crate) async fn inspect(service: Shared, id: &str) -> Result<Reply> {
    let id = id.to_owned();
    let (container, record) = service.blocking(move |service| find(service, &id)).await?;
    let (program, arguments) = match record.args.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", &[] as &[String]),
    };
    let mut process = json!({
        "tty": record.tty,
        "entrypoint": program,
        "arguments": arguments,
        "privileged": record.privileged,
    });
    if let (false, Some(process)) = (record.user.is_empty(), process.as_object_mut()) {
        process.insert("user".to_owned(), record.user.clone().into());
    }
    reply::json(&json!({
        "ID": record.id,
        "Running": record.status == ExecStatus::Running,
        "ExitCode": record.exit_code,
        "ProcessConfig": process,
        "OpenStdin": record.stdin,
        "OpenStderr": true,
        "OpenStdout": true,
        "CanRemove": false,
        "ContainerID": container.id(),
        "DetachKeys": record.detach_keys.unwrap_or_default(),
        "Pid": record.pid,
    }))
}
