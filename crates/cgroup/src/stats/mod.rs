//! What a container uses, in the shape of `runc events` (its `types.Stats`).

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::Error;
use crate::kernfs;

/// The `data` of an event of type `stats`. What a layout does not tell is 0 or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are those of runc's events")]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
    pub intel_rdt: BTreeMap<String, String>,
    pub network_interfaces: Option<()>,
}

macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident {
        $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)?
    })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase")]
        #[allow(missing_docs, reason = "the fields are those of runc's events")]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
    )+ };
}

stats! {
    /// Processor time.
    Cpu {
        usage: CpuUsage,
        throttling: Throttling,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Pressure>,
    }

    /// Processor time in nanoseconds.
    CpuUsage {
        total: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        percpu: Vec<u64>,
        #[serde(rename = "percpu_kernel", skip_serializing_if = "Vec::is_empty")]
        percpu_kernel: Vec<u64>,
        #[serde(rename = "percpu_user", skip_serializing_if = "Vec::is_empty")]
        percpu_user: Vec<u64>,
        kernel: u64,
        user: u64,
    }

    /// Periods in which the quota was used up; the time in nanoseconds.
    Throttling {
        periods: u64,
        throttled_periods: u64,
        throttled_time: u64,
    }

    /// Processors and memory nodes.
    Cpuset {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cpus: Vec<u16>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mems: Vec<u16>,
    }

    /// Memory in bytes; `raw` is `memory.stat`.
    Memory {
        cache: u64,
        usage: MemoryEntry,
        swap: MemoryEntry,
        kernel: MemoryEntry,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: MemoryEntry,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        raw: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Pressure>,
    }

    /// One account of memory; `failcnt` counts how often the limit was met.
    MemoryEntry {
        limit: u64,
        usage: u64,
        max: u64,
        failcnt: u64,
    }

    /// Processes; a limit of 0 is none.
    Pids {
        current: u64,
        limit: u64,
    }

    /// Block device traffic.
    Blkio {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        io_service_bytes_recursive: Vec<BlkioEntry>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        io_serviced_recursive: Vec<BlkioEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Pressure>,
    }

    /// One device and operation.
    BlkioEntry {
        major: u64,
        minor: u64,
        op: String,
        value: u64,
    }

    /// Huge pages of one size, in bytes.
    Hugetlb {
        usage: u64,
        max: u64,
        failcnt: u64,
    }

    /// Pressure stall information (accounting/psi.rst).
    Pressure {
        some: PressureLine,
        full: PressureLine,
    }

    /// Shares of time in percent, and microseconds in total.
    PressureLine {
        avg10: f64,
        avg60: f64,
        avg300: f64,
        total: u64,
    }
}

impl Cgroup {
    /// What the container uses now.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        let at = |controller: Controller| {
            self.v1.iter().find(|d| d.has(controller)).map(|directory| directory.path.as_path())
        };
        let v2 = self.v2.as_deref();
        match (at(Controller::Cpu), v2) {
            (Some(path), _) => v1::throttling(path, &mut stats.cpu.throttling)?,
            (None, Some(path)) => v2::cpu(path, &mut stats.cpu)?,
            (None, None) => {}
        }
        if let Some(path) = at(Controller::Cpuacct) {
            v1::cpu_usage(path, &mut stats.cpu.usage)?;
        }
        if let Some(path) = at(Controller::Cpuset).or(v2) {
            stats.cpuset.cpus = numbers(path, &["cpuset.effective_cpus", "cpuset.cpus.effective"])?;
            stats.cpuset.mems = numbers(path, &["cpuset.effective_mems", "cpuset.mems.effective"])?;
        }
        match (at(Controller::Memory), v2) {
            (Some(path), _) => v1::memory(path, &mut stats.memory)?,
            (None, Some(path)) => v2::memory(path, &mut stats.memory)?,
            (None, None) => {}
        }
        if let Some(path) = at(Controller::Pids).or(v2) {
            stats.pids.current = value(&path.join("pids.current"))?.unwrap_or(0);
            stats.pids.limit = value(&path.join("pids.max"))?.unwrap_or(0);
        }
        match (at(Controller::Io), v2) {
            (Some(path), _) => v1::blkio(path, &mut stats.blkio)?,
            (None, Some(path)) => v2::io(path, &mut stats.blkio)?,
            (None, None) => {}
        }
        match (at(Controller::Hugetlb), v2) {
            (Some(path), _) => v1::hugetlb(path, &mut stats.hugetlb)?,
            (None, Some(path)) => v2::hugetlb(path, &mut stats.hugetlb)?,
            (None, None) => {}
        }
        Ok(stats)
    }
}

