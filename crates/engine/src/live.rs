//! Changes to what a container was created with, of one that may run.

use crate::container::Container;
use crate::container::health::{HealthCheck, OnUnhealthy};
use crate::container::restart::{RestartCondition, RestartPolicy};
use crate::container::state::Status;
use crate::error::{Error, Field, Result};
use crate::monitor::protocol::{self, Attachment, Request};

/// Checks that a container can have another restart policy: with `--rm` it can have none, and a
/// monitor of an older husk knows none. The caller has its lock.
///
/// # Errors
/// [`Error::Field`], [`Error::NoMonitor`].
pub fn check_restart(container: &Container, policy: RestartPolicy) -> Result<()> {
    let record = &container.record;
    if policy.condition == RestartCondition::No {
        return Ok(());
    }
    if record.config.auto_remove {
        let problem = format!("container {} was started with --rm, which removes it", record.name);
        return Err(Error::field(Field::RestartPolicy, policy, problem));
    }
    let state = container.state()?;
    if state.status == Status::Running && state.protocol < protocol::POLICIES {
        return Err(Error::NoMonitor(record.name.clone()));
    }
    Ok(())
}

/// A container's health check with what was asked for in place of what it had.
///
/// # Errors
/// Settings for a check that there is not.
pub fn changed_check(known: Option<HealthCheck>, asked: &HealthCheck) -> Result<HealthCheck> {
    let shell = known.as_ref().map(|check| check.shell.clone()).unwrap_or_default();
    let action = known.as_ref().map(|check| check.on_unhealthy).unwrap_or_default();
    let mut check = asked.clone().over(known);
    check.shell = shell;
    if check.on_unhealthy == OnUnhealthy::None {
        check.on_unhealthy = action;
    }
    match check.test.is_empty() {
        true => Err(Error::other("the container has no health check: give --health-cmd")),
        false => Ok(check),
    }
}

/// Tells the container's monitor, if it has one, that the record was changed.
///
/// # Errors
/// A socket that cannot be made.
pub fn tell_changed(container: &Container) -> Result<()> {
    if let Some(monitor) = Attachment::connect(&container.run)? {
        // One that has just ended has nothing to read again.
        let _ = monitor.send(&Request::Changed);
    }
    Ok(())
}
