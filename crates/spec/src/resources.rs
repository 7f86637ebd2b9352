//! config-linux.md, "Control groups": `linux.resources`, also the document of `update`.

use std::collections::BTreeMap;

use crate::document::documents;

documents! {
    /// `linux.resources`.
    Resources {
        devices: Vec<DeviceRule>,
        memory: Option<Memory>,
        cpu: Option<Cpu>,
        pids: Option<Pids>,
        #[serde(rename = "blockIO")]
        block_io: Option<BlockIo>,
        hugepage_limits: Vec<HugepageLimit>,
        network: Option<Network>,
        rdma: BTreeMap<String, Rdma>,
        unified: BTreeMap<String, String>,
    }

    /// One entry of `linux.resources.devices`; an absent number stands for all.
    DeviceRule {
        @required { allow: bool }
        #[serde(rename = "type")]
        typ: Option<String>,
        major: Option<i64>,
        minor: Option<i64>,
        access: Option<String>,
    }

    /// `linux.resources.memory`; sizes in bytes, -1 for none.
    Memory {
        limit: Option<i64>,
        reservation: Option<i64>,
        swap: Option<i64>,
        kernel: Option<i64>,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        swappiness: Option<u64>,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
        use_hierarchy: Option<bool>,
        check_before_update: Option<bool>,
    }

    /// `linux.resources.cpu`; times in microseconds.
    Cpu {
        shares: Option<u64>,
        quota: Option<i64>,
        burst: Option<u64>,
        period: Option<u64>,
        realtime_runtime: Option<i64>,
        realtime_period: Option<u64>,
        cpus: Option<String>,
        mems: Option<String>,
        idle: Option<i64>,
    }

    /// `linux.resources.pids`; 0 is a limit since runtime-spec 1.3.
    Pids {
        limit: Option<i64>,
    }

    /// `linux.resources.blockIO`.
    BlockIo {
        weight: Option<u16>,
        leaf_weight: Option<u16>,
        weight_device: Vec<WeightDevice>,
        throttle_read_bps_device: Vec<ThrottleDevice>,
        throttle_write_bps_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }

    /// A block device's share.
    WeightDevice {
        @required { major: i64, minor: i64 }
        weight: Option<u16>,
        leaf_weight: Option<u16>,
    }

    /// A block device's limit, in bytes or operations a second.
    ThrottleDevice {
        @required { major: i64, minor: i64, rate: u64 }
    }

    /// One entry of `linux.resources.hugepageLimits`; `limit` in bytes.
    HugepageLimit {
        @required { page_size: String, limit: u64 }
    }

    /// `linux.resources.network`.
    Network {
        #[serde(rename = "classID")]
        class_id: Option<u32>,
        priorities: Vec<InterfacePriority>,
    }

    /// Priority of an interface's traffic.
    InterfacePriority {
        @required { name: String, priority: u32 }
    }

    /// Limits of one RDMA device.
    Rdma {
        hca_handles: Option<u32>,
        hca_objects: Option<u32>,
    }
}
