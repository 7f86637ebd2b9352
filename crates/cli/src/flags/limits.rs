//! Limits of the cgroup.

use clap::Args;

use husk_engine::container::config::{Limits, Throttle, ThrottleKind};
use husk_engine::error::{Error, Result};

/// Limits of the cgroup.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit of memory and swap together; -1 for none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// How many CPUs' time
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// CPU time a period, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of the period, in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,
    /// Share of CPU time against others
    #[arg(short, long, value_name = "N")]
    cpu_shares: Option<u64>,
    /// CPUs to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Realtime CPU time a period, in microseconds; cgroup v1
    #[arg(long, value_name = "USEC")]
    cpu_rt_runtime: Option<i64>,
    /// Length of the realtime period, in microseconds; cgroup v1
    #[arg(long, value_name = "USEC")]
    cpu_rt_period: Option<u64>,
    /// Share of block I/O against others, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
}

/// Limits that last as long as the container: `update` does not change them.
#[derive(Debug, Args)]
pub(crate) struct FixedLimitFlags {
    /// Swappiness, 0 to 100; cgroup v1
    #[arg(long, value_name = "N")]
    memory_swappiness: Option<u64>,
    /// Do not kill for want of memory, but wait; cgroup v1
    #[arg(long)]
    oom_kill_disable: bool,
    /// The same of one device: PATH:WEIGHT
    #[arg(long, value_name = "PATH:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Most bytes a second to read from a device: PATH:BYTES
    #[arg(long, value_name = "PATH:BYTES")]
    device_read_bps: Vec<String>,
    /// Most bytes a second to write to a device: PATH:BYTES
    #[arg(long, value_name = "PATH:BYTES")]
    device_write_bps: Vec<String>,
    /// Most reads a second from a device: PATH:N
    #[arg(long, value_name = "PATH:N")]
    device_read_iops: Vec<String>,
    /// Most writes a second to a device: PATH:N
    #[arg(long, value_name = "PATH:N")]
    device_write_iops: Vec<String>,
    /// The cgroup that the container's own is made in
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

/// `512`, `64k`, `1.5g` in bytes.
pub(crate) fn bytes(flag: &'static str, text: &str) -> Result<i64> {
    let bad = || Error::flag(flag, text, "is not a size, such as 64m or 1g");
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

const WEIGHT: &str = "is not 10 to 1000";

fn is_weight(weight: u16) -> bool {
    (10..=1000).contains(&weight)
}

/// PATH:VALUE of a block device.
fn of_device<'a>(flag: &'static str, text: &'a str) -> Result<(String, &'a str)> {
    let problem = "is not like /dev/sda:VALUE";
    let (path, value) = text.rsplit_once(':').ok_or_else(|| Error::flag(flag, text, problem))?;
    husk_engine::device::block_number(flag, path)?;
    Ok((path.to_owned(), value))
}

impl LimitFlags {
    fn weight(&self) -> Result<Option<u16>> {
        match self.blkio_weight {
            Some(weight) if !is_weight(weight) => {
                Err(Error::flag("--blkio-weight", weight, WEIGHT))
            }
            weight => Ok(weight),
        }
    }

    /// `--cpus`, which like Docker's does not exceed what the machine has.
    fn nano_cpus(&self) -> Result<Option<i64>> {
        let Some(cpus) = &self.cpus else { return Ok(None) };
        let all = rustix::thread::sched_getaffinity(None).map_or(8192, |set| set.count());
        let value = cpus.parse::<f64>().ok().filter(|n| (0.01..=f64::from(all)).contains(n));
        let Some(value) = value else {
            let problem = format!(
                "range of CPUs is from 0.01 to {all}.00, as there are only {all} CPUs available"
            );
            return Err(Error::flag("--cpus", cpus, problem));
        };
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let problem = "cannot stand beside --cpu-quota and --cpu-period";
            return Err(Error::flag("--cpus", cpus, problem));
        }
        Ok(Some((value * 1e9).round() as i64))
    }

    pub(crate) fn resolve(&self) -> Result<Limits> {
        let memory = self.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?;
        if memory.is_some_and(|memory| memory < 6 << 20) {
            let text = self.memory.clone().unwrap_or_default();
            return Err(Error::flag("--memory", text, "is below the least, 6m"));
        }
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            Some(text) => Some(bytes("--memory-swap", text)?),
            None => None,
        };
        Ok(Limits {
            memory,
            memory_swap,
            memory_reservation: self
                .memory_reservation
                .as_deref()
                .map(|text| bytes("--memory-reservation", text))
                .transpose()?,
            nano_cpus: self.nano_cpus()?,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
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
        Ok(Limits {
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
                Err(Error::flag("--memory-swappiness", value, "is not 0 to 100"))
            }
            value => Ok(value),
        }
    }

    fn device_weights(&self) -> Result<Vec<(String, u16)>> {
        const FLAG: &str = "--blkio-weight-device";
        let parse = |text: &String| {
            let (path, value) = of_device(FLAG, text)?;
            let weight = value.parse().ok().filter(|weight| is_weight(*weight));
            Ok((path, weight.ok_or_else(|| Error::flag(FLAG, text, WEIGHT))?))
        };
        self.blkio_weight_device.iter().map(parse).collect()
    }

    fn throttles(&self) -> Result<Vec<Throttle>> {
        let mut throttles = Vec::new();
        for (flag, list, kind) in [
            ("--device-read-bps", &self.device_read_bps, ThrottleKind::ReadBytes),
            ("--device-write-bps", &self.device_write_bps, ThrottleKind::WriteBytes),
            ("--device-read-iops", &self.device_read_iops, ThrottleKind::ReadOperations),
            ("--device-write-iops", &self.device_write_iops, ThrottleKind::WriteOperations),
        ] {
            for text in list {
                let (device, value) = of_device(flag, text)?;
                let rate = match kind {
                    ThrottleKind::ReadBytes | ThrottleKind::WriteBytes => {
                        bytes(flag, value)?.unsigned_abs()
                    }
                    _ => {
                        value.parse().map_err(|_| Error::flag(flag, text, "is not PATH:NUMBER"))?
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
            return bad("is not the path of a cgroup");
        }
        match parent.ends_with(".slice") {
            true => bad("is a slice of systemd's, and cgroups are made without it: give a path"),
            false => Ok(Some(parent.clone())),
        }
    }
}