/// The number in a file; `None` for "max" or where there is no such file.
fn value(path: &Path) -> Result<Option<u64>, Error> {
    let Some(text) = kernfs::read_if_there(path)? else { return Ok(None) };
    match text.trim() {
        "max" => Ok(None),
        number => match number.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::Malformed { path: path.to_owned(), text: number.to_owned() }),
        },
    }
}

/// A file of "key value" lines; empty where there is no such file.
fn flat(path: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let text = kernfs::read_if_there(path)?.unwrap_or_default();
    text.lines()
        .map(|line| {
            line.split_once(' ')
                .and_then(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
                .ok_or_else(|| Error::Malformed { path: path.to_owned(), text: line.to_owned() })
        })
        .collect()
}

/// A list such as "0-3,5", from the first of the files that is there.
fn numbers(directory: &Path, files: &[&str]) -> Result<Vec<u16>, Error> {
    for file in files {
        let path = directory.join(file);
        let Some(text) = kernfs::read_if_there(&path)? else { continue };
        let malformed = || Error::Malformed { path: path.clone(), text: text.clone() };
        let mut list = Vec::new();
        for range in text.trim().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first: u16 = first.parse().map_err(|_| malformed())?;
            let last: u16 = last.parse().map_err(|_| malformed())?;
            if list.len() + range_length(first, last) > MOST_NUMBERS {
                return Err(malformed());
            }
            list.extend(first..=last);
        }
        return Ok(list);
    }
    Ok(Vec::new())
}

/// No kernel has as many CPUs or nodes.
const MOST_NUMBERS: usize = 1 << 16;

fn range_length(first: u16, last: u16) -> usize {
    (usize::from(last) + 1).saturating_sub(usize::from(first))
}

/// The sizes of huge pages that a cgroup has files for.
fn page_sizes(directory: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_runc() {
        let mut stats = Stats::default();
        stats.cpu.usage.percpu_kernel = vec![1];
        let entry = BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 5 };
        stats.blkio.io_service_bytes_recursive = vec![entry];
        stats.hugetlb.insert("2MB".into(), Hugetlb::default());
        let json = serde_json::to_value(&stats).unwrap();
        for path in [
            "/cpu/usage/percpu_kernel/0",
            "/cpu/throttling/throttledPeriods",
            "/memory/usage/failcnt",
            "/memory/kernelTCP/limit",
            "/pids/current",
            "/blkio/ioServiceBytesRecursive/0/op",
            "/hugetlb/2MB/max",
            "/intel_rdt",
            "/network_interfaces",
        ] {
            assert!(json.pointer(path).is_some(), "{path}: {json}");
        }
    }

    #[test]
    fn a_list_has_no_more_numbers_than_there_are() {
        let directory = std::env::temp_dir().join(format!("husk-numbers.{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let of = |text: &str| {
            std::fs::write(directory.join("cpus"), text).unwrap();
            numbers(&directory, &["missing", "cpus"]).map(|list| list.len())
        };
        assert_eq!(of("0-3,8\n").unwrap(), 5);
        assert_eq!(of("0-65535").unwrap(), 65536);
        assert_eq!(of("\n").unwrap(), 0);
        assert!(of("0-65535,0-65535").is_err());
        assert!(of("0-65536").is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
