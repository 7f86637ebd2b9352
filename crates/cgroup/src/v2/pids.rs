//! `linux.resources.pids` on v2 (cgroup-v2.rst, "PID"): as on v1.

pub(crate) use crate::v1::pids::settings;
