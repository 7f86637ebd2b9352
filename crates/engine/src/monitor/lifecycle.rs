//! The life cycle of a container's program: start, serve, finish, and decide whether to start
//! it again.

use std::time::{Duration, Instant};

use crate::clock;
use crate::connection::joiners::{self, Membership};
use crate::connection::{self, Connection};
use crate::container::Container;
use crate::container::config::Config;
use crate::container::restart::BackOff;
use crate::container::state::{State, Status};
use crate::error::{Error, Result};
use crate::events::{self, container::End};
use crate::home::Home;
use crate::lock::Lock;
use crate::monitor::oom;
use crate::monitor::protocol::{self, Event};
use crate::monitor::serve::{Rest, Server};
use crate::monitor::start::{self, Started};
use crate::runtime::Runtime;
use husk_spec::NamespaceType;

/// Between two looks whether the command that changes the container has finished.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What a monitor does after the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Somebody has asked for a restart.
    Start,
    /// The restart policy has it run again.
    StartAgain,
    /// It is to run again because it was unhealthy, whatever the policy.
    StartHealthy,
    End,
}

/// Runs the program as often as it is to run. Gives the last exit status, or why it could not
/// be started, which is written down by then.
pub(super) fn run(home: &Home, container: &mut Container, server: &mut Server) -> Result<i32> {
    let (mut back_off, mut count) = (BackOff::default(), 0);
    // Held while a restart of the monitor's own begins: no command changes the container then.
    let mut lock: Option<Lock> = None;
    let mut kept = None;
    loop {
        let begin = Instant::now();
        let ran = run_once(home, container, server, count, lock.take(), &mut kept);
        let mut state = match ran {
            Err(error) => awaiting_owner(container, server, error, count)?,
            Ok(state) => state,
        };
        reopen(container, server);
        let exit_code = state.exit_code;
        match decide(container, server, &mut state) {
            Next::End => {
                release(home, container, server, &mut kept, &mut state);
                write_end(container, server, &state);
                return Ok(exit_code);
            }
            Next::Start => {
                write_end(container, server, &state);
                server.tell_exit_of_run(exit_code);
                (back_off, count) = (BackOff::default(), 0);
            }
            next @ (Next::StartAgain | Next::StartHealthy) => {
                count += 1;
                state.restart_count = count;
                state.status = Status::Restarting;
                write_end(container, server, &state);
                server.tell_exit_of_run(exit_code);
                let due = Instant::now() + back_off.next(begin.elapsed());
                match wait_to_start(container, server, &mut state, due, next)? {
                    Waited::Start => (back_off, count) = (BackOff::default(), 0),
                    Waited::StartAgain(held) => lock = Some(held),
                    Waited::End => {
                        state.status = Status::Exited;
                        release(home, container, server, &mut kept, &mut state);
                        write_end(container, server, &state);
                        return Ok(exit_code);
                    }
                }
            }
        }
    }
}

/// The network of a container whose program has ended, connected because others are in it, and
/// what it was connected for.
struct Kept {
    connection: Connection,
    config: Config,
}

/// A container that is to run again in the namespaces of another, which does not run yet, waits
/// for that as for any other restart: the other may be starting again itself. Gives the state of
/// its last run.
fn awaiting_owner(
    container: &Container,
    server: &mut Server,
    error: Error,
    count: u32,
) -> Result<State> {
    let is_owners = matches!(error, Error::NotRunning(_) | Error::Restarting(_));
    if !is_owners || !server.has_run() || server.is_restart_awaited() {
        return Err(error);
    }
    let mut state = container.written_state()?;
    state.restart_count = count;
    Ok(state)
}

/// Undoes what was kept for others, once there is no next run.
fn release(
    home: &Home,
    container: &Container,
    server: &mut Server,
    kept: &mut Option<Kept>,
    state: &mut State,
) {
    if kept.take().is_some() {
        server.end_service();
        if let Err(error) = connection::release(home, container) {
            state.error = format!("cleaning up: {error}");
        }
    }
}

/// It may have been renamed or updated meanwhile.
fn reopen(container: &mut Container, server: &mut Server) {
    if let Some(now) = container.reopened() {
        server.set_container(&now);
        *container = now;
    }
}

/// Whoever asked for a restart has it; else it is for the restart policy to say.
fn decide(container: &Container, server: &mut Server, state: &mut State) -> Next {
    server.listen();
    if server.is_restart_awaited() {
        server.forget_stop();
        return Next::Start;
    }
    let is_unhealthy = server.take_unhealthy_restart();
    state.stopped_by_hand = server.is_stopped_by_hand(state.exit_code);
    if is_unhealthy && !state.stopped_by_hand {
        return Next::StartHealthy;
    }
    let policy = container.record.config.restart;
    match policy.restarts(state.exit_code, state.restart_count, state.stopped_by_hand) {
        true => Next::StartAgain,
        false => Next::End,
    }
}

enum Waited {
    Start,
    /// With the container's lock.
    StartAgain(Lock),
    End,
}

