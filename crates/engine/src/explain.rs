//! Why a container ended, could not be started, or cannot be reached, in sentences that a person can
//! act on.
//!
//! Everything is read from what is there: the container's record and state, the journal of events,
//! its log, the ports of its network, and the sockets of its network namespace. Nothing is changed.

mod exit;
mod port;

use serde::Serialize;

use crate::clock;
use crate::container::Container;
use crate::container::state::{State, Status};
use crate::error::Result;
use crate::events::{self, Entry, Event, EventRequest, Filters, Journal};
use crate::home::Home;
use crate::logs::{self, LogRequest};

pub use port::Port;

/// How many lines of the log are shown.
const LOG_LINES: usize = 10;
/// How many ends of the program are shown.
const ENDS: usize = 5;

/// What there is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `created`, `running`, `paused` or `exited`.
    pub status: &'static str,
    /// What is the case, in one sentence.
    pub summary: String,
    /// More about why.
    pub reasons: Vec<String>,
    /// What can be done.
    pub remedies: Vec<String>,
    /// The last ends of its program, the oldest first.
    pub history: Vec<String>,
    /// Its published ports.
    pub ports: Vec<Port>,
    /// The last lines of its log.
    pub log: Vec<String>,
}

/// Explains a container.
///
/// # Errors
/// Files of the container that cannot be read.
pub fn explain(home: &Home, container: &Container) -> Result<Explanation> {
    let state = container.state()?;
    let past = past(home, container);
    let mut found = Explanation {
        id: container.id().to_owned(),
        name: container.record.name.clone(),
        status: match state.status {
            Status::Created => "created",
            Status::Running if state.paused => "paused",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        },
        ..Explanation::default()
    };
    match state.status {
        Status::Running => running(container, &state, &mut found),
        _ if is_unstarted(&state) => unstarted(container, &state, &mut found),
        _ => exit::explain(container, &state, &past, &mut found),
    }
    health(container, &state, &mut found)?;
    if state.restart_count > 0 {
        found.reasons.push(format!(
            "its program has been run again {} times since it was started by hand (--restart {})",
            state.restart_count, container.record.config.restart
        ));
    }
    found.history = history(&past);
    found.ports = port::all(home, container, &state, &mut found.reasons, &mut found.remedies);
    found.log = last_lines(container);
    Ok(found)
}

/// Whether its program has never run, or not since it was last asked to start.
fn is_unstarted(state: &State) -> bool {
    state.status == Status::Created || (state.started.is_empty() && state.finished.is_empty())
}

fn unstarted(container: &Container, state: &State, found: &mut Explanation) {
    if state.error.is_empty() {
        found.summary = "it was created and never started".to_owned();
        found.remedies.push(format!("husk start {}", container.record.name));
        return;
    }
    found.summary = format!("it could not be started: {}", state.error);
    exit::missing_program(container, state.exit_code, &state.error, found);
}

fn running(container: &Container, state: &State, found: &mut Explanation) {
    let since = clock::parse(&state.started).unwrap_or_default();
    let age = clock::human(clock::now().0.saturating_sub(since));
    found.summary = format!("it has been running for {}", age.to_lowercase());
    if state.paused {
        found.summary.push_str(", and is paused: its processes are frozen");
        found.remedies.push(format!("husk unpause {}", container.record.name));
    }
    if !crate::lock::Lock::is_held(&container.monitor_lock()) {
        found.reasons.push(
            "its monitor was killed: its output is not logged, and nobody will record how it ends"
                .to_owned(),
        );
        found.remedies.push(format!("husk restart {}", container.record.name));
    }
    if !state.error.is_empty() {
        found.reasons.push(state.error.clone());
    }
}

/// What the last failed probe said, where it counts.
fn health(container: &Container, state: &State, found: &mut Explanation) -> Result<()> {
    let health = container.health(state)?.unwrap_or_default();
    let Some(probe) = health.log.last().filter(|probe| probe.exit_code != 0) else {
        return Ok(());
    };
    if state.status == Status::Running && health.failing_streak > 0 {
        let said = probe.output.trim();
        let said = if said.is_empty() { "wrote nothing" } else { said };
        found.reasons.push(format!(
            "it is {}: the last {} health probes failed, the latest with exit status {}: {said}",
            health.status.name(),
            health.failing_streak,
            probe.exit_code
        ));
        found.remedies.push(format!(
            "run the probe by hand: husk exec {} and the command of its health check",
            container.record.name
        ));
    }
    Ok(())
}

/// What the journal has about the container, the oldest first. It may have been lost, or never
/// written: what it says is only ever an addition.
fn past(home: &Home, container: &Container) -> Vec<Event> {
    let Ok(filters) = Filters::new([("type", "container"), ("container", container.id())]) else {
        return Vec::new();
    };
    let until = Some(clock::now());
    let request = EventRequest { since: Some((0, 0)), until, filters, stop: None };
    let mut past = Vec::new();
    let _ = events::read(&Journal::of(home), &request, &mut |entry| {
        if let Entry::Event(event) = entry {
            past.push(event.clone());
        }
        Ok(())
    });
    past
}

fn history(past: &[Event]) -> Vec<String> {
    let ends = past.iter().filter(|event| event.action == "die").map(|event| {
        let time = clock::local_rfc3339(event.time());
        let time = time.get(..19).unwrap_or_default().replace('T', " ");
        let code = event.attribute("exitCode").parse().unwrap_or(255);
        let seconds = event.attribute("execDuration").parse().unwrap_or_default();
        let after = clock::human(seconds).to_lowercase();
        format!("{time}: {} after {after}", exit::status(code))
    });
    let ends: Vec<String> = ends.collect();
    ends.get(ends.len().saturating_sub(ENDS)..).unwrap_or_default().to_vec()
}

fn last_lines(container: &Container) -> Vec<String> {
    let request = LogRequest { tail: Some(LOG_LINES), ..LogRequest::default() };
    let mut lines: Vec<String> = Vec::new();
    // A container without a log has none to show.
    let _ = logs::read(container, &request, &mut |piece| {
        let text = piece.text.strip_suffix('\n').unwrap_or(&piece.text);
        match lines.last_mut().filter(|_| !piece.begins) {
            Some(last) => last.push_str(text),
            None => lines.push(text.to_owned()),
        }
        Ok(())
    });
    lines
}
