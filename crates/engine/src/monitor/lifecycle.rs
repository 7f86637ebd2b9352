//! The life cycle of a container's program: start, serve, finish, and decide whether to start
//! it again.

use crate::clock;
use crate::container::Container;
use crate::container::state::{State, Status};
use crate::error::Result;
use crate::events::{self, container::End};
use crate::home::Home;
use crate::monitor::oom;
use crate::monitor::protocol::{self, Event};
use crate::monitor::serve::Server;
use crate::monitor::start::{self, Started};
use crate::runtime::Runtime;

/// What a monitor does after the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Start,
    End,
}

/// Runs the program as often as it is to run. Gives the last exit status, or why it could not
/// be started, which is written down by then.
pub(super) fn run(home: &Home, container: &mut Container, server: &mut Server) -> Result<i32> {
    loop {
        let exit_code = run_once(home, container, server)?;
        if decide(server) == Next::End {
            return Ok(exit_code);
        }
        server.tell_exit(exit_code);
        // It may have been renamed or updated meanwhile.
        *container = Container::open(home, container.id())?;
    }
}

/// Whoever asked for a restart has it; with a restart policy its answer belongs here.
fn decide(server: &mut Server) -> Next {
    match server.is_restart_awaited() {
        true => Next::Start,
        false => Next::End,
    }
}

fn run_once(home: &Home, container: &Container, server: &mut Server) -> Result<i32> {
    let size = server.initial_size();
    let started = start::start(home, container, size, &mut |text| {
        server.tell_starters(&Event::Notice(text));
    });
    let Started { program, state, memory_events } = match started {
        Ok(started) => started,
        Err(error) => {
            let mut state = container.written_state()?;
            state.error = error.to_string();
            state.exit_code = i32::from(error.kind().program_status());
            container.write_state(&state)?;
            return Err(error);
        }
    };
    if let Err(error) = container.write_state(&state) {
        let _ = rustix::process::kill_process(program.pid, rustix::process::Signal::KILL);
        let _ = start::clean(home, &Runtime::of(home, container)?, container);
        return Err(error);
    }
    // Before anyone is told: what the next command does comes after it.
    events::container::record_start(home, container);
    server.started(program);
    let exit_code = server.serve();
    let oom_killed = exit_code == 128 + 9 && oom::saw_kill(memory_events.as_deref());
    let ended = State { exit_code, oom_killed, ..state };
    finish(home, container, server, ended);
    Ok(exit_code)
}

/// Undoes what the start did and writes the end down.
fn finish(home: &Home, container: &Container, server: &mut Server, mut state: State) {
    let cleaned =
        Runtime::of(home, container).and_then(|runtime| start::clean(home, &runtime, container));
    server.end_sessions();
    state.status = Status::Exited;
    state.pid = 0;
    state.monitor = 0;
    state.finished = clock::timestamp();
    if let Some(gap) = server.log_gap() {
        state.error = gap;
    }
    if let Err(error) = cleaned {
        state.error = format!("cleaning up: {error}");
    }
    // On a full disk there is no room for a second file, but that of the first.
    let started = clock::parse(&state.started).unwrap_or_default();
    let seconds = clock::now().0.saturating_sub(started);
    let end = End { exit_code: state.exit_code, seconds, oom_killed: state.oom_killed };
    events::container::record_end(home, container, &end);
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
