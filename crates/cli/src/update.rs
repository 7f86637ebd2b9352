//! `update`.

use std::io::Write;
use std::process::Stdio;

use clap::Args;

use super::flags::{HealthFlags, LimitFlags, restart_policy};
use super::{for_each, output};
use crate::error::{EngineError, Error, Result, file};
use husk_engine::container::Container;
use husk_engine::container::config::Limits;
use husk_engine::container::health::HealthCheck;
use husk_engine::container::restart::RestartPolicy;
use husk_engine::container::state::Status;
use husk_engine::home::Home;
use husk_engine::runtime::Runtime;
use husk_engine::{live, spec};

/// `update`.
#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    limits: LimitFlags,
    /// When the container is started again: no, on-failure[:COUNT], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    #[command(flatten)]
    health: HealthFlags,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Update {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let as_written = |error| match error {
            EngineError::Field { field, value, problem } => {
                let value = self.limits.written(field).cloned().unwrap_or(value);
                EngineError::Field { field, value, problem }
            }
            error => error,
        };
        let wanted = self.limits.limits()?.checked().map_err(as_written)?;
        let restart = self.restart.as_deref().map(restart_policy).transpose()?;
        let health = self.health.check()?;
        if wanted == Limits::default() && restart.is_none() && health.is_none() {
            return Err(Error::other("nothing to update (husk update --help)"));
        }
        for_each(&self.containers, |name| {
            update(home, name, &wanted, restart, health.as_ref())?;
            output::line(name)
        })
    }
}

/// The running process first: what the kernel refuses is not written down.
fn update(
    home: &Home,
    name: &str,
    wanted: &Limits,
    restart: Option<RestartPolicy>,
    health: Option<&HealthCheck>,
) -> Result<()> {
    let mut container = Container::find(home, name)?;
    let _lock = container.lock()?;
    // As it is now that the lock is ours.
    container = Container::open(home, container.id())?;
    let limits = merge(&container.record.config.limits, wanted);
    if let (Some(memory), Some(swap @ 0..)) = (limits.memory, limits.memory_swap)
        && swap < memory
    {
        return Err(Error::flag(
            "--memory-swap",
            swap,
            "must not be less than the memory limit, which it includes",
        ));
    }
    if let Some(policy) = restart {
        live::check_restart(&container, policy)?;
        container.record.config.restart = policy;
    }
    if let Some(check) = health {
        let config = &mut container.record.config;
        config.health = Some(live::changed_check(config.health.take(), check)?);
    }
    if *wanted != Limits::default() && container.state()?.status == Status::Running {
        apply(home, &container, wanted, &limits)?;
    }
    container.record.config.limits = limits;
    container.write()?;
    Ok(live::tell_changed(&container)?)
}

fn apply(home: &Home, container: &Container, wanted: &Limits, merged: &Limits) -> Result<()> {
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
        husk_engine::runtime::pass_on(&words);
        return Ok(());
    }
    Err(Error::other(words.trim_end().trim_start_matches("husk-oci: ")))
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
