//! The controllers that runtime-spec 1.3 can set, with their names in both versions.

/// A resource controller, or a mechanism that v1 had a controller for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Cpuset,
    Cpu,
    Cpuacct,
    Memory,
    Pids,
    Io,
    Hugetlb,
    NetCls,
    NetPrio,
    Rdma,
    Devices,
    Freezer,
    /// Files of the v2 core, reached by `unified` alone.
    Core,
    /// A controller that runtime-spec has no object for, reached by `unified` alone.
    Misc,
}

impl Controller {
    /// The name in `/proc/self/cgroup`.
    pub(crate) fn v1_name(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "blkio",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Rdma => "rdma",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Core => "cgroup",
            Self::Misc => "misc",
        }
    }

    /// The name in `cgroup.controllers`, for those that v2 has.
    pub(crate) fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Io => Some("io"),
            Self::Cpuset | Self::Cpu | Self::Memory | Self::Pids => Some(self.v1_name()),
            Self::Hugetlb | Self::Rdma | Self::Misc => Some(self.v1_name()),
            Self::Cpuacct
            | Self::NetCls
            | Self::NetPrio
            | Self::Devices
            | Self::Freezer
            | Self::Core => None,
        }
    }

    /// The name that messages use in a hierarchy of the given version.
    pub(crate) fn name(self, v2: bool) -> &'static str {
        match self.v2_name() {
            Some(name) if v2 => name,
            _ => self.v1_name(),
        }
    }
}
