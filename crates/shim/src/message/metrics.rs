//! `io.containerd.cgroups`: what a container uses, in two forms for the two versions of cgroups.

/// `io.containerd.cgroups.v1`.
pub(crate) mod v1 {
    use prost::Message;

    use super::super::named;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Metrics {
        #[prost(message, repeated, tag = "1")]
        pub(crate) hugetlb: Vec<HugetlbStat>,
        #[prost(message, optional, tag = "2")]
        pub(crate) pids: Option<PidsStat>,
        #[prost(message, optional, tag = "3")]
        pub(crate) cpu: Option<CPUStat>,
        #[prost(message, optional, tag = "4")]
        pub(crate) memory: Option<MemoryStat>,
        #[prost(message, optional, tag = "5")]
        pub(crate) blkio: Option<BlkIOStat>,
        #[prost(message, optional, tag = "6")]
        pub(crate) rdma: Option<RdmaStat>,
        #[prost(message, repeated, tag = "7")]
        pub(crate) network: Vec<NetworkStat>,
        #[prost(message, optional, tag = "8")]
        pub(crate) cgroup_stats: Option<CgroupStats>,
        #[prost(message, optional, tag = "9")]
        pub(crate) memory_oom_control: Option<MemoryOomControl>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct HugetlbStat {
        #[prost(uint64, tag = "1")]
        pub(crate) usage: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) max: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) failcnt: u64,
        #[prost(string, tag = "4")]
        pub(crate) pagesize: String,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct PidsStat {
        #[prost(uint64, tag = "1")]
        pub(crate) current: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) limit: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct CPUStat {
        #[prost(message, optional, tag = "1")]
        pub(crate) usage: Option<CPUUsage>,
        #[prost(message, optional, tag = "2")]
        pub(crate) throttling: Option<Throttle>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct CPUUsage {
        #[prost(uint64, tag = "1")]
        pub(crate) total: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) kernel: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) user: u64,
        #[prost(uint64, repeated, tag = "4")]
        pub(crate) per_cpu: Vec<u64>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct Throttle {
        #[prost(uint64, tag = "1")]
        pub(crate) periods: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) throttled_periods: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) throttled_time: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct MemoryStat {
        #[prost(uint64, tag = "1")]
        pub(crate) cache: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) rss: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) rss_huge: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) mapped_file: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) dirty: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) writeback: u64,
        #[prost(uint64, tag = "7")]
        pub(crate) pg_pg_in: u64,
        #[prost(uint64, tag = "8")]
        pub(crate) pg_pg_out: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) pg_fault: u64,
        #[prost(uint64, tag = "10")]
        pub(crate) pg_maj_fault: u64,
        #[prost(uint64, tag = "11")]
        pub(crate) inactive_anon: u64,
        #[prost(uint64, tag = "12")]
        pub(crate) active_anon: u64,
        #[prost(uint64, tag = "13")]
        pub(crate) inactive_file: u64,
        #[prost(uint64, tag = "14")]
        pub(crate) active_file: u64,
        #[prost(uint64, tag = "15")]
        pub(crate) unevictable: u64,
        #[prost(uint64, tag = "16")]
        pub(crate) hierarchical_memory_limit: u64,
        #[prost(uint64, tag = "17")]
        pub(crate) hierarchical_swap_limit: u64,
        #[prost(uint64, tag = "18")]
        pub(crate) total_cache: u64,
        #[prost(uint64, tag = "19")]
        pub(crate) total_rss: u64,
        #[prost(uint64, tag = "20")]
        pub(crate) total_rss_huge: u64,
        #[prost(uint64, tag = "21")]
        pub(crate) total_mapped_file: u64,
        #[prost(uint64, tag = "22")]
        pub(crate) total_dirty: u64,
        #[prost(uint64, tag = "23")]
        pub(crate) total_writeback: u64,
        #[prost(uint64, tag = "24")]
        pub(crate) total_pg_pg_in: u64,
        #[prost(uint64, tag = "25")]
        pub(crate) total_pg_pg_out: u64,
        #[prost(uint64, tag = "26")]
        pub(crate) total_pg_fault: u64,
        #[prost(uint64, tag = "27")]
        pub(crate) total_pg_maj_fault: u64,
        #[prost(uint64, tag = "28")]
        pub(crate) total_inactive_anon: u64,
        #[prost(uint64, tag = "29")]
        pub(crate) total_active_anon: u64,
        #[prost(uint64, tag = "30")]
        pub(crate) total_inactive_file: u64,
        #[prost(uint64, tag = "31")]
        pub(crate) total_active_file: u64,
        #[prost(uint64, tag = "32")]
        pub(crate) total_unevictable: u64,
        #[prost(message, optional, tag = "33")]
        pub(crate) usage: Option<MemoryEntry>,
        #[prost(message, optional, tag = "34")]
        pub(crate) swap: Option<MemoryEntry>,
        #[prost(message, optional, tag = "35")]
        pub(crate) kernel: Option<MemoryEntry>,
        #[prost(message, optional, tag = "36")]
        pub(crate) kernel_tcp: Option<MemoryEntry>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct MemoryEntry {
        #[prost(uint64, tag = "1")]
        pub(crate) limit: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) usage: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) max: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) failcnt: u64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct MemoryOomControl {
        #[prost(uint64, tag = "1")]
        pub(crate) oom_kill_disable: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) under_oom: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) oom_kill: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct BlkIOStat {
        #[prost(message, repeated, tag = "1")]
        pub(crate) io_service_bytes_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) io_serviced_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) io_queued_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) io_service_time_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) io_wait_time_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "6")]
        pub(crate) io_merged_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "7")]
        pub(crate) io_time_recursive: Vec<BlkIOEntry>,
        #[prost(message, repeated, tag = "8")]
        pub(crate) sectors_recursive: Vec<BlkIOEntry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct BlkIOEntry {
        #[prost(string, tag = "1")]
        pub(crate) op: String,
        #[prost(string, tag = "2")]
        pub(crate) device: String,
        #[prost(uint64, tag = "3")]
        pub(crate) major: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) minor: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) value: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct RdmaStat {
        #[prost(message, repeated, tag = "1")]
        pub(crate) current: Vec<RdmaEntry>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) limit: Vec<RdmaEntry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct RdmaEntry {
        #[prost(string, tag = "1")]
        pub(crate) device: String,
        #[prost(uint32, tag = "2")]
        pub(crate) hca_handles: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) hca_objects: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct NetworkStat {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(uint64, tag = "2")]
        pub(crate) rx_bytes: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) rx_packets: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) rx_errors: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) rx_dropped: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) tx_bytes: u64,
        #[prost(uint64, tag = "7")]
        pub(crate) tx_packets: u64,
        #[prost(uint64, tag = "8")]
        pub(crate) tx_errors: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) tx_dropped: u64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct CgroupStats {
        #[prost(uint64, tag = "1")]
        pub(crate) nr_sleeping: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) nr_running: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) nr_stopped: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) nr_uninterruptible: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) nr_io_wait: u64,
    }

    named!("io.containerd.cgroups.v1": Metrics);
}

