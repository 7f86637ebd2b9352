//! Freezing and thawing containers.

use crate::container::Container;
use crate::error::{Error, Result, file};
use crate::events;
use crate::home::Home;
use crate::runtime::Runtime;

/// Freezes every process of a container.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::AlreadyPaused`].
pub fn pause(home: &Home, container: &Container) -> Result<()> {
    let _lock = container.lock()?;
    if container.running()?.paused {
        return Err(Error::AlreadyPaused(container.record.name.clone()));
    }
    Runtime::of(home, container)?.output(&["pause", container.id()])?;
    let mark = container.run.join("paused");
    std::fs::write(&mark, b"").map_err(file("write", &mark))?;
    events::container::record(container, "pause", &[]);
    Ok(())
}

/// Lets a frozen container go on.
///
/// # Errors
/// One that is not frozen, whether it runs or not.
pub fn unpause(home: &Home, container: &Container) -> Result<()> {
    let _lock = container.lock()?;
    if !container.state()?.paused {
        let name = &container.record.name;
        return Err(Error::other(format_args!("container {name} is not paused")));
    }
    thaw(home, container)
}

/// The same whatever its state; the caller holds its lock, or is about to end it.
pub(crate) fn thaw(home: &Home, container: &Container) -> Result<()> {
    Runtime::of(home, container)?.output(&["resume", container.id()])?;
    let _ = std::fs::remove_file(container.run.join("paused"));
    events::container::record(container, "unpause", &[]);
    Ok(())
}
