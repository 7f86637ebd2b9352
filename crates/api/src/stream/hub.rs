//! Those who wait for a container that has not started: attached clients, who must miss no
//! output, and who waits for its exit status.
//!
//! A monitor has one caller who is attached from the first byte on, the one that starts the
//! container. Where that is this server it hands everything on to those who wait here. Where it
//! is another, they connect to the monitor as soon as that listens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use husk_engine::error::{ErrorKind, Failure};
use husk_engine::monitor::protocol::{Attachment, Event, Request};
use tokio::sync::mpsc;

use super::peer::Peer;

/// How many events one who waits may be behind before the program has to wait for it.
const QUEUE: usize = 64;

/// Who waits, by container.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    of: HashMap<String, Vec<Waiter>>,
    next: u64,
}

/// One who waits, as the start sees it.
#[derive(Debug)]
pub(crate) struct Waiter {
    number: u64,
    /// Wants the output.
    output: bool,
    /// Sends the input.
    stdin: bool,
    events: mpsc::Sender<Event>,
    requests: mpsc::Receiver<Request>,
}

/// One who waits, as it sees itself.
#[derive(Debug)]
pub(crate) struct Waits {
    number: u64,
    container: String,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) requests: mpsc::Sender<Request>,
}

impl Hub {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the start of a container.
    pub(crate) fn wait(&self, container: &str, output: bool, stdin: bool) -> Waits {
        let (events, of_start) = mpsc::channel(QUEUE);
        let (to_program, requests) = mpsc::channel(QUEUE);
        let mut waiting = self.lock();
        waiting.next += 1;
        let number = waiting.next;
        let waiter = Waiter { number, output, stdin, events, requests };
        waiting.of.entry(container.to_owned()).or_default().push(waiter);
        Waits { number, container: container.to_owned(), events: of_start, requests: to_program }
    }

    /// Those who wait for this container; from now on they are the caller's.
    pub(crate) fn take(&self, container: &str) -> Vec<Waiter> {
        let mut waiters = self.lock().of.remove(container).unwrap_or_default();
        waiters.retain(|waiter| !waiter.events.is_closed());
        waiters
    }

    /// Gives them back: the container was not started, or was running already.
    pub(crate) fn give_back(&self, container: &str, waiters: Vec<Waiter>) {
        if !waiters.is_empty() {
            self.lock().of.entry(container.to_owned()).or_default().extend(waiters);
        }
    }

    /// Waits no more. False where a start has taken it: then everything comes from there.
    pub(crate) fn leave(&self, waits: &Waits) -> bool {
        let mut waiting = self.lock();
        let Some(waiters) = waiting.of.get_mut(&waits.container) else { return false };
        let before = waiters.len();
        waiters.retain(|waiter| waiter.number != waits.number);
        let left = waiters.len() < before;
        if waiters.is_empty() {
            waiting.of.remove(&waits.container);
        }
        left
    }
}

/// Whether any of them wants output, and whether any sends input.
pub(crate) fn wants(waiters: &[Waiter]) -> (bool, bool) {
    (waiters.iter().any(|one| one.output), waiters.iter().any(|one| one.stdin))
}

/// Tells them how a start failed.
pub(crate) async fn tell_failed(waiters: Vec<Waiter>, kind: ErrorKind, message: &str) {
    for waiter in waiters {
        let failure = Failure::new(kind, message.to_owned());
        let _ = waiter.events.send(Event::Failed(failure)).await;
    }
}

/// Hands everything on, until the program has ended or nobody is left.
pub(crate) fn hand_on(attachment: Attachment, waiters: Vec<Waiter>) {
    if waiters.is_empty() {
        return;
    }
    let Ok(peer) = Peer::new(attachment) else { return };
    let peer = Arc::new(peer);
    let mut readers = Vec::new();
    for Waiter { output, stdin, events, mut requests, .. } in waiters {
        // Its own was for who has started it.
        let _ = events.try_send(Event::Started);
        readers.push((output, events));
        let peer = peer.clone();
        tokio::spawn(async move {
            let mut ended = false;
            while let Some(request) = requests.recv().await {
                ended = matches!(request, Request::EndOfInput | Request::Detach);
                if peer.send(&request).await.is_err() {
                    return;
                }
            }
            if stdin && !ended {
                // It went away: its input has ended.
                let _ = peer.send(&Request::EndOfInput).await;
            }
        });
    }
    tokio::spawn(async move {
        while let Ok(Some(event)) = peer.receive().await {
            let is_output = matches!(event, Event::Stdout(_) | Event::Stderr(_));
            for (output, events) in &readers {
                if *output || !is_output {
                    // One that is gone misses it.
                    let _ = events.send(event.clone()).await;
                }
            }
            readers.retain(|(_, events)| !events.is_closed());
            if readers.is_empty() || matches!(event, Event::Exited(_)) {
                return;
            }
        }
    });
}
