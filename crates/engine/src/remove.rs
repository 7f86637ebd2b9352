//! Stopping and removing containers.

use std::time::{Duration, Instant};

use crate::connection;
use crate::container::config::Mount;
use crate::container::state::Status;
use crate::container::{Container, state::State};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::lock::Lock;
use crate::monitor::protocol::{Attachment, Event, Request};
use crate::rootfs;
use crate::runtime::Runtime;
use crate::volume::Volume;

/// Removes a container that does not run: what is mounted and connected for it, its
/// directories, its name, the pin on its image; with `volumes` its anonymous volumes.
///
/// # Errors
/// What could not be undone; the container is then still there.
pub fn remove_stopped(home: &Home, container: &Container, volumes: bool) -> Result<()> {
    if home.oci().join(container.id()).exists() {
        Runtime::of(home, container)?.output(&["delete", "--force", container.id()])?;
    }
    rootfs::discard(container)?;
    connection::tear_down(home, container)?;
    let mounts = container.record.config.mounts.clone();
    container.forget(home);
    home.images()?.unpin(container.id())?;
    if volumes {
        for mount in mounts {
            if let Mount::Volume { name, anonymous: true, .. } = mount {
                // Not made yet where the container never ran.
                let _ = Volume::remove(home, &name);
            }
        }
    }
    Ok(())
}

/// Waits until the container has ended and its monitor has taken everything apart, at most
/// `limit`. `None` where it still runs then.
///
/// # Errors
/// What keeps us from looking.
pub fn wait_end(container: &Container, limit: Option<Duration>) -> Result<Option<State>> {
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let Ok(state) = container.state() else {
            // Removed at its end.
            return Ok(Some(State { status: Status::Exited, ..State::default() }));
        };
        if state.status != Status::Running && !Lock::is_held(&container.monitor_lock()) {
            return Ok(Some(state));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end, without a limit, and gives the exit status.
///
/// # Errors
/// What keeps us from looking.
pub fn wait_exit_code(container: &Container) -> Result<i32> {
    if let Some(attachment) = Attachment::connect(&container.run)?
        && attachment.send(&Request::Wait).is_ok()
    {
        while let Ok(Some(event)) = attachment.receive() {
            if let Event::Exited(code) = event {
                return Ok(code);
            }
        }
    }
    // No monitor: what is written down is what there is to know.
    let ended = wait_end(container, None)?;
    Ok(ended.map_or(255, |state| state.exit_code))
}

/// Sends a signal to the container's process.
///
/// # Errors
/// It does not run.
pub fn signal(home: &Home, container: &Container, signal: &str) -> Result<()> {
    if container.state()?.status != Status::Running {
        let name = &container.record.name;
        return Err(Error::other(format_args!("container {name} is not running")));
    }
    Runtime::of(home, container)?.output(&["kill", container.id(), signal]).map(drop)
}

/// Stops a container: its stop signal, then KILL after `patience`. One that does not run
/// is left alone.
///
/// # Errors
/// What the runtime refused.
pub fn stop(home: &Home, container: &Container, patience: Duration) -> Result<()> {
    let state = container.state()?;
    if state.status != Status::Running {
        return Ok(());
    }
    let wanted = &container.record.config.stop_signal;
    let wanted = if wanted.is_empty() { "TERM" } else { wanted };
    let sent = signal(home, container, wanted);
    if state.paused {
        // Frozen processes take no signal.
        Runtime::of(home, container)?.output(&["resume", container.id()])?;
        let _ = std::fs::remove_file(container.run.join("paused"));
    }
    if sent.is_ok() && wait_end(container, Some(patience))?.is_some() {
        return Ok(());
    }
    kill(home, container)
}

/// Kills a container and waits for its end.
///
/// # Errors
/// What the runtime refused.
pub fn kill(home: &Home, container: &Container) -> Result<()> {
    let killed = signal(home, container, "KILL");
    match wait_end(container, Some(Duration::from_secs(10)))? {
        Some(_) => Ok(()),
        None => killed.and_then(|()| {
            let name = &container.record.name;
            Err(Error::other(format_args!("container {name} did not end within 10 s of KILL")))
        }),
    }
}
