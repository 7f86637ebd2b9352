//! `linux.resources.cpu.cpus` and `mems` on v2 (cgroup-v2.rst, "Cpuset"): as on v1.

pub(crate) use crate::v1::cpuset::settings;