/// Waits until the program is to run again, or is not to any more.
fn wait_to_start(
    container: &mut Container,
    server: &mut Server,
    state: &mut State,
    mut due: Instant,
    next: Next,
) -> Result<Waited> {
    loop {
        match server.rest_until(due) {
            Rest::Asked => {
                reopen(container, server);
                server.forget_stop();
                return Ok(Waited::Start);
            }
            Rest::Stopped => {
                state.stopped_by_hand = true;
                return Ok(Waited::End);
            }
            Rest::Due => {}
        }
        reopen(container, server);
        // The count has this restart in it.
        let before = state.restart_count.saturating_sub(1);
        let restarts = container.record.config.restart.restarts(state.exit_code, before, false);
        if next == Next::StartAgain && !restarts {
            return Ok(Waited::End);
        }
        if Instant::now() < due {
            continue;
        }
        match container.try_lock()? {
            Some(lock) => {
                reopen(container, server);
                return Ok(Waited::StartAgain(lock));
            }
            // By someone who may be about to stop it, so there is more to hear meanwhile.
            None => due = Instant::now() + LOCK_RETRY,
        }
    }
}

/// Gives the state after the end, which is to be written.
fn run_once(
    home: &Home,
    container: &Container,
    server: &mut Server,
    restart_count: u32,
    lock: Option<Lock>,
    kept: &mut Option<Kept>,
) -> Result<State> {
    let size = server.initial_size();
    let config = container.record.config.clone();
    let mut connected = kept.take();
    if connected.as_ref().is_some_and(|kept| !connection::is_unchanged(&kept.config, &config)) {
        // Connected anew, in the same namespace; the start undoes again what fails here.
        connected = None;
        server.end_service();
        let _ = connection::tear_down(home, container);
    }
    let was_connected = connected.is_some();
    let connected = connected.map(|kept| kept.connection);
    let started = start::start(home, container, size, connected, &mut |text| {
        server.tell_starters(&Event::Notice(text));
    });
    let Started { program, state, memory_events, service, connection, membership } = match started {
        Ok(started) => started,
        Err(error) => {
            if was_connected {
                server.end_service();
                let _ = connection::tear_down(home, container);
            }
            let mut state = container.written_state()?;
            state.status = match state.status {
                Status::Created => Status::Created,
                _ => Status::Exited,
            };
            state.error = error.to_string();
            state.exit_code = i32::from(error.kind().program_status());
            container.write_state(&state)?;
            return Err(error);
        }
    };
    let state = State { restart_count, ..state };
    if let Err(error) = container.write_state(&state) {
        let _ = rustix::process::kill_process(program.pid, rustix::process::Signal::KILL);
        drop(service);
        server.end_service();
        let _ = start::clean(home, &Runtime::of(home, container)?, container);
        return Err(error);
    }
    // Before anyone is told: what the next command does comes after it.
    events::container::record_start(home, container);
    drop(lock);
    server.started(program, service);
    server.begin_checks(&state);
    let exit_code = server.serve();
    let oom_killed = exit_code == 128 + 9 && oom::saw_kill(memory_events.as_deref());
    let ended = State { exit_code, oom_killed, ..state };
    let is_joined = joiners::kept(home, container, NamespaceType::Network).is_some();
    // Else closed before its links are given up: the namespace ends with its last descriptor.
    let connection = Some(connection).filter(|_| is_joined).and_then(Connection::into_kept);
    *kept = connection.map(|connection| Kept { connection, config });
    Ok(finish(home, container, server, ended, kept.is_some(), membership))
}

/// Undoes what the start did; of a network that is kept nothing.
fn finish(
    home: &Home,
    container: &Container,
    server: &mut Server,
    mut state: State,
    keeps_network: bool,
    membership: Membership,
) -> State {
    if !keeps_network {
        // The published ports' connections and descriptors, too: what follows needs some.
        server.end_service();
    }
    let cleaned = Runtime::of(home, container).and_then(|runtime| match keeps_network {
        true => start::clean_program(home, &runtime, container),
        false => start::clean(home, &runtime, container),
    });
    drop(membership);
    server.end_sessions();
    state.status = Status::Exited;
    state.pid = 0;
    state.finished = clock::timestamp();
    if let Some(gap) = server.log_gap() {
        state.error = gap;
    }
    if let Err(error) = cleaned {
        state.error = format!("cleaning up: {error}");
    }
    let started = clock::parse(&state.started).unwrap_or_default();
    let seconds = clock::now().0.saturating_sub(started);
    let end = End { exit_code: state.exit_code, seconds, oom_killed: state.oom_killed };
    events::container::record_end(home, container, &end);
    state
}

/// Writes down how the program ended, and whether it is to run again.
fn write_end(container: &Container, server: &mut Server, state: &State) {
    let monitor = if state.status == Status::Restarting { state.monitor } else { 0 };
    let state = State { monitor, ..state.clone() };
    // On a full disk there is no room for a second file, but that of the first.
    let written = container.write_state(&state).or_else(|_| container.overwrite_state(&state));
    if let Err(error) = written {
        server.notice(&error.to_string());
    }
}

/// Takes the monitor's socket away and, with `--rm`, the container. The lock is still held.
pub(super) fn end(home: &Home, container: &Container, server: &mut Server) {
    let removed = match container.record.config.auto_remove && server.has_run() {
        // As it is by now: it may have another name.
        true => Container::open(home, container.id())
            .and_then(|container| crate::remove::remove_stopped(home, &container, true)),
        false => Ok(()),
    };
    let _ = std::fs::remove_file(protocol::SOCKET);
    if let Err(error) = removed {
        server.notice(&error.to_string());
    }
}
