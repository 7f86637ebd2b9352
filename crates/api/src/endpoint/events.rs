//! `GET /events`: the journal as it is written, and what it had before where a time is given.

use std::io;
use std::os::fd::OwnedFd;

use husk_engine::clock;
use husk_engine::error::{Error, file};
use husk_engine::events::{self, Entry, Event, EventRequest, Filters, Journal};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// # Errors
/// A time or a filter that is none.
pub(crate) async fn events(service: Shared, call: Call) -> Result<Reply> {
    let given = call.query.filters(&FILTERS)?;
    let pairs = given
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), value.as_str())));
    let filters = Filters::new(pairs).map_err(|error| Failure::invalid(error.to_string()))?;
    let time = |name: &str| match call.query.text(name) {
        None | Some("0") => Ok(None),
        Some(text) => clock::seconds(text)
            .or_else(|| clock::instant(text))
            .map(Some)
            .ok_or_else(|| Failure::invalid(format!("invalid value for {name:?}: {text:?}"))),
    };
    // What reads the journal ends when the other end is closed.
    let (stop, keep): (OwnedFd, OwnedFd) =
        pipe_with(PipeFlags::CLOEXEC).map_err(file("make", "a pipe"))?;
    let request =
        EventRequest { since: time("since")?, until: time("until")?, filters, stop: Some(stop) };
    let keep = Box::new((call.active.clone(), keep));
    let (sender, answer) = reply::stream("application/json", keep);
    let active = call.active.clone();
    tokio::task::spawn_blocking(move || {
        let _active = active;
        let journal = Journal::of(&service.home);
        let read = events::read(&journal, &request, &mut |entry| {
            // What is damaged has no event any more.
            let Entry::Event(event) = entry else { return Ok(()) };
            if !sees(&service, event) {
                return Ok(());
            }
            let line = format!("{}\n", event.to_docker_json(true));
            sender.blocking_send(Ok(line.into())).map_err(|_| Error::ConsumerGone)
        });
        if let Err(error) = read
            && !matches!(error, Error::ConsumerGone)
        {
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    Ok(answer)
}

/// Whether this socket may see it: what has the label, or is of something that has.
fn sees(service: &Service, event: &Event) -> bool {
    service.policy.label().is_none_or(|(name, value)| {
        let has = event.actor.attributes.get(name);
        has.is_some_and(|has| value.is_none_or(|value| has == value))
    })
}
