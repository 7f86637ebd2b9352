//! config-linux.md, apart from resources and seccomp.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::documents;
use crate::resources::Resources;
use crate::seccomp::Seccomp;

documents! {
    /// config-linux.md, the `linux` object.
    Linux {
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
        sysctl: BTreeMap<String, String>,
        resources: Option<Resources>,
        cgroups_path: Option<String>,
        namespaces: Vec<Namespace>,
        devices: Vec<Device>,
        net_devices: BTreeMap<String, NetDevice>,
        seccomp: Option<Seccomp>,
        rootfs_propagation: Option<String>,
        masked_paths: Vec<String>,
        readonly_paths: Vec<String>,
        mount_label: Option<String>,
        intel_rdt: Option<IntelRdt>,
        memory_policy: Option<MemoryPolicy>,
        personality: Option<Personality>,
        time_offsets: BTreeMap<String, TimeOffset>,
    }

    /// One line of a uid_map or gid_map, user_namespaces(7).
    IdMapping {
        @required {
            #[serde(rename = "containerID")] container_id: u32,
            #[serde(rename = "hostID")] host_id: u32,
            size: u32,
        }
    }

    /// One entry of `linux.namespaces`.
    Namespace {
        @required { #[serde(rename = "type")] typ: NamespaceType }
        path: Option<String>,
    }

    /// One entry of `linux.devices`.
    Device {
        @required { #[serde(rename = "type")] typ: String, path: String }
        major: Option<i64>,
        minor: Option<i64>,
        file_mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    }

    /// One value of `linux.netDevices`, whose key is the name on the host.
    NetDevice {
        name: Option<String>,
    }

    /// `linux.intelRdt`.
    IntelRdt {
        #[serde(rename = "closID")]
        clos_id: Option<String>,
        schemata: Vec<String>,
        l3_cache_schema: Option<String>,
        mem_bw_schema: Option<String>,
        enable_monitoring: bool,
        /// Removed in runtime-spec 1.3, where `enableMonitoring` took its place.
        #[serde(rename = "enableCMT")]
        enable_cmt: bool,
        /// Removed in runtime-spec 1.3, where `enableMonitoring` took its place.
        #[serde(rename = "enableMBM")]
        enable_mbm: bool,
    }

    /// `linux.memoryPolicy`, set_mempolicy(2).
    MemoryPolicy {
        @required { mode: String }
        nodes: Option<String>,
        flags: Vec<String>,
    }

    /// `linux.personality`, personality(2).
    Personality {
        @required { domain: String }
        flags: Vec<String>,
    }

    /// One value of `linux.timeOffsets`, whose key is the clock, time_namespaces(7).
    TimeOffset {
        secs: i64,
        nanosecs: u32,
    }

    /// `process.capabilities`: names as capabilities(7) spells them.
    Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        inheritable: Vec<String>,
        permitted: Vec<String>,
        ambient: Vec<String>,
    }

    /// `process.scheduler`, sched_setattr(2); times are nanoseconds.
    Scheduler {
        @required { policy: String }
        nice: i32,
        priority: i32,
        flags: Vec<String>,
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    /// `process.ioPriority`, ioprio_set(2).
    IoPriority {
        @required { class: String }
        priority: i32,
    }
}

/// A kind of namespace, namespaces(7).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants are the specification's names")]
pub enum NamespaceType {
    #[default]
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

impl NamespaceType {
    /// All of them, in the order in which the specification lists them.
    pub const ALL: [Self; 8] = [
        Self::Pid,
        Self::Network,
        Self::Mount,
        Self::Ipc,
        Self::Uts,
        Self::User,
        Self::Cgroup,
        Self::Time,
    ];

    /// The name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}
