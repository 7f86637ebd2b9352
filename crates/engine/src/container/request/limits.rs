//! Limits of the cgroup: what is asked for, checked.

use crate::container::config::{Limits, Throttle, ThrottleKind};
use crate::device::block_number;
use crate::error::{Error, Field, Problem, Result};

const WEIGHT: &str = "must be 10 to 1000";
/// Docker's least.
const LEAST_MEMORY: i64 = 6 << 20;

/// The field of a throttle.
pub(crate) fn field_of(kind: ThrottleKind) -> Field {
    match kind {
        ThrottleKind::ReadBytes => Field::BlkioDeviceReadBps,
        ThrottleKind::WriteBytes => Field::BlkioDeviceWriteBps,
        ThrottleKind::ReadOperations => Field::BlkioDeviceReadIops,
        ThrottleKind::WriteOperations => Field::BlkioDeviceWriteIops,
    }
}

/// Whether the kernel limits swap: it has swap, and with cgroup v1 it was told to count it.
pub fn counts_swap() -> bool {
    let memory = std::path::Path::new("/sys/fs/cgroup/memory");
    std::path::Path::new("/proc/swaps").exists()
        && (!memory.exists() || memory.join("memory.memsw.limit_in_bytes").exists())
}

fn is_weight(weight: u16) -> bool {
    (10..=1000).contains(&weight)
}

