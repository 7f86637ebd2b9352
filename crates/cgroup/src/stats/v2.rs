//! Use as v2's files tell it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pressure, PressureLine};
use super::{flat, page_sizes, value};
use crate::error::Error;
use crate::kernfs;

pub(super) fn cpu(directory: &Path, cpu: &mut Cpu) -> Result<(), Error> {
    let stat = flat(&directory.join("cpu.stat"))?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| get(key).saturating_mul(1000);
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = get("nr_periods");
    cpu.throttling.throttled_periods = get("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    cpu.psi = pressure(&directory.join("cpu.pressure"))?;
    Ok(())
}

pub(super) fn memory(directory: &Path, memory: &mut Memory) -> Result<(), Error> {
    memory.raw = flat(&directory.join("memory.stat"))?;
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let get = |file: &str| value(&directory.join(file));
    let Some(current) = get("memory.current")? else { return Ok(()) };
    let none = u64::MAX;
    memory.usage = MemoryEntry {
        limit: get("memory.max")?.unwrap_or(none),
        usage: current,
        max: get("memory.peak")?.unwrap_or(0),
        failcnt: flat(&directory.join("memory.events"))?.get("max").copied().unwrap_or(0),
    };
    if let Some(swap) = get("memory.swap.current")? {
        // In events swap is memory and swap together, as on v1.
        let limit = get("memory.swap.max")?.unwrap_or(none);
        memory.swap = MemoryEntry {
            limit: limit.saturating_add(memory.usage.limit),
            usage: swap.saturating_add(current),
            max: get("memory.swap.peak")?.unwrap_or(0),
            failcnt: 0,
        };
    }
    memory.psi = pressure(&directory.join("memory.pressure"))?;
    Ok(())
}

pub(super) fn io(directory: &Path, blkio: &mut Blkio) -> Result<(), Error> {
    let text = kernfs::read_if_there(&directory.join("io.stat"))?.unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let numbers = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = numbers.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    blkio.psi = pressure(&directory.join("io.pressure"))?;
    Ok(())
}

pub(super) fn hugetlb(
    directory: &Path,
    sizes: &mut BTreeMap<String, Hugetlb>,
) -> Result<(), Error> {
    for size in page_sizes(directory, ".current") {
        let events = flat(&directory.join(format!("hugetlb.{size}.events")))?;
        let entry = Hugetlb {
            usage: value(&directory.join(format!("hugetlb.{size}.current")))?.unwrap_or(0),
            max: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
        };
        sizes.insert(size, entry);
    }
    Ok(())
}

/// `None` where the kernel keeps no such account, or was told not to (psi=0).
fn pressure(path: &Path) -> Result<Option<Pressure>, Error> {
    let Some(text) = kernfs::read_if_there(path)? else { return Ok(None) };
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let pairs: BTreeMap<&str, &str> =
            rest.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let share = |key: &str| pairs.get(key).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        PressureLine {
            avg10: share("avg10"),
            avg60: share("avg60"),
            avg300: share("avg300"),
            total: pairs.get("total").and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    };
    Ok(Some(Pressure { some: line("some "), full: line("full ") }))
}
