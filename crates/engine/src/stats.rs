//! What a container uses: what the runtime reads from its cgroup, and what its network interfaces
//! have moved.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::clock;
use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::runtime::Runtime;
use crate::system::total_memory;

/// Nanoseconds in a clock tick of /proc/stat, which has a hundred a second everywhere.
const TICK: u64 = 10_000_000;

/// What a running container has used until now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it was taken, as RFC 3339.
    pub time: String,
    /// Nanoseconds of all processors of the machine since its boot, idle ones included.
    pub system_time: u64,
    /// What its cgroup says.
    pub used: Used,
    /// Its network interfaces by name, without loopback.
    pub networks: BTreeMap<String, Interface>,
}

/// What a cgroup says. What it does not count is 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Block devices: lists of counts by what is counted, such as `ioServiceBytesRecursive`.
    pub blkio: BTreeMap<String, Option<Vec<BlockCount>>>,
}

/// Processor time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// When the quota was used up.
    pub throttling: Throttling,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CpuUsage {
    /// In all.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In the program.
    pub user: u64,
    /// By processor; cgroup v1 alone has them.
    pub percpu: Vec<u64>,
}

/// Periods of the CPU quota.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttling {
    /// How many there were.
    pub periods: u64,
    /// In how many the quota was used up.
    pub throttled_periods: u64,
    /// Nanoseconds that processes had to wait then.
    pub throttled_time: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Memory {
    /// Use and limit.
    pub usage: MemoryUsage,
    /// `memory.stat` of the cgroup.
    pub raw: BTreeMap<String, u64>,
}

/// Bytes of memory.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct MemoryUsage {
    /// Used, the page cache included.
    pub usage: u64,
    /// The limit; 0 or a number beyond all memory for none.
    pub limit: u64,
    /// The most that was used; cgroup v1 alone has it.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for no limit.
    pub limit: u64,
}

/// One count of a block device.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct BlockCount {
    /// The device's major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// `Read`, `Write` and others.
    pub op: String,
    /// Bytes, operations or nanoseconds.
    pub value: u64,
}

/// What a network interface has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets sent with an error.
    pub tx_errors: u64,
    /// Packets dropped before they were sent.
    pub tx_dropped: u64,
}

impl Sample {
    /// Takes one; `None` of a container that does not run.
    ///
    /// # Errors
    /// A runtime that is not there, or whose words are not understood.
    pub fn take(home: &Home, container: &Container) -> Result<Option<Self>> {
        let state = container.state()?;
        if state.status != Status::Running {
            return Ok(None);
        }
        let runtime = Runtime::of(home, container)?;
        // It may end while we look: then it is one that does not run.
        let Ok(text) = runtime.output(&["events", "--stats", container.id()]) else {
            return Ok(None);
        };
        let event: Event = serde_json::from_str(&text).map_err(Error::other)?;
        Ok(Some(Self {
            time: clock::timestamp(),
            system_time: system_time(),
            used: event.data,
            networks: interfaces(state.pid),
        }))
    }

    /// The bytes that all interfaces have received and sent.
    pub fn network_bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&Interface) -> u64| self.networks.values().map(of).sum();
        (sum(|one| one.rx_bytes), sum(|one| one.tx_bytes))
    }
}

impl Used {
    /// The bytes read from and written to block devices.
    pub fn block_bytes(&self) -> (u64, u64) {
        let counts = self.blkio.get("ioServiceBytesRecursive").and_then(Option::as_deref);
        let sum = |op: &str| {
            let counts = counts.unwrap_or_default().iter();
            counts.filter(|one| one.op.eq_ignore_ascii_case(op)).map(|one| one.value).sum()
        };
        (sum("read"), sum("write"))
    }
}

impl Memory {
    /// Whether the numbers are those of cgroup v1.
    pub fn is_v1(&self) -> bool {
        self.raw.contains_key("total_inactive_file")
    }

    /// The bytes used without the part of the page cache that is given back at once.
    pub fn working_set(&self) -> u64 {
        let inactive = ["total_inactive_file", "inactive_file"];
        let inactive = inactive.iter().find_map(|name| self.raw.get(*name)).copied();
        self.usage.usage.saturating_sub(inactive.unwrap_or(0))
    }

    /// The limit in bytes, at most what the machine has.
    pub fn limit(&self) -> u64 {
        bounded(self.usage.limit, total_memory())
    }
}

fn bounded(limit: u64, machine: u64) -> u64 {
    if (1..machine).contains(&limit) { limit } else { machine }
}

/// A line of `husk-oci events`.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    data: Used,
}

/// Nanoseconds of all processors since the boot, idle ones included (proc_stat(5)).
fn system_time() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // Guests' time is a part of the user's.
    let ticks = first.split_whitespace().skip(1).take(8).filter_map(|n| n.parse::<u64>().ok());
    ticks.sum::<u64>().saturating_mul(TICK)
}

/// What the interfaces of a process's network namespace have moved (proc_pid_net(5)).
fn interfaces(pid: i32) -> BTreeMap<String, Interface> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut interfaces = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let fields: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        if name.trim() == "lo" {
            continue;
        }
        let interface = Interface {
            rx_bytes: field(0),
            rx_packets: field(1),
            rx_errors: field(2),
            rx_dropped: field(3),
            tx_bytes: field(8),
            tx_packets: field(9),
            tx_errors: field(10),
            tx_dropped: field(11),
        };
        interfaces.insert(name.trim().to_owned(), interface);
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_without_idle_cache_and_within_the_machine() {
        let text = r#"{"data":{"memory":{"usage":{"usage":500,"limit":1000},
            "raw":{"inactive_file":100}},"blkio":{"ioTimeRecursive":null,
            "ioServiceBytesRecursive":[{"major":8,"minor":0,"op":"Read","value":7},
            {"major":8,"minor":0,"op":"write","value":9}]}}}"#;
        let used = serde_json::from_str::<Event>(text).unwrap().data;
        assert_eq!(used.memory.working_set(), 400);
        assert_eq!(used.block_bytes(), (7, 9));
        assert!(!used.memory.is_v1());
        assert_eq!(bounded(1000, 5000), 1000);
        assert_eq!(bounded(u64::MAX / 2, 5000), 5000);
        assert_eq!(bounded(0, 5000), 5000);
    }
}
