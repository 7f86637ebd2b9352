//! Limits of the cgroup.

use clap::Args;

use crate::error::{Error, Result, flag_of};
use husk_engine::container::config::{Limits, Throttle, ThrottleKind};
use husk_engine::error::Field;

/// Limits of the cgroup.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit on memory plus swap; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Number of CPUs
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// CPU time per period in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of the CPU period in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,
    /// CPU shares relative to other containers
    #[arg(short, long, value_name = "N")]
    cpu_shares: Option<u64>,
    /// CPUs that may be used, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes (NUMA) that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit on the number of processes; -1 for unlimited
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Realtime CPU time per period in microseconds (cgroup v1)
    #[arg(long, value_name = "USEC")]
    cpu_rt_runtime: Option<i64>,
    /// Length of the realtime period in microseconds (cgroup v1)
    #[arg(long, value_name = "USEC")]
    cpu_rt_period: Option<u64>,
    /// Block I/O weight relative to other containers, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
}

/// Limits that last as long as the container: `update` does not change them.
#[derive(Debug, Args)]
pub(crate) struct FixedLimitFlags {
    /// Swappiness, 0 to 100 (cgroup v1)
    #[arg(long, value_name = "N")]
    memory_swappiness: Option<u64>,
    /// Disable the OOM killer (cgroup v1)
    #[arg(long)]
    oom_kill_disable: bool,
    /// Block I/O weight of a device
    #[arg(long, value_name = "PATH:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Limit bytes read per second from a device
    #[arg(long, value_name = "PATH:BYTES")]
    device_read_bps: Vec<String>,
    /// Limit bytes written per second to a device
    #[arg(long, value_name = "PATH:BYTES")]
    device_write_bps: Vec<String>,
    /// Limit reads per second from a device
    #[arg(long, value_name = "PATH:N")]
    device_read_iops: Vec<String>,
    /// Limit writes per second to a device
    #[arg(long, value_name = "PATH:N")]
    device_write_iops: Vec<String>,
    /// Parent cgroup of the container
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

/// `512`, `64k`, `1.5g` in bytes.
pub(crate) fn bytes(flag: &'static str, text: &str) -> Result<i64> {
    let bad = || Error::flag(flag, text, "must be a size such as 64m or 1g");
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let plain = plain.strip_suffix('i').unwrap_or(plain);
    let (digits, shift) = match plain.chars().next_back() {
        Some('k') => (&plain[..plain.len() - 1], 10),
        Some('m') => (&plain[..plain.len() - 1], 20),
        Some('g') => (&plain[..plain.len() - 1], 30),
        Some('t') => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let value: f64 = digits.trim().parse().map_err(|_| bad())?;
    let bytes =
        value * f64::from(1u32 << (shift % 32)) * if shift >= 32 { 4_294_967_296.0 } else { 1.0 };
    match bytes {
        bytes if bytes.is_finite() && (0.0..9.0e18).contains(&bytes) => Ok(bytes as i64),
        _ => Err(bad()),
    }
}

/// Whether the kernel limits swap: it has swap, and with cgroup v1 it was told to count it.
pub(crate) fn counts_swap() -> bool {
    let memory = std::path::Path::new("/sys/fs/cgroup/memory");
    std::path::Path::new("/proc/swaps").exists()
        && (!memory.exists() || memory.join("memory.memsw.limit_in_bytes").exists())
}

const WEIGHT: &str = "must be 10 to 1000";

fn is_weight(weight: u16) -> bool {
    (10..=1000).contains(&weight)
}

/// PATH:VALUE of a block device.
fn of_device(field: Field, text: &str) -> Result<(String, &str)> {
    let problem = "must be DEVICE:VALUE, such as /dev/sda:1mb";
    let bad = || Error::flag(flag_of(field), text, problem);
    let (path, value) = text.rsplit_once(':').ok_or_else(bad)?;
    husk_engine::device::block_number(field, path)?;
    Ok((path.to_owned(), value))
}

impl LimitFlags {
    fn weight(&self) -> Result<Option<u16>> {
        match self.blkio_weight {
            Some(0) => Ok(None),
            Some(weight) if !is_weight(weight) => {
                Err(Error::flag("--blkio-weight", weight, WEIGHT))
            }
            weight => Ok(weight),
        }
    }

    /// `--cpus`, which like Docker's does not exceed what the machine has.
    fn nano_cpus(&self) -> Result<Option<i64>> {
        let Some(cpus) = &self.cpus else { return Ok(None) };
        if cpus.parse() == Ok(0.0) {
            return Ok(None);
        }
        let all = rustix::thread::sched_getaffinity(None).map_or(8192, |set| set.count());
        let value = cpus.parse::<f64>().ok().filter(|n| (0.01..=f64::from(all)).contains(n));
        let Some(value) = value else {
            let problem = format!(
                "range of CPUs is from 0.01 to {all}.00, as there are only {all} CPUs available"
            );
            return Err(Error::flag("--cpus", cpus, problem));
        };
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let problem = "cannot be combined with --cpu-quota or --cpu-period";
            return Err(Error::flag("--cpus", cpus, problem));
        }
        Ok(Some((value * 1e9).round() as i64))
    }

    pub(crate) fn resolve(&self) -> Result<Limits> {
        // Docker's 0 is no limit.
        let memory = self.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?;
        let memory = memory.filter(|memory| *memory != 0);
        if memory.is_some_and(|memory| memory < 6 << 20) {
            let text = self.memory.clone().unwrap_or_default();
            return Err(Error::flag("--memory", text, "must be at least 6m"));
        }
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            Some(text) => Some(bytes("--memory-swap", text)?).filter(|swap| *swap != 0),
            None => None,
        };
        if let (Some(memory), Some(swap @ 1..)) = (memory, memory_swap)
            && swap < memory
        {
            let text = self.memory_swap.clone().unwrap_or_default();
            let problem = "must not be less than --memory, which it includes";
            return Err(Error::flag("--memory-swap", text, problem));
        }
        let size = |flag: &'static str, text: &Option<String>| {
            let size = text.as_deref().map(|text| bytes(flag, text)).transpose();
            size.map(|size| size.filter(|size| *size != 0))
        };
        Ok(Limits {
            memory,
            memory_swap,
            memory_reservation: size("--memory-reservation", &self.memory_reservation)?,
            nano_cpus: self.nano_cpus()?,
            cpu_quota: self.cpu_quota.filter(|quota| *quota != 0),
            cpu_period: self.cpu_period.filter(|period| *period != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit.map(|limit| if limit == 0 { -1 } else { limit }),
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_rt_period: self.cpu_rt_period,
            blkio_weight: self.weight()?,
            ..Limits::default()
        })
    }
}

