//! features.md and features-linux.md: what `features` prints.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct Features {
    pub oci_version_min: &'static str,
    pub oci_version_max: &'static str,
    pub hooks: Vec<&'static str>,
    pub mount_options: Vec<&'static str>,
    pub linux: LinuxFeatures,
    pub annotations: BTreeMap<&'static str, String>,
    pub potentially_unsafe_config_annotations: Vec<&'static str>,
}

/// features-linux.md.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct LinuxFeatures {
    pub namespaces: Vec<&'static str>,
    pub capabilities: Vec<String>,
    pub cgroup: CgroupFeatures,
    pub seccomp: SeccompFeatures,
    pub apparmor: Enabled,
    pub selinux: Enabled,
    pub intel_rdt: IntelRdtFeatures,
    pub memory_policy: MemoryPolicyFeatures,
    pub mount_extensions: MountExtensions,
    pub net_devices: Enabled,
}

/// `linux.cgroup`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct CgroupFeatures {
    pub v1: bool,
    pub v2: bool,
    pub systemd: bool,
    pub systemd_user: bool,
    pub rdma: bool,
}

/// `linux.seccomp`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct SeccompFeatures {
    pub enabled: bool,
    pub actions: Vec<&'static str>,
    pub operators: Vec<&'static str>,
    pub archs: Vec<&'static str>,
    pub known_flags: Vec<&'static str>,
    pub supported_flags: Vec<&'static str>,
}

/// A feature that is there or not.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the field is the specification's property")]
pub struct Enabled {
    pub enabled: bool,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct IntelRdtFeatures {
    pub enabled: bool,
    pub schemata: bool,
    pub monitoring: bool,
}

/// `linux.memoryPolicy`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the fields are the specification's properties")]
pub struct MemoryPolicyFeatures {
    pub modes: Vec<&'static str>,
    pub flags: Vec<&'static str>,
}

/// `linux.mountExtensions`.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the field is the specification's property")]
pub struct MountExtensions {
    pub idmap: Enabled,
}
