//! The controllers of cgroup v2, one file each
//! (Documentation/admin-guide/cgroup-v2.rst of the kernel).

pub(crate) mod cpu;
pub(crate) mod cpuset;
pub(crate) mod devices;
pub(crate) mod hugetlb;
pub(crate) mod io;
mod known_program;
pub(crate) mod memory;
pub(crate) mod pids;
pub(crate) mod rdma;
pub(crate) mod unified;
