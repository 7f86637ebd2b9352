//! Statistics of a container's cgroup, as containerd's messages have them.

use husk_cgroup::Cgroup;
use husk_cgroup::stats::{MemoryEntry, Stats};

use crate::message::Any;
use crate::message::metrics::{v1, v2};
use crate::ttrpc::Failure;

/// Reads the statistics: version 1 of the message where any v1 hierarchy accounts the
/// container, else version 2.
pub(crate) fn read(cgroup: &Cgroup) -> Result<Any, Failure> {
    let stats = cgroup.stats()?;
    let kills = cgroup.oom_kills()?.unwrap_or(0);
    Ok(match cgroup.v1.is_empty() {
        true => Any::pack(&unified(&stats, kills)),
        false => Any::pack(&legacy(&stats, kills)),
    })
}

fn legacy(stats: &Stats, oom_kill: u64) -> v1::Metrics {
    let entry = |entry: &MemoryEntry| v1::MemoryEntry {
        limit: entry.limit,
        usage: entry.usage,
        max: entry.max,
        failcnt: entry.failcnt,
    };
    let raw = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    let blkio = |entries: &[husk_cgroup::stats::BlkioEntry]| {
        let entries = entries.iter().map(|entry| v1::BlkIOEntry {
            op: entry.op.clone(),
            device: String::new(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        });
        entries.collect::<Vec<_>>()
    };
    v1::Metrics {
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|(pagesize, one)| v1::HugetlbStat {
                usage: one.usage,
                max: one.max,
                failcnt: one.failcnt,
                pagesize: pagesize.clone(),
            })
            .collect(),
        pids: Some(v1::PidsStat { current: stats.pids.current, limit: stats.pids.limit }),
        cpu: Some(v1::CPUStat {
            usage: Some(v1::CPUUsage {
                total: stats.cpu.usage.total,
                kernel: stats.cpu.usage.kernel,
                user: stats.cpu.usage.user,
                per_cpu: stats.cpu.usage.percpu.clone(),
            }),
            throttling: Some(v1::Throttle {
                periods: stats.cpu.throttling.periods,
                throttled_periods: stats.cpu.throttling.throttled_periods,
                throttled_time: stats.cpu.throttling.throttled_time,
            }),
        }),
        memory: Some(v1::MemoryStat {
            cache: raw("cache"),
            rss: raw("rss"),
            rss_huge: raw("rss_huge"),
            mapped_file: raw("mapped_file"),
            dirty: raw("dirty"),
            writeback: raw("writeback"),
            pg_pg_in: raw("pgpgin"),
            pg_pg_out: raw("pgpgout"),
            pg_fault: raw("pgfault"),
            pg_maj_fault: raw("pgmajfault"),
            inactive_anon: raw("inactive_anon"),
            active_anon: raw("active_anon"),
            inactive_file: raw("inactive_file"),
            active_file: raw("active_file"),
            unevictable: raw("unevictable"),
            hierarchical_memory_limit: raw("hierarchical_memory_limit"),
            hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
            total_cache: raw("total_cache"),
            total_rss: raw("total_rss"),
            total_rss_huge: raw("total_rss_huge"),
            total_mapped_file: raw("total_mapped_file"),
            total_dirty: raw("total_dirty"),
            total_writeback: raw("total_writeback"),
            total_pg_pg_in: raw("total_pgpgin"),
            total_pg_pg_out: raw("total_pgpgout"),
            total_pg_fault: raw("total_pgfault"),
            total_pg_maj_fault: raw("total_pgmajfault"),
            total_inactive_anon: raw("total_inactive_anon"),
            total_active_anon: raw("total_active_anon"),
            total_inactive_file: raw("total_inactive_file"),
            total_active_file: raw("total_active_file"),
            total_unevictable: raw("total_unevictable"),
            usage: Some(entry(&stats.memory.usage)),
            swap: Some(entry(&stats.memory.swap)),
            kernel: Some(entry(&stats.memory.kernel)),
            kernel_tcp: Some(entry(&stats.memory.kernel_tcp)),
        }),
        blkio: Some(v1::BlkIOStat {
            io_service_bytes_recursive: blkio(&stats.blkio.io_service_bytes_recursive),
            io_serviced_recursive: blkio(&stats.blkio.io_serviced_recursive),
            ..v1::BlkIOStat::default()
        }),
        memory_oom_control: Some(v1::MemoryOomControl {
            oom_kill,
            ..v1::MemoryOomControl::default()
        }),
        ..v1::Metrics::default()
    }
}

