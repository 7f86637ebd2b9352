//! `attach` and `resize` of containers.

use std::sync::Arc;

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::monitor::protocol::{Attachment, Request};
use hyper::StatusCode;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;
use crate::stream::client::{self, Pending};
use crate::stream::framing::{Origin, frame};
use crate::stream::keys::Keys;
use crate::stream::peer::Peer;
use crate::stream::relay::{self, Source, Wants};
use crate::stream::websocket;

/// `POST /containers/{id}/attach`: also before the start.
///
/// # Errors
/// What Docker refuses, before the connection becomes a stream.
pub(crate) async fn attach(service: Shared, call: Call, id: &str) -> Result<Reply> {
    begin(service, call, id, true, |call, framed| Ok(client::hijack(call, framed))).await
}

/// `GET /containers/{id}/attach/ws`: the same in a WebSocket, never framed.
///
/// # Errors
/// As [`attach`]; a request for none.
pub(crate) async fn websocket(service: Shared, call: Call, id: &str) -> Result<Reply> {
    begin(service, call, id, false, |call, _| {
        let (answer, socket) = websocket::accept(call)?;
        Ok((answer, Pending::Socket(socket)))
    })
    .await
}

/// `take` makes the connection a stream; `frames` says whether it may be a framed one.
async fn begin(
    service: Shared,
    mut call: Call,
    id: &str,
    frames: bool,
    take: impl FnOnce(&mut Call, bool) -> Result<(Reply, Pending)>,
) -> Result<Reply> {
    let container = service.find(id).await?;
    let state = service
        .blocking({
            let container = container.clone();
            move |_| Ok(container.state()?)
        })
        .await?;
    if state.paused {
        let id = container.id();
        return Err(Failure::conflict(format!(
            "container {id} is paused, unpause the container before attach"
        )));
    }
    let (config, query) = (&container.record.config, &call.query);
    let wants = Wants {
        stdin: query.is("stdin") && config.interactive,
        stdout: query.is("stdout"),
        stderr: query.is("stderr"),
        framed: frames && !config.tty,
        closes: !config.tty,
        keys: Keys::parse(query.text("detachKeys"), config.tty)?,
    };
    let (streams, logs) = (query.is("stream"), query.is("logs"));
    // Before the answer: what is started after it is attached from the first byte on.
    let source = match (streams, state.status) {
        (false, _) => None,
        (true, Status::Running) => {
            let found = Attachment::connect(&container.run)?;
            let attachment = found.ok_or_else(|| {
                Failure::from(husk_engine::error::Error::NoMonitor(container.record.name.clone()))
            })?;
            let peer = Peer::new(attachment).map_err(|e| Failure::internal(e.to_string()))?;
            let failed = |e: std::io::Error| Failure::internal(e.to_string());
            peer.send(&Request::Attach { stdin: wants.stdin }).await.map_err(failed)?;
            Some(Begun::Runs(peer))
        }
        (true, _) => Some(Begun::Waits(service.hub.wait(container.id(), true, wants.stdin))),
    };
    let (answer, pending) = take(&mut call, wants.framed)?;
    let active = call.active.clone();
    tokio::spawn(async move {
        let _active = active;
        // Nobody to tell: the client is gone.
        let _ = run(&service, &container, pending, source, wants, logs).await;
    });
    Ok(answer)
}

enum Begun {
    Runs(Peer),
    Waits(crate::stream::hub::Waits),
}

async fn run(
    service: &Shared,
    container: &Container,
    pending: Pending,
    source: Option<Begun>,
    wants: Wants,
    logs: bool,
) -> Result<()> {
    let opened = pending.open().await;
    let (input, mut output) = match (opened, source) {
        (Ok(opened), Some(begun)) => {
            let (input, mut output) = opened;
            if logs {
                past(service, container, &wants, &mut output).await?;
            }
            let (source, first) = match begun {
                Begun::Runs(peer) => (Source::Monitor(Arc::new(peer)), None),
                Begun::Waits(waits) => {
                    let attach = Request::Attach { stdin: wants.stdin };
                    tokio::select! {
                        started = relay::started(&service.hub, container, waits, attach) => started,
                        () = output.closed() => return Ok(()),
                    }
                }
            };
            relay::serve(source, first, input, output, wants).await;
            return Ok(());
        }
        (Ok(opened), None) => opened,
        (Err(failure), begun) => {
            if let Some(Begun::Waits(waits)) = begun {
                service.hub.leave(&waits);
            }
            return Err(failure);
        }
    };
    drop(input);
    match logs {
        true => past(service, container, &wants, &mut output).await,
        false => Ok(()),
    }
}

/// `logs=1`: what was written before.
async fn past(
    service: &Shared,
    container: &Container,
    wants: &Wants,
    output: &mut client::Output,
) -> Result<()> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    let container = container.clone();
    let (stdout, stderr, framed) = (wants.stdout, wants.stderr, wants.framed);
    let reading = service.blocking(move |_| {
        let request = husk_engine::logs::LogRequest::default();
        let mut sink = |piece: &husk_engine::logs::Piece| {
            let origin = if piece.stderr { Origin::Stderr } else { Origin::Stdout };
            if (piece.stderr && stderr) || (!piece.stderr && stdout) {
                let bytes = frame(origin, framed, piece.text.as_bytes());
                let gone = |_| husk_engine::error::Error::ConsumerGone;
                sender.blocking_send(bytes).map_err(gone)?;
            }
            Ok(())
        };
        Ok(husk_engine::logs::read(&container, &request, &mut sink)?)
    });
    let writing = async {
        while let Some(bytes) = receiver.recv().await {
            if output.send(bytes).await.is_err() {
                break;
            }
        }
        drop(receiver);
    };
    let (read, ()) = tokio::join!(reading, writing);
    read
}

/// `POST /containers/{id}/resize`.
///
/// # Errors
/// A container that does not run; sizes that are none.
pub(crate) async fn resize(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let (rows, columns) = size(&call)?;
    let container = service.find(id).await?;
    let not_running = || Failure::conflict(format!("Container {} is not running", container.id()));
    let attachment = Attachment::connect(&container.run)?.ok_or_else(not_running)?;
    attachment.send(&Request::Size(rows, columns)).map_err(|_| not_running())?;
    Ok(reply::empty(StatusCode::OK))
}

/// `h` and `w`.
///
/// # Errors
/// What is no number.
pub(super) fn size(call: &Call) -> Result<(u16, u16)> {
    let missing = |name| Failure::invalid(format!("invalid resize {name}: missing"));
    let rows = call.query.number("h")?.ok_or_else(|| missing("height"))?;
    let columns = call.query.number("w")?.ok_or_else(|| missing("width"))?;
    Ok((rows, columns))
}
