//! Limits of the cgroup.

use clap::Args;
use husk_engine::container::config::{Limits, Throttle, ThrottleKind};
use husk_engine::error::Field;

use super::bytes;
use crate::error::{Error, Result};

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

/// PATH:VALUE of a block device.
fn of_device<'a>(flag: &'static str, text: &'a str) -> Result<(String, &'a str)> {
    let problem = "must be DEVICE:VALUE, such as /dev/sda:1mb";
    let (path, value) = text.rsplit_once(':').ok_or_else(|| Error::flag(flag, text, problem))?;
    Ok((path.to_owned(), value))
}

impl LimitFlags {
    /// What is asked for; the library checks it.
    ///
    /// # Errors
    /// A size that is none.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let size = |flag, text: &Option<String>| match text.as_deref() {
            Some(text) => bytes(flag, text).map(Some),
            None => Ok(None),
        };
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            _ => size("--memory-swap", &self.memory_swap)?,
        };
        // What is no number is out of the range that the library names.
        let nano = |text: &String| text.parse().map_or(-1, |cpus: f64| (cpus * 1e9).round() as i64);
        Ok(Limits {
            memory: size("--memory", &self.memory)?,
            memory_swap,
            memory_reservation: size("--memory-reservation", &self.memory_reservation)?,
            nano_cpus: self.cpus.as_ref().map(nano),
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_rt_period: self.cpu_rt_period,
            blkio_weight: self.blkio_weight,
            ..Limits::default()
        })
    }

    /// The value of a field as it was written, where the library was given another form of it.
    pub(crate) fn written(&self, field: Field) -> Option<&String> {
        match field {
            Field::Memory => self.memory.as_ref(),
            Field::MemorySwap => self.memory_swap.as_ref(),
            Field::MemoryReservation => self.memory_reservation.as_ref(),
            Field::NanoCpus => self.cpus.as_ref(),
            _ => None,
        }
    }
}

impl FixedLimitFlags {
    /// Adds them to the others.
    pub(super) fn add_to(&self, limits: Limits) -> Result<Limits> {
        Ok(Limits {
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable,
            device_weights: self.device_weights()?,
            throttles: self.throttles()?,
            cgroup_parent: self.cgroup_parent.clone(),
            ..limits
        })
    }

    fn device_weights(&self) -> Result<Vec<(String, u16)>> {
        const FLAG: &str = "--blkio-weight-device";
        let parse = |text: &String| {
            let (path, value) = of_device(FLAG, text)?;
            let weight = value.parse().map_err(|_| Error::flag(FLAG, text, "must be 10 to 1000"));
            Ok((path, weight?))
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
                        value.parse().map_err(|_| Error::flag(flag, text, "must be PATH:NUMBER"))?
                    }
                };
                throttles.push(Throttle { kind, device, rate });
            }
        }
        Ok(throttles)
    }
}