fn unified(stats: &Stats, oom_kill: u64) -> v2::Metrics {
    let raw = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    let microseconds = |nanoseconds: u64| nanoseconds / 1000;
    v2::Metrics {
        pids: Some(v2::PidsStat { current: stats.pids.current, limit: stats.pids.limit }),
        cpu: Some(v2::CPUStat {
            usage_usec: microseconds(stats.cpu.usage.total),
            user_usec: microseconds(stats.cpu.usage.user),
            system_usec: microseconds(stats.cpu.usage.kernel),
            nr_periods: stats.cpu.throttling.periods,
            nr_throttled: stats.cpu.throttling.throttled_periods,
            throttled_usec: microseconds(stats.cpu.throttling.throttled_time),
            ..v2::CPUStat::default()
        }),
        memory: Some(v2::MemoryStat {
            anon: raw("anon"),
            file: raw("file"),
            kernel_stack: raw("kernel_stack"),
            slab: raw("slab"),
            sock: raw("sock"),
            shmem: raw("shmem"),
            file_mapped: raw("file_mapped"),
            file_dirty: raw("file_dirty"),
            file_writeback: raw("file_writeback"),
            anon_thp: raw("anon_thp"),
            inactive_anon: raw("inactive_anon"),
            active_anon: raw("active_anon"),
            inactive_file: raw("inactive_file"),
            active_file: raw("active_file"),
            unevictable: raw("unevictable"),
            slab_reclaimable: raw("slab_reclaimable"),
            slab_unreclaimable: raw("slab_unreclaimable"),
            pgfault: raw("pgfault"),
            pgmajfault: raw("pgmajfault"),
            workingset_refault: raw("workingset_refault_file") + raw("workingset_refault_anon"),
            workingset_activate: raw("workingset_activate_file") + raw("workingset_activate_anon"),
            workingset_nodereclaim: raw("workingset_nodereclaim"),
            pgrefill: raw("pgrefill"),
            pgscan: raw("pgscan"),
            pgsteal: raw("pgsteal"),
            pgactivate: raw("pgactivate"),
            pgdeactivate: raw("pgdeactivate"),
            pglazyfree: raw("pglazyfree"),
            pglazyfreed: raw("pglazyfreed"),
            thp_fault_alloc: raw("thp_fault_alloc"),
            thp_collapse_alloc: raw("thp_collapse_alloc"),
            usage: stats.memory.usage.usage,
            usage_limit: stats.memory.usage.limit,
            swap_usage: stats.memory.swap.usage,
            swap_limit: stats.memory.swap.limit,
            max_usage: stats.memory.usage.max,
            swap_max_usage: stats.memory.swap.max,
            psi: None,
        }),
        io: Some(v2::IOStat { usage: io(stats), psi: None }),
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|(pagesize, one)| v2::HugeTlbStat {
                current: one.usage,
                max: one.max,
                pagesize: pagesize.clone(),
                failcnt: one.failcnt,
            })
            .collect(),
        memory_events: Some(v2::MemoryEvents { oom_kill, ..v2::MemoryEvents::default() }),
        ..v2::Metrics::default()
    }
}

/// One entry a device, from one a device and operation.
fn io(stats: &Stats) -> Vec<v2::IOEntry> {
    let mut devices = std::collections::BTreeMap::<(u64, u64), v2::IOEntry>::new();
    let bytes = stats.blkio.io_service_bytes_recursive.iter().map(|entry| (entry, true));
    let counts = stats.blkio.io_serviced_recursive.iter().map(|entry| (entry, false));
    for (entry, is_bytes) in bytes.chain(counts) {
        let device = devices.entry((entry.major, entry.minor)).or_insert_with(|| v2::IOEntry {
            major: entry.major,
            minor: entry.minor,
            ..v2::IOEntry::default()
        });
        match (entry.op.to_ascii_lowercase().as_str(), is_bytes) {
            ("read", true) => device.rbytes += entry.value,
            ("write", true) => device.wbytes += entry.value,
            ("read", false) => device.rios += entry.value,
            ("write", false) => device.wios += entry.value,
            _ => {}
        }
    }
    devices.into_values().collect()
}

#[cfg(test)]
mod tests {
    use husk_cgroup::stats::BlkioEntry;

    use super::*;

    #[test]
    fn operations_of_a_device_are_one_entry() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value };
        let mut stats = Stats::default();
        stats.blkio.io_service_bytes_recursive = vec![entry("Read", 10), entry("Write", 20)];
        stats.blkio.io_serviced_recursive = vec![entry("Read", 1)];
        let entries = io(&stats);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].rbytes, entries[0].wbytes, entries[0].rios), (10, 20, 1));
    }
}
