//! Changes to what a container was created with, of one that may run.

use std::io::Write;
use std::process::Stdio;

use crate::container::Container;
use crate::container::config::Limits;
use crate::container::health::{HealthCheck, OnUnhealthy};
use crate::container::restart::{RestartCondition, RestartPolicy};
use crate::container::state::Status;
use crate::error::{Error, ErrorKind, Field, Result, file};
use crate::home::Home;
use crate::monitor::protocol::{self, Attachment, Request};
use crate::reporter::Reporter;
use crate::runtime::{Runtime, warnings_of};
use crate::spec;

/// What of a container is to be changed; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    /// Limits of the cgroup; `None` leaves one as it is.
    pub limits: Limits,
    /// The restart policy; `None` leaves it as it is.
    pub restart_policy: Option<RestartPolicy>,
    /// Settings over the health check that the container has.
    pub health: Option<HealthCheck>,
}

impl UpdateRequest {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes a container. The running process comes first: what the kernel refuses is not written
/// down.
///
/// # Errors
/// A field that cannot be honoured; limits that the kernel refuses.
pub fn update(
    home: &Home,
    container: &Container,
    request: &UpdateRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let wanted = request.limits.checked()?;
    let _lock = container.lock()?;
    // As it is now that the lock is ours.
    let mut container = Container::open(home, container.id())?;
    let limits = merge(&container.record.config.limits, &wanted);
    if let (Some(memory), Some(swap @ 0..)) = (limits.memory, limits.memory_swap)
        && swap < memory
    {
        let problem = "must not be less than the memory limit, which it includes";
        return Err(Error::field(Field::MemorySwap, swap, problem));
    }
    if let Some(policy) = request.restart_policy {
        check_restart(&container, policy)?;
        container.record.config.restart = policy;
    }
    if let Some(check) = &request.health {
        let config = &mut container.record.config;
        config.health = Some(changed_check(config.health.take(), check)?);
    }
    if wanted != Limits::default() && container.state()?.status == Status::Running {
        apply(home, &container, &wanted, &limits, reporter)?;
    }
    container.record.config.limits = limits;
    container.write()?;
    tell_changed(&container)
}

fn apply(
    home: &Home,
    container: &Container,
    wanted: &Limits,
    merged: &Limits,
    reporter: &dyn Reporter,
) -> Result<()> {
    // Memory and swap bound each other, so they go together.
    let mut change = wanted.clone();
    if wanted.memory.is_some() || wanted.memory_swap.is_some() {
        change.memory = merged.memory;
        change.memory_swap = merged.memory_swap;
    }
    let resources = serde_json::to_vec(&spec::limits(&change)?).map_err(Error::other)?;
    let mut command = Runtime::of(home, container)?.command();
    command.args(["update", "--resources", "-", container.id()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(file("execute", "husk-oci"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that failed early says why itself.
        let _ = stdin.write_all(&resources);
    }
    let output = child.wait_with_output().map_err(file("wait for", "husk-oci"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        warnings_of(&words).for_each(|warning| reporter.notice(warning));
        return Ok(());
    }
    let message = words.trim_end().trim_start_matches("husk-oci: ").to_owned();
    Err(Error::Runtime { message, kind: ErrorKind::Runtime })
}

fn merge(known: &Limits, wanted: &Limits) -> Limits {
    // The last that was asked for counts: --cpus, or --cpu-quota and --cpu-period.
    let parts = wanted.cpu_quota.is_some() || wanted.cpu_period.is_some();
    let nano_cpus = wanted.nano_cpus.or(known.nano_cpus.filter(|_| !parts));
    let (cpu_quota, cpu_period) = match nano_cpus {
        Some(_) => (None, None),
        None => {
            let (quota, period) = known.quota();
            (wanted.cpu_quota.or(quota), wanted.cpu_period.or(period))
        }
    };
    Limits {
        memory: wanted.memory.or(known.memory),
        memory_swap: wanted.memory_swap.or(known.memory_swap),
        memory_reservation: wanted.memory_reservation.or(known.memory_reservation),
        nano_cpus,
        cpu_quota,
        cpu_period,
        cpu_shares: wanted.cpu_shares.or(known.cpu_shares),
        cpuset_cpus: wanted.cpuset_cpus.clone().or_else(|| known.cpuset_cpus.clone()),
        cpuset_mems: wanted.cpuset_mems.clone().or_else(|| known.cpuset_mems.clone()),
        pids: wanted.pids.or(known.pids),
        blkio_weight: wanted.blkio_weight.or(known.blkio_weight),
        cpu_rt_runtime: wanted.cpu_rt_runtime.or(known.cpu_rt_runtime),
        cpu_rt_period: wanted.cpu_rt_period.or(known.cpu_rt_period),
        ..known.clone()
    }
}

/// Checks that a container can have another restart policy: with `--rm` it can have none, and a
/// monitor of an older husk knows none. The caller has its lock.
///
/// # Errors
/// [`Error::Field`], [`Error::NoMonitor`].
fn check_restart(container: &Container, policy: RestartPolicy) -> Result<()> {
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
fn changed_check(known: Option<HealthCheck>, asked: &HealthCheck) -> Result<HealthCheck> {
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
