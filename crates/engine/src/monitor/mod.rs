//! The monitor: one small process beside each running container.
//!
//! It makes the container, being the subreaper that its process is left to when husk-oci ends;
//! then it writes the log, serves its clients, runs exec sessions and serves the published
//! ports' loopback side; at the end it writes down how the program ended and takes everything
//! apart. `husk` starts it as `husk monitor`, with one end of a socket pair as standard input:
//! whoever holds the other end is attached from the beginning and misses no output.
//!
//! ```text
//! own.rs          leaving the caller behind: descriptors, signals, limits, priority
//! lifecycle.rs    start, serve, finish, decide whether to start again
//! start.rs        from the record to the running program; execute.rs calls the runtime
//! serve.rs        connections and their requests      serve/       the same for exec sessions
//! event_loop.rs   poll(2) over registered sources and timers
//! streams.rs      a program's pipes or terminal       session.rs   one exec session
//! client.rs       one connection                      protocol.rs  what is said on it
//! probe.rs        the health check
//! log.rs          the log                             oom.rs       kills for want of memory
//! ```

mod client;
mod event_loop;
mod execute;
mod lifecycle;
mod log;
mod oom;
mod own;
mod probe;
pub mod protocol;
mod serve;
mod session;
mod start;
mod streams;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::runtime::Runtime;
use crate::stop::wait_end;
use client::Client;
use protocol::Event;
use serve::Server;

pub use log::{Entry, files as log_files};
pub use own::leave_caller;

/// How long the last monitor is waited for before the container is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// Becomes a monitor where the program was called as one ([`crate::launch::start`] does), and
/// gives how that ended; `None` for any other call. A program that starts containers asks this
/// first of all, before it has opened anything or started a thread.
pub fn run_if_called(words: impl IntoIterator<Item = OsString>) -> Option<Result<()>> {
    let words: Vec<OsString> = words.into_iter().skip(1).collect();
    let [root_flag, root, run_flag, run, command, id] = words.as_slice() else { return None };
    let is_call = root_flag == "--root" && run_flag == "--runroot" && command == "monitor";
    let home = Home { root: root.into(), run: run.into() };
    let id = id.to_str().filter(|_| is_call)?;
    Some(become_monitor(&home, id))
}

fn become_monitor(home: &Home, id: &str) -> Result<()> {
    // First of all: nothing is open yet but what the caller has left open.
    if let Err(error) = leave_caller() {
        Client::new(take_stdin()?).send(&failed(&error));
        return Err(error);
    }
    // ps(1) would show `exe`, as it was executed by /proc/self/exe.
    let _ = rustix::thread::set_name(c"husk-monitor");
    let _inside = crate::rootless::enter(home)?;
    run(home, id)
}

/// Runs as the monitor of the container `id`, until that has ended. The caller has called
/// [`leave_caller`].
///
/// # Errors
/// What could be told to nobody else.
pub fn run(home: &Home, id: &str) -> Result<()> {
    let mut client = Client::new(take_stdin()?);
    match monitor(home, id, &mut client) {
        Ok(()) => Ok(()),
        Err(error) => {
            client.send(&failed(&error));
            Ok(())
        }
    }
}

fn failed(error: &Error) -> Event {
    Event::Failed(error.into())
}

/// The socket that we were given as standard input, which is /dev/null from now on: a connection
/// ends when its last descriptor is closed.
fn take_stdin() -> Result<OwnedFd> {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    let control = control.map_err(file("duplicate", "standard input"))?;
    rustix::stdio::dup2_stdin(null()?).map_err(file("duplicate", "/dev/null"))?;
    Ok(control)
}

/// Errors up to the point where there are other clients than `client` are for it alone.
fn monitor(home: &Home, id: &str, client: &mut Client) -> Result<()> {
    let mut container = Container::open(home, id)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(file("become", "a subreaper"))?;
    make_directory(&container.run)?;
    std::env::set_current_dir(&container.run).map_err(file("enter", &container.run))?;
    let alive = alone(&container)?;
    let listener = protocol::listen().map_err(file("listen on", protocol::SOCKET))?;
    let runtime = Runtime::of(home, &container)?;
    let mut server = Server::new(&container, runtime, listener)?;
    // What was asked before the start counts from the first byte of output.
    server.add(std::mem::replace(client, Client::new(null()?)));
    let ended = lifecycle::run(home, &mut container, &mut server);
    lifecycle::end(home, &container, &mut server);
    drop(alive);
    match ended {
        Ok(exit_code) => server.tell_exit(exit_code),
        Err(error) => server.tell_starters(&failed(&error)),
    }
    server.farewell();
    // Nobody waits for us any more, and nothing of the container is left.
    drop(server);
    let _ = std::env::set_current_dir("/");
    // A failure has nobody to be told to: the next command finds what is left.
    let _ = crate::connection::linger(home);
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
        wait_end(container, Some(Instant::now() + LOOK))?;
    };
    not_running(container)?;
    // That monitor may have removed the container, as with --rm.
    match container.directory.join("container.json").exists() {
        true => Ok(lock),
        false => Err(Error::NoContainer(container.record.name.clone())),
    }
}

fn not_running(container: &Container) -> Result<()> {
    let state = container.state()?;
    match state.is_alive() || state.status == Status::Restarting {
        true => Err(Error::Running(container.record.name.clone())),
        false => Ok(()),
    }
}

fn null() -> Result<OwnedFd> {
    let opened = std::fs::File::open("/dev/null").map_err(file("open", "/dev/null"))?;
    Ok(opened.into())
}