impl FixedLimitFlags {
    /// Adds them to the others.
    pub(super) fn add_to(&self, limits: Limits) -> Result<Limits> {
        // As Docker: as much swap as memory, where the kernel counts swap at all.
        let default_swap =
            limits.memory.filter(|_| counts_swap()).map(|memory| memory.saturating_mul(2));
        Ok(Limits {
            memory_swap: limits.memory_swap.or(default_swap),
            memory_swappiness: self.swappiness()?,
            oom_kill_disable: self.oom_kill_disable,
            device_weights: self.device_weights()?,
            throttles: self.throttles()?,
            cgroup_parent: self.parent()?,
            ..limits
        })
    }

    fn swappiness(&self) -> Result<Option<u64>> {
        match self.memory_swappiness {
            Some(value @ 101..) => {
                Err(Error::flag("--memory-swappiness", value, "must be 0 to 100"))
            }
            value => Ok(value),
        }
    }

    fn device_weights(&self) -> Result<Vec<(String, u16)>> {
        let parse = |text: &String| {
            let (path, value) = of_device(Field::BlkioWeightDevice, text)?;
            let weight = value.parse().ok().filter(|weight| is_weight(*weight));
            Ok((path, weight.ok_or_else(|| Error::flag("--blkio-weight-device", text, WEIGHT))?))
        };
        self.blkio_weight_device.iter().map(parse).collect()
    }

    fn throttles(&self) -> Result<Vec<Throttle>> {
        let mut throttles = Vec::new();
        for (field, list, kind) in [
            (Field::BlkioDeviceReadBps, &self.device_read_bps, ThrottleKind::ReadBytes),
            (Field::BlkioDeviceWriteBps, &self.device_write_bps, ThrottleKind::WriteBytes),
            (Field::BlkioDeviceReadIops, &self.device_read_iops, ThrottleKind::ReadOperations),
            (Field::BlkioDeviceWriteIops, &self.device_write_iops, ThrottleKind::WriteOperations),
        ] {
            for text in list {
                let flag = flag_of(field);
                let (device, value) = of_device(field, text)?;
                let rate = match kind {
                    ThrottleKind::ReadBytes | ThrottleKind::WriteBytes => {
                        bytes(flag, value)?.unsigned_abs()
                    }
                    _ => {
                        value.parse().map_err(|_| Error::flag(flag, text, "must be PATH:NUMBER"))?
                    }
                };
                throttles.push(Throttle { kind, device, rate });
            }
        }
        Ok(throttles)
    }

    fn parent(&self) -> Result<Option<String>> {
        let Some(parent) = &self.cgroup_parent else { return Ok(None) };
        let bad = |problem: &str| Err(Error::flag("--cgroup-parent", parent, problem));
        let mut parts = parent.split('/');
        if parts.any(|part| part == "..") || parent.trim_matches('/').is_empty() {
            return bad("must be the path of a cgroup");
        }
        match parent.ends_with(".slice") {
            true => bad("is a systemd slice, and cgroups are made without systemd: use a path"),
            false => Ok(Some(parent.clone())),
        }
    }
}
