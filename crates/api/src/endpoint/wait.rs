//! `wait`: the head of the answer goes out at once, since clients start the container when they
//! have seen it; the exit status follows when there is one.

use std::sync::Arc;
use std::time::Duration;

use husk_engine::clock::{self, Instant};
use husk_engine::container::Container;
use husk_engine::container::state::{State, Status};
use husk_engine::events::{self, Entry, EventRequest, Filters, Journal};
use husk_engine::monitor::protocol::{Attachment, Event, Request};
use serde_json::json;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;
use crate::stream::hub::Waits;
use crate::stream::peer::Peer;
use crate::stream::relay::{self, Source};

/// How often is looked whether a container is gone that has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// `POST /containers/{id}/wait`.
///
/// # Errors
/// A container that is not there; a condition that is not known.
pub(crate) async fn wait(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let condition = match call.query.get("condition").unwrap_or_default() {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let container = service.find(id).await?;
    let since = clock::now();
    let watched = container.clone();
    let state = service.blocking(move |_| Ok(watched.state()?)).await?;
    let runs = state.status == Status::Running;
    // Before the answer: the client may start it as soon as it has that.
    let source = match (runs, condition) {
        (true, _) => connect(&container).await.map(|peer| Source::Monitor(Arc::new(peer))),
        (false, Condition::NotRunning) => None,
        (false, _) => Some(Source::Start(service.hub.wait(container.id(), false, false))),
    };
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    tokio::spawn(async move {
        let ended = async {
            let code = end(&service, &container, source, &Before { state, since }).await;
            if condition == Condition::Removed {
                while container.directory.join("container.json").exists() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            code
        };
        tokio::select! {
            code = ended => {
                if let Ok(line) = reply::line(&json!({ "StatusCode": code })) {
                    let _ = sender.send(Ok(line)).await;
                }
            }
            () = sender.closed() => {}
        }
    });
    Ok(answer)
}

async fn connect(container: &Container) -> Option<Peer> {
    let attachment = Attachment::connect(&container.run).ok().flatten()?;
    let peer = Peer::new(attachment).ok()?;
    peer.send(&Request::Wait).await.ok()?;
    Some(peer)
}

/// What there was when the waiting began.
struct Before {
    state: State,
    since: Instant,
}

/// The exit status of the end that is waited for.
async fn end(
    service: &Shared,
    container: &Container,
    source: Option<Source>,
    before: &Before,
) -> i32 {
    match source {
        Some(Source::Monitor(peer)) => match told(Source::Monitor(peer)).await {
            Some(code) => code,
            None => written(service, container, before).await,
        },
        Some(Source::Start(waits)) => begun(service, container, waits, before).await,
        // It does not run, or nobody can be asked.
        None => written(service, container, before).await,
    }
}

/// What the monitor says.
async fn told(mut source: Source) -> Option<i32> {
    loop {
        match relay::receive(&mut source).await? {
            Event::Exited(code) => return Some(code),
            Event::Failed(failure) => return Some(i32::from(failure.kind.program_status())),
            _ => {}
        }
    }
}

/// What is written down when it does not run any more; of one that is gone, what the journal has.
async fn written(service: &Shared, container: &Container, before: &Before) -> i32 {
    let waiting = container.clone();
    let waited = service.blocking(move |_| Ok(husk_engine::stop::wait(&waiting)?)).await;
    match waited {
        Ok(code) => code,
        Err(_) => of_journal(service, container, before).await,
    }
}

/// The exit status of its last end since then, of one that is gone; what it had before where
/// there was none.
async fn of_journal(service: &Shared, container: &Container, before: &Before) -> i32 {
    let (id, since) = (container.id().to_owned(), before.since);
    let read = service.blocking(move |service| {
        let pairs = [("type", "container"), ("event", "die"), ("container", id.as_str())];
        let filters = Filters::new(pairs)?;
        let until = Some(clock::now());
        let request = EventRequest { since: Some(since), until, filters, stop: None };
        let mut code = None;
        events::read(&Journal::of(&service.home), &request, &mut |entry| {
            if let Entry::Event(event) = entry {
                code = event.attribute("exitCode").parse().ok();
            }
            Ok(())
        })?;
        Ok(code)
    });
    read.await.ok().flatten().unwrap_or(before.state.exit_code)
}

/// Waits for one that is to be started, here or by another.
async fn begun(service: &Shared, container: &Container, mut waits: Waits, before: &Before) -> i32 {
    loop {
        tokio::select! {
            event = waits.events.recv() => match event {
                Some(Event::Exited(code)) => return code,
                Some(Event::Failed(failure)) => {
                    return i32::from(failure.kind.program_status());
                }
                Some(_) => continue,
                None => return written(service, container, before).await,
            },
            () = tokio::time::sleep(LOOK * 2) => {}
        }
        // Another may have started it, and it may have ended since.
        let watched = container.clone();
        let now = service.blocking(move |_| Ok(watched.state()?)).await;
        let Ok(now) = now else {
            service.hub.leave(&waits);
            return of_journal(service, container, before).await;
        };
        let has_run = now.started != before.state.started || now.finished != before.state.finished;
        let gone = !container.directory.join("container.json").exists();
        match now.status {
            Status::Running if service.hub.leave(&waits) => {
                return match connect(container).await {
                    Some(peer) => match told(Source::Monitor(Arc::new(peer))).await {
                        Some(code) => code,
                        None => written(service, container, before).await,
                    },
                    None => written(service, container, before).await,
                };
            }
            Status::Exited if has_run && service.hub.leave(&waits) => return now.exit_code,
            _ if gone && service.hub.leave(&waits) => {
                return of_journal(service, container, before).await;
            }
            _ => {}
        }
    }
}
