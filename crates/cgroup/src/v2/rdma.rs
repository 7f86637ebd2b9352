//! `linux.resources.rdma` on v2 (cgroup-v2.rst, "RDMA"): as on v1.

pub(crate) use crate::v1::rdma::settings;