/// `io.containerd.cgroups.v2`.
pub(crate) mod v2 {
    use prost::Message;

    use super::super::named;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Metrics {
        #[prost(message, optional, tag = "1")]
        pub(crate) pids: Option<PidsStat>,
        #[prost(message, optional, tag = "2")]
        pub(crate) cpu: Option<CPUStat>,
        #[prost(message, optional, tag = "4")]
        pub(crate) memory: Option<MemoryStat>,
        #[prost(message, optional, tag = "5")]
        pub(crate) rdma: Option<RdmaStat>,
        #[prost(message, optional, tag = "6")]
        pub(crate) io: Option<IOStat>,
        #[prost(message, repeated, tag = "7")]
        pub(crate) hugetlb: Vec<HugeTlbStat>,
        #[prost(message, optional, tag = "8")]
        pub(crate) memory_events: Option<MemoryEvents>,
        #[prost(message, repeated, tag = "9")]
        pub(crate) network: Vec<NetworkStat>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct PSIData {
        #[prost(double, tag = "1")]
        pub(crate) avg10: f64,
        #[prost(double, tag = "2")]
        pub(crate) avg60: f64,
        #[prost(double, tag = "3")]
        pub(crate) avg300: f64,
        #[prost(uint64, tag = "4")]
        pub(crate) total: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct PSIStats {
        #[prost(message, optional, tag = "1")]
        pub(crate) some: Option<PSIData>,
        #[prost(message, optional, tag = "2")]
        pub(crate) full: Option<PSIData>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct PidsStat {
        #[prost(uint64, tag = "1")]
        pub(crate) current: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) limit: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct CPUStat {
        #[prost(uint64, tag = "1")]
        pub(crate) usage_usec: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) user_usec: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) system_usec: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) nr_periods: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) nr_throttled: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) throttled_usec: u64,
        #[prost(message, optional, tag = "7")]
        pub(crate) psi: Option<PSIStats>,
        #[prost(uint64, tag = "8")]
        pub(crate) nr_bursts: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) burst_usec: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct MemoryStat {
        #[prost(uint64, tag = "1")]
        pub(crate) anon: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) file: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) kernel_stack: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) slab: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) sock: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) shmem: u64,
        #[prost(uint64, tag = "7")]
        pub(crate) file_mapped: u64,
        #[prost(uint64, tag = "8")]
        pub(crate) file_dirty: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) file_writeback: u64,
        #[prost(uint64, tag = "10")]
        pub(crate) anon_thp: u64,
        #[prost(uint64, tag = "11")]
        pub(crate) inactive_anon: u64,
        #[prost(uint64, tag = "12")]
        pub(crate) active_anon: u64,
        #[prost(uint64, tag = "13")]
        pub(crate) inactive_file: u64,
        #[prost(uint64, tag = "14")]
        pub(crate) active_file: u64,
        #[prost(uint64, tag = "15")]
        pub(crate) unevictable: u64,
        #[prost(uint64, tag = "16")]
        pub(crate) slab_reclaimable: u64,
        #[prost(uint64, tag = "17")]
        pub(crate) slab_unreclaimable: u64,
        #[prost(uint64, tag = "18")]
        pub(crate) pgfault: u64,
        #[prost(uint64, tag = "19")]
        pub(crate) pgmajfault: u64,
        #[prost(uint64, tag = "20")]
        pub(crate) workingset_refault: u64,
        #[prost(uint64, tag = "21")]
        pub(crate) workingset_activate: u64,
        #[prost(uint64, tag = "22")]
        pub(crate) workingset_nodereclaim: u64,
        #[prost(uint64, tag = "23")]
        pub(crate) pgrefill: u64,
        #[prost(uint64, tag = "24")]
        pub(crate) pgscan: u64,
        #[prost(uint64, tag = "25")]
        pub(crate) pgsteal: u64,
        #[prost(uint64, tag = "26")]
        pub(crate) pgactivate: u64,
        #[prost(uint64, tag = "27")]
        pub(crate) pgdeactivate: u64,
        #[prost(uint64, tag = "28")]
        pub(crate) pglazyfree: u64,
        #[prost(uint64, tag = "29")]
        pub(crate) pglazyfreed: u64,
        #[prost(uint64, tag = "30")]
        pub(crate) thp_fault_alloc: u64,
        #[prost(uint64, tag = "31")]
        pub(crate) thp_collapse_alloc: u64,
        #[prost(uint64, tag = "32")]
        pub(crate) usage: u64,
        #[prost(uint64, tag = "33")]
        pub(crate) usage_limit: u64,
        #[prost(uint64, tag = "34")]
        pub(crate) swap_usage: u64,
        #[prost(uint64, tag = "35")]
        pub(crate) swap_limit: u64,
        #[prost(uint64, tag = "36")]
        pub(crate) max_usage: u64,
        #[prost(uint64, tag = "37")]
        pub(crate) swap_max_usage: u64,
        #[prost(message, optional, tag = "38")]
        pub(crate) psi: Option<PSIStats>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct MemoryEvents {
        #[prost(uint64, tag = "1")]
        pub(crate) low: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) high: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) max: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) oom: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) oom_kill: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) oom_group_kill: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct RdmaStat {
        #[prost(message, repeated, tag = "1")]
        pub(crate) current: Vec<RdmaEntry>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) limit: Vec<RdmaEntry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct RdmaEntry {
        #[prost(string, tag = "1")]
        pub(crate) device: String,
        #[prost(uint32, tag = "2")]
        pub(crate) hca_handles: u32,
        #[prost(uint32, tag = "3")]
        pub(crate) hca_objects: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct IOStat {
        #[prost(message, repeated, tag = "1")]
        pub(crate) usage: Vec<IOEntry>,
        #[prost(message, optional, tag = "2")]
        pub(crate) psi: Option<PSIStats>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub(crate) struct IOEntry {
        #[prost(uint64, tag = "1")]
        pub(crate) major: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) minor: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) rbytes: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) wbytes: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) rios: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) wios: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct HugeTlbStat {
        #[prost(uint64, tag = "1")]
        pub(crate) current: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) max: u64,
        #[prost(string, tag = "3")]
        pub(crate) pagesize: String,
        #[prost(uint64, tag = "4")]
        pub(crate) failcnt: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct NetworkStat {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(uint64, tag = "2")]
        pub(crate) rx_bytes: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) rx_packets: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) rx_errors: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) rx_dropped: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) tx_bytes: u64,
        #[prost(uint64, tag = "7")]
        pub(crate) tx_packets: u64,
        #[prost(uint64, tag = "8")]
        pub(crate) tx_errors: u64,
        #[prost(uint64, tag = "9")]
        pub(crate) tx_dropped: u64,
    }

    named!("io.containerd.cgroups.v2": Metrics);
}
