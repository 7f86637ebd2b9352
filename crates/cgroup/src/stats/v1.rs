//! Use as v1's files tell it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Blkio, BlkioEntry, CpuUsage, Hugetlb, Memory, MemoryEntry, Throttling};
use super::{flat, page_sizes, value};
use crate::error::Error;
use crate::kernfs;

/// USER_HZ, which the kernel fixes towards user space.
const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / 100;

pub(super) fn throttling(directory: &Path, throttling: &mut Throttling) -> Result<(), Error> {
    let stat = flat(&directory.join("cpu.stat"))?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    *throttling = Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_time"),
    };
    Ok(())
}

pub(super) fn cpu_usage(directory: &Path, usage: &mut CpuUsage) -> Result<(), Error> {
    usage.total = value(&directory.join("cpuacct.usage"))?.unwrap_or(0);
    let stat = flat(&directory.join("cpuacct.stat"))?;
    let ticks = |key: &str| stat.get(key).copied().unwrap_or(0);
    usage.user = ticks("user").saturating_mul(NANOSECONDS_PER_TICK);
    usage.kernel = ticks("system").saturating_mul(NANOSECONDS_PER_TICK);
    let all = kernfs::read_if_there(&directory.join("cpuacct.usage_all"))?.unwrap_or_default();
    // "cpu user system", then a line for each processor.
    for line in all.lines().skip(1) {
        let mut words = line.split(' ').skip(1).map(|word| word.parse().unwrap_or(0));
        usage.percpu_user.push(words.next().unwrap_or(0));
        usage.percpu_kernel.push(words.next().unwrap_or(0));
    }
    let percpu =
        kernfs::read_if_there(&directory.join("cpuacct.usage_percpu"))?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Ok(())
}

pub(super) fn memory(directory: &Path, memory: &mut Memory) -> Result<(), Error> {
    memory.raw = flat(&directory.join("memory.stat"))?;
    let cache = memory.raw.get("total_cache").or(memory.raw.get("cache"));
    memory.cache = cache.copied().unwrap_or(0);
    memory.usage = entry(directory, "memory")?;
    memory.swap = entry(directory, "memory.memsw")?;
    memory.kernel = entry(directory, "memory.kmem")?;
    memory.kernel_tcp = entry(directory, "memory.kmem.tcp")?;
    Ok(())
}

fn entry(directory: &Path, prefix: &str) -> Result<MemoryEntry, Error> {
    let get = |file: &str| -> Result<u64, Error> {
        Ok(value(&directory.join(format!("{prefix}.{file}")))?.unwrap_or(0))
    };
    Ok(MemoryEntry {
        limit: get("limit_in_bytes")?,
        usage: get("usage_in_bytes")?,
        max: get("max_usage_in_bytes")?,
        failcnt: get("failcnt")?,
    })
}

pub(super) fn blkio(directory: &Path, blkio: &mut Blkio) -> Result<(), Error> {
    // BFQ counts what goes through it, the throttle what it has seen: the one
    // that has seen anything is meant.
    let either = |file: &str| -> Result<Vec<BlkioEntry>, Error> {
        let bfq = entries(&directory.join(format!("blkio.bfq.{file}")))?;
        if bfq.is_empty() {
            return entries(&directory.join(format!("blkio.throttle.{file}")));
        }
        Ok(bfq)
    };
    blkio.io_service_bytes_recursive = either("io_service_bytes_recursive")?;
    blkio.io_serviced_recursive = either("io_serviced_recursive")?;
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<BlkioEntry>, Error> {
    let text = kernfs::read_if_there(path)?.unwrap_or_default();
    Ok(text.lines().filter_map(parse).collect())
}

/// "8:0 Read 4096"; the sum over all devices, "Total 4096", is none.
fn parse(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: words.next()?.to_owned(),
        value: words.next()?.parse().ok()?,
    })
}

pub(super) fn hugetlb(
    directory: &Path,
    sizes: &mut BTreeMap<String, Hugetlb>,
) -> Result<(), Error> {
    for size in page_sizes(directory, ".usage_in_bytes") {
        let get = |file: &str| -> Result<u64, Error> {
            Ok(value(&directory.join(format!("hugetlb.{size}.{file}")))?.unwrap_or(0))
        };
        let entry = Hugetlb {
            usage: get("usage_in_bytes")?,
            max: get("max_usage_in_bytes")?,
            failcnt: get("failcnt")?,
        };
        sizes.insert(size, entry);
    }
    Ok(())
}
