//! Stopping and removing containers.

use std::time::{Duration, Instant};

use crate::connection;
use crate::container::config::Mount;
use crate::container::state::Status;
use crate::container::{Container, remove_directory, state::State};
use crate::error::{Error, Result};
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::monitor::protocol::{Attachment, Event, Request};
use crate::rootfs;
use crate::runtime::Runtime;
use crate::volume::Volume;

/// How long is waited for an end that must come.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const RETRY: Duration = Duration::from_millis(2);

/// Removes a container; with `force` one that runs too. False where it runs and is left alone.
/// The caller has its lock.
///
/// # Errors
/// As [`remove_stopped`]; [`Error::NoContainer`] where its monitor has removed it before.
pub fn remove(home: &Home, container: &Container, volumes: bool, force: bool) -> Result<bool> {
    loop {
        if let Some(_rest) = rest(container)? {
            return remove_stopped(home, container, volumes).map(|()| true);
        }
        if !force {
            return Ok(false);
        }
        kill(home, container)?;
    }
}

/// The lock of its monitor: as long as it is held the container is not started. A monitor that
/// is about to start it or to take it apart is waited for. `None` where it runs.
fn rest(container: &Container) -> Result<Option<Lock>> {
    let until = Instant::now() + LIMIT;
    make_directory(&container.run)?;
    while !container.lives()? {
        let Some(lock) = Lock::try_exclusive(&container.monitor_lock())? else {
            if Instant::now() >= until {
                let name = &container.record.name;
                return Err(Error::other(format_args!(
                    "the monitor of container {name} did not end within 10 s"
                )));
            }
            std::thread::sleep(RETRY);
            continue;
        };
        if !container.directory.join("container.json").exists() {
            // As with --rm; the directory is what we have just made.
            let _ = remove_directory(&container.run);
            return Err(Error::NoContainer(container.record.name.clone()));
        }
        // It may have been started, and its monitor killed, since we looked.
        return Ok((!container.lives()?).then_some(lock));
    }
    Ok(None)
}

/// Removes a container that does not run: what is mounted and connected for it, its
/// directories, its name, the pin on its image; with `volumes` its anonymous volumes. The
/// caller has the lock of its monitor.
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
    let forgotten = container.forget(home);
    home.images()?.unpin(container.id())?;
    if volumes {
        for mount in mounts {
            if let Mount::Volume { name, anonymous: true, .. } = mount {
                // Not made yet where the container never ran.
                let _ = Volume::remove(home, &name);
            }
        }
    }
    forgotten
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
    match wait_end(container, Some(LIMIT))? {
        Some(_) => Ok(()),
        None => killed.and_then(|()| {
            let name = &container.record.name;
            Err(Error::other(format_args!(
                "container {name} did not end within 10 s after SIGKILL"
            )))
        }),
    }
}
