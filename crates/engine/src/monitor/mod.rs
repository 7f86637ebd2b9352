//! The monitor: one small process beside each running container.
//!
//! It makes the container, being the subreaper that its process is left to when
//! husk-oci ends; then it writes the log, serves those attached and the published ports'
//! loopback side, and at the end writes down how it ended and takes everything apart.
//! `husk` starts it as `husk monitor`, with one end of a socket pair as standard input:
//! whoever holds the other end is attached from the beginning and misses no output.

mod execute;
mod log;
mod oom;
pub mod protocol;
mod serve;
mod start;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::runtime::Runtime;
use protocol::{Client, Event};

pub use log::{Entry, files as log_files};

/// Between two looks at whether the last monitor has gone.
const RETRY: Duration = Duration::from_millis(2);

/// Runs as the monitor of the container `id`, until that has ended.
///
/// # Errors
/// What could be told to nobody else.
pub fn run(home: &Home, id: &str) -> Result<()> {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    let mut client = Client::new(control.map_err(file("duplicate", "standard input"))?);
    match monitor(home, id, &mut client) {
        Ok(()) => Ok(()),
        Err(error) => {
            client.send(&Event::Failed(error.status(), error.to_string()));
            Ok(())
        }
    }
}

fn monitor(home: &Home, id: &str, client: &mut Client) -> Result<()> {
    let container = Container::open(home, id)?;
    // What is made in the container's root is Docker's there: the caller's umask is not.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Of its own session: the shell's signals are not for it.
    rustix::process::setsid().map_err(file("begin", "a session"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(file("become", "a subreaper"))?;
    make_directory(&container.run)?;
    std::env::set_current_dir(&container.run).map_err(file("enter", &container.run))?;
    let alive = alone(&container)?;
    let listener = protocol::listen().map_err(file("listen on", protocol::SOCKET))?;
    // What was asked before the start counts from its first byte of output.
    let mut serving = serve::Serving::new(&container, listener)?;
    let mut first = std::mem::replace(client, Client::new(null()?));
    while let Some(request) = first.receive() {
        serving.handle(&mut first, request);
    }
    let started = start::start(home, &container, &mut |text| first.send(&Event::Notice(text)));
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            let mut state = container.written_state()?;
            state.error = error.to_string();
            state.exit_code = i32::from(error.status());
            container.write_state(&state)?;
            let _ = std::fs::remove_file(protocol::SOCKET);
            *client = first;
            return Err(error);
        }
    };
    if let Err(error) = container.write_state(&running.state) {
        let _ = rustix::process::kill_process(running.pid, rustix::process::Signal::KILL);
        let _ = start::clean(home, &Runtime::of(home, &container)?, &container);
        *client = first;
        return Err(error);
    }
    first.send(&Event::Started);
    serving.add(first);
    serving.serve(&mut running);
    // Its connections go first: what is left to do needs descriptors.
    running.proxy = None;
    let restarts = container.restart_mark().exists();
    let (exit_code, written) = finish(home, &container, &running);
    let _ = std::fs::remove_file(protocol::SOCKET);
    let removed = match container.record.config.auto_remove && !restarts {
        // As it is by now: it may have another name.
        true => Container::open(home, id)
            .and_then(|container| crate::remove::remove_stopped(home, &container, true)),
        false => Ok(()),
    };
    drop(alive);
    // Whoever waits is told how it ended, whatever else went wrong.
    for failed in [written, removed].into_iter().filter_map(Result::err) {
        serving.notice(&failed.to_string());
    }
    serving.farewell(exit_code);
    Ok(())
}

/// The lock that says that a monitor lives. The one of the last run may still be taking that
/// apart; one that has just made the container run keeps the lock, and then there is nothing
/// left for us to do.
fn alone(container: &Container) -> Result<Lock> {
    let lock = loop {
        if let Some(lock) = Lock::try_exclusive(&container.monitor_lock())? {
            break lock;
        }
        not_running(container)?;
        std::thread::sleep(RETRY);
    };
    not_running(container)?;
    // That monitor may have removed the container, as with --rm.
    match container.directory.join("container.json").exists() {
        true => Ok(lock),
        false => Err(Error::NoContainer(container.record.name.clone())),
    }
}

fn not_running(container: &Container) -> Result<()> {
    match container.state()?.is_alive() {
        true => Err(Error::Running(container.record.name.clone())),
        false => Ok(()),
    }
}

fn null() -> Result<OwnedFd> {
    let opened = std::fs::File::open("/dev/null").map_err(file("open", "/dev/null"))?;
    Ok(opened.into())
}

/// Collects the exit status, undoes what the start did and writes the end down.
fn finish(home: &Home, container: &Container, running: &start::Running) -> (i32, Result<()>) {
    let exit_code = wait(running.pid);
    let oom_killed = exit_code == 128 + 9 && oom::saw_kill(running.memory_events.as_deref());
    let cleaned =
        Runtime::of(home, container).and_then(|runtime| start::clean(home, &runtime, container));
    let mut state = running.state.clone();
    state.status = Status::Exited;
    state.pid = 0;
    state.monitor = 0;
    state.finished = crate::clock::timestamp();
    state.exit_code = exit_code;
    state.oom_killed = oom_killed;
    if let Err(error) = cleaned {
        state.error = format!("cleaning up: {error}");
    }
    // On a full disk there is no room for a second file, but that of the first.
    let written = container.write_state(&state).or_else(|_| container.overwrite_state(&state));
    (exit_code, written)
}

/// Reaps what ended, ours and what was left to us, until the container's own process is among it.
fn wait(pid: Pid) -> i32 {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((reaped, status))) if reaped == pid => return exit_code(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // ECHILD: someone else reaped it; nobody knows its status.
            Err(_) => return 255,
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).unwrap_or(255)
}