impl Limits {
    /// What can be honoured of what is asked for, where 0 is no limit as Docker has it.
    ///
    /// # Errors
    /// A field that cannot.
    pub fn checked(&self) -> Result<Self> {
        let set = |value: Option<i64>| value.filter(|value| *value != 0);
        let limits = Self {
            memory: set(self.memory),
            memory_swap: set(self.memory_swap),
            memory_reservation: set(self.memory_reservation),
            nano_cpus: set(self.nano_cpus),
            cpu_quota: set(self.cpu_quota),
            cpu_period: self.cpu_period.filter(|period| *period != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            blkio_weight: self.blkio_weight.filter(|weight| *weight != 0),
            pids: self.pids.map(|limit| if limit == 0 { -1 } else { limit }),
            cpuset_cpus: self.cpuset_cpus.clone().filter(|list| !list.is_empty()),
            cpuset_mems: self.cpuset_mems.clone().filter(|list| !list.is_empty()),
            cgroup_parent: self.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
            ..self.clone()
        };
        limits.check_memory()?;
        limits.check_cpus()?;
        limits.check_devices()?;
        limits.check_parent()?;
        Ok(limits)
    }

    /// As Docker: as much swap as memory, where the kernel counts swap at all.
    pub(super) fn with_default_swap(self) -> Self {
        let default = self.memory.filter(|_| counts_swap()).map(|memory| memory.saturating_mul(2));
        Self { memory_swap: self.memory_swap.or(default), ..self }
    }

    fn check_memory(&self) -> Result<()> {
        if let Some(memory) = self.memory.filter(|memory| *memory < LEAST_MEMORY) {
            return Err(Error::field(Field::Memory, memory, "must be at least 6m"));
        }
        if let Some(swap) = self.memory_swap.filter(|swap| *swap < -1) {
            let problem = "must be -1 for unlimited swap, or a size";
            return Err(Error::field(Field::MemorySwap, swap, problem));
        }
        if let (Some(memory), Some(swap @ 1..)) = (self.memory, self.memory_swap)
            && swap < memory
        {
            let problem = Problem::from("must not be less than ");
            let problem = problem.field(Field::Memory).text(", which it includes");
            return Err(Error::field(Field::MemorySwap, swap, problem));
        }
        if let Some(size) = self.memory_reservation.filter(|size| *size < 0) {
            return Err(Error::field(Field::MemoryReservation, size, "must not be negative"));
        }
        match self.memory_swappiness {
            Some(value @ 101..) => {
                Err(Error::field(Field::MemorySwappiness, value, "must be 0 to 100"))
            }
            _ => Ok(()),
        }
    }

    /// Processors, which like Docker's do not exceed what the machine has.
    fn check_cpus(&self) -> Result<()> {
        let Some(nano) = self.nano_cpus else { return Ok(()) };
        let all = rustix::thread::sched_getaffinity(None).map_or(8192, |set| set.count());
        let value = nano as f64 / 1e9;
        if !(0.01..=f64::from(all)).contains(&value) {
            let problem = format!(
                "range of CPUs is from 0.01 to {all}.00, as there are only {all} CPUs available"
            );
            return Err(Error::field(Field::NanoCpus, value, problem));
        }
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let problem = Problem::from("cannot be combined with ").field(Field::CpuQuota);
            let problem = problem.text(" or ").field(Field::CpuPeriod);
            return Err(Error::field(Field::NanoCpus, value, problem));
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<()> {
        if let Some(weight) = self.blkio_weight.filter(|weight| !is_weight(*weight)) {
            return Err(Error::field(Field::BlkioWeight, weight, WEIGHT));
        }
        for (path, weight) in &self.device_weights {
            block_number(Field::BlkioWeightDevice, path)?;
            if !is_weight(*weight) {
                let value = format!("{path}:{weight}");
                return Err(Error::field(Field::BlkioWeightDevice, value, WEIGHT));
            }
        }
        for Throttle { kind, device, .. } in &self.throttles {
            block_number(field_of(*kind), device)?;
        }
        Ok(())
    }

    fn check_parent(&self) -> Result<()> {
        let Some(parent) = &self.cgroup_parent else { return Ok(()) };
        let bad = |problem: &str| Err(Error::field(Field::CgroupParent, parent, problem));
        let mut parts = parent.split('/');
        if parts.any(|part| part == "..") || parent.trim_matches('/').is_empty() {
            return bad("must be the path of a cgroup");
        }
        match parent.ends_with(".slice") {
            true => bad("is a systemd slice, and cgroups are made without systemd: use a path"),
            false => Ok(()),
        }
    }
}

/// `512`, `64k`, `1.5g` in bytes; `None` where it is no size.
pub fn parse_size(text: &str) -> Option<i64> {
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
    let value: f64 = digits.trim().parse().ok()?;
    let bytes = value * (1u64 << shift) as f64;
    (bytes.is_finite() && (0.0..9.0e18).contains(&bytes)).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("64m", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2TiB", Some(2 << 40)),
            ("10KB", Some(10 << 10)),
            ("-1", None),
            ("x", None),
            ("", None),
            ("1e30", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn zero_is_no_limit_and_what_contradicts_itself_is_refused() {
        let zero = Limits {
            memory: Some(0),
            cpu_quota: Some(0),
            pids: Some(0),
            blkio_weight: Some(0),
            ..Limits::default()
        };
        let expected = Limits { pids: Some(-1), ..Limits::default() };
        assert_eq!(zero.checked().unwrap(), expected);
        let refused = |limits: Limits| limits.checked().unwrap_err().to_string();
        let limits =
            Limits { memory: Some(8 << 20), memory_swap: Some(7 << 20), ..Limits::default() };
        assert_eq!(
            refused(limits),
            "HostConfig.MemorySwap \"7340032\": must not be less than HostConfig.Memory, which it \
             includes"
        );
        let limits =
            Limits { nano_cpus: Some(10_000_000), cpu_period: Some(1), ..Limits::default() };
        assert_eq!(
            refused(limits),
            "HostConfig.NanoCpus \"0.01\": cannot be combined with HostConfig.CpuQuota or \
             HostConfig.CpuPeriod"
        );
        let limits = Limits { cgroup_parent: Some("a/../b".to_owned()), ..Limits::default() };
        assert!(refused(limits).starts_with("HostConfig.CgroupParent \"a/../b\""));
    }
}
