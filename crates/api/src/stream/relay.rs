//! Between a client and a program, until either has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use husk_engine::container::Container;
use husk_engine::monitor::protocol::{Attachment, Event, MAX_DATA, Request};
use tokio::sync::{mpsc, oneshot};

use super::client::{Input, Output};
use super::framing::{Origin, frame};
use super::hub::{Hub, Waits};
use super::keys::Keys;
use super::peer::Peer;

/// How often is looked whether another has started the container.
const LOOK: Duration = Duration::from_millis(50);

/// Where a program's output comes from.
pub(crate) enum Source {
    /// Its monitor.
    Monitor(Arc<Peer>),
    /// This server, which starts the container.
    Start(Waits),
}

/// Where its input goes.
enum Sink {
    Monitor(Arc<Peer>),
    Start(mpsc::Sender<Request>),
}

impl Source {
    fn sink(&self) -> Sink {
        match self {
            Self::Monitor(peer) => Sink::Monitor(peer.clone()),
            Self::Start(waits) => Sink::Start(waits.requests.clone()),
        }
    }
}

impl Sink {
    async fn send(&self, request: Request) -> bool {
        match self {
            Self::Monitor(peer) => peer.send(&request).await.is_ok(),
            Self::Start(requests) => requests.send(request).await.is_ok(),
        }
    }
}

/// What of a program a client wants.
pub(crate) struct Wants {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Output and errors are kept apart by frames.
    pub(crate) framed: bool,
    /// The program's input ends with the client's.
    pub(crate) closes: bool,
    pub(crate) keys: Keys,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The program has ended.
    Exited,
    /// The keys were typed, or the client is gone.
    Left,
}

/// The next event of a program; `None` where nothing more comes.
pub(crate) async fn receive(source: &mut Source) -> Option<Event> {
    match source {
        Source::Monitor(peer) => peer.receive().await.ok().flatten(),
        Source::Start(waits) => waits.events.recv().await,
    }
}

/// Waits for a container's start. One that another starts is attached to as soon as its monitor
/// listens. `first` is the first event that came meanwhile.
pub(crate) async fn started(
    hub: &Hub,
    container: &Container,
    mut waits: Waits,
    attach: Request,
) -> (Source, Option<Event>) {
    loop {
        tokio::select! {
            event = waits.events.recv() => return (Source::Start(waits), event),
            () = tokio::time::sleep(LOOK) => {}
        }
        let Ok(Some(attachment)) = Attachment::connect(&container.run) else {
            if !container.directory.exists() && hub.leave(&waits) {
                waits.events.close();
                return (Source::Start(waits), None);
            }
            continue;
        };
        if hub.leave(&waits)
            && let Ok(peer) = Peer::new(attachment)
        {
            let _ = peer.send(&attach).await;
            return (Source::Monitor(Arc::new(peer)), None);
        }
    }
}

/// Serves a client until the program ends or the client leaves.
pub(crate) async fn serve(
    mut source: Source,
    first: Option<Event>,
    input: Input,
    mut output: Output,
    wants: Wants,
) -> End {
    let (stdout, stderr, framed) = (wants.stdout, wants.stderr, wants.framed);
    // Apart: a program that does not read must not keep its own output back.
    let (left, mut leaves) = oneshot::channel();
    let typed = tokio::spawn(pass_on(input, source.sink(), wants, left));
    let mut next = first;
    let end = loop {
        let event = match next.take() {
            Some(event) => Some(event),
            None => tokio::select! {
                event = receive(&mut source) => event,
                _ = &mut leaves => break End::Left,
                () = output.closed() => break End::Left,
            },
        };
        let bytes = match event {
            Some(Event::Stdout(data)) if stdout => frame(Origin::Stdout, framed, &data),
            Some(Event::Stderr(data)) if stderr => frame(Origin::Stderr, framed, &data),
            None | Some(Event::Exited(_) | Event::Failed(..)) => break End::Exited,
            Some(_) => continue,
        };
        if output.send(bytes).await.is_err() {
            break End::Left;
        }
    };
    typed.abort();
    end
}

/// Passes the client's input on; without `stdin` it only sees whether the client is there. Says
/// so when the client has typed the keys or is gone.
async fn pass_on(mut input: Input, sink: Sink, mut wants: Wants, left: oneshot::Sender<()>) {
    loop {
        let bytes: Bytes = input.read().await;
        if bytes.is_empty() {
            break;
        }
        if !wants.stdin {
            continue;
        }
        let (passed, leaves) = wants.keys.take(&bytes);
        for part in passed.chunks(MAX_DATA) {
            // The program may have ended: its last output is still to be sent.
            sink.send(Request::Input(part.to_vec())).await;
        }
        if leaves {
            sink.send(Request::Detach).await;
            let _ = left.send(());
            return;
        }
    }
    if wants.stdin && wants.closes {
        sink.send(Request::EndOfInput).await;
    }
    input.gone().await;
    sink.send(Request::Detach).await;
    let _ = left.send(());
}
