//! Removing containers.

use std::time::{Duration, Instant};

use crate::connection;
use crate::container::config::Mount;
use crate::container::state::{State, Status};
use crate::container::{Container, remove_directory};
use crate::error::{Error, Result};
use crate::events;
use crate::home::{Home, make_directory};
use crate::lock::Lock;
use crate::rootfs;
use crate::runtime::Runtime;
use crate::stop::{kill, kill_and_wait, wait_end};
use crate::volume::Volume;

/// How long is waited for an end that must come.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a monitor is waited for before the container is looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveRequest {
    /// Kill it where it runs.
    pub force: bool,
    /// Remove its anonymous volumes, too.
    pub volumes: bool,
}

/// Removes a container. One of `--rm` that is removed by its monitor meanwhile is removed, too.
///
/// # Errors
/// [`Error::Running`] without `force`; what could not be undone.
pub fn remove_container(home: &Home, container: &Container, request: &RemoveRequest) -> Result<()> {
    let runs = |state: State| matches!(state.status, Status::Running | Status::Restarting);
    if request.force && runs(container.state()?) {
        // At once, also where a stop that has the lock is patient.
        let _ = kill(home, container, "KILL");
    }
    let removed =
        container.lock().and_then(|_lock| remove(home, container, request.volumes, request.force));
    match removed {
        Ok(true) | Err(Error::NoContainer(_)) => Ok(()),
        Ok(false) => Err(Error::Running(container.record.name.clone())),
        Err(error) => Err(error),
    }
}

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
        kill_and_wait(home, container)?;
    }
}

/// The lock of its monitor: as long as it is held the container is not started. A monitor that
/// is about to start it or to take it apart is waited for. `None` where it runs.
fn rest(container: &Container) -> Result<Option<Lock>> {
    let until = Instant::now() + LIMIT;
    make_directory(&container.run)?;
    while !container.lives()? {
        let Some(lock) = Lock::try_exclusive(&container.monitor_lock())? else {
            if container.state()?.status == Status::Restarting {
                return Ok(None);
            }
            if Instant::now() >= until {
                let name = &container.record.name;
                return Err(Error::other(format_args!(
                    "the monitor of container {name} did not end within 10 s"
                )));
            }
            wait_end(container, Some(until.min(Instant::now() + LOOK)))?;
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
    events::container::record(container, "destroy", &[]);
    forgotten
}
