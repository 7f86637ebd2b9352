//! `features`, features.md.

use std::collections::BTreeMap;

use husk_spec::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MountExtensions, NamespaceType, SeccompArch, SeccompFeatures,
};

use super::state::json;
use super::{Arguments, Command, Exit, Global, print};
use crate::plan::annotation::{CORE_SCHEDULING, LANDLOCK};
use crate::{checkpoint, plan};

pub(super) const COMMAND: Command = Command {
    name: "features",
    usage: "features",
    about: "Print what this runtime supports as JSON",
    flags: &[],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected());
    }
    print(&(json(&features(global))? + "\n"))
}

fn features(global: &Global) -> Features {
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: husk_spec::VERSION,
        hooks: vec![
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        mount_options: plan::MOUNT_OPTIONS.to_vec(),
        linux: linux(),
        annotations: annotations(global),
        potentially_unsafe_config_annotations: vec!["org.systemd.property."],
    }
}

/// Our own: this runtime's version, and by their names the annotations of
/// config.json that it heeds, with the values they take.
fn annotations(global: &Global) -> BTreeMap<&'static str, String> {
    let abi = husk_sys::landlock::abi().unwrap_or(0);
    let mut annotations = BTreeMap::from([
        ("io.github.husk.version", env!("CARGO_PKG_VERSION").to_owned()),
        (CORE_SCHEDULING, "true,strict,false".to_owned()),
        (LANDLOCK, "JSON".to_owned()),
        ("io.github.husk.landlock.abi", abi.to_string()),
    ]);
    if let Some(version) = checkpoint::usable(global.criu.as_deref()) {
        annotations.insert("io.github.husk.criu", version);
        // The name under which engines look for it.
        annotations.insert("org.opencontainers.runc.checkpoint.enabled", "true".to_owned());
    }
    annotations
}

fn linux() -> LinuxFeatures {
    LinuxFeatures {
        namespaces: NamespaceType::ALL.map(NamespaceType::name).to_vec(),
        capabilities: plan::capability_names(),
        cgroup: CgroupFeatures {
            v1: true,
            v2: true,
            systemd: true,
            systemd_user: true,
            rdma: true,
        },
        seccomp: SeccompFeatures {
            enabled: true,
            actions: vec![
                "SCMP_ACT_ALLOW",
                "SCMP_ACT_ERRNO",
                "SCMP_ACT_KILL",
                "SCMP_ACT_KILL_PROCESS",
                "SCMP_ACT_KILL_THREAD",
                "SCMP_ACT_LOG",
                "SCMP_ACT_NOTIFY",
                "SCMP_ACT_TRACE",
                "SCMP_ACT_TRAP",
            ],
            operators: vec![
                "SCMP_CMP_EQ",
                "SCMP_CMP_GE",
                "SCMP_CMP_GT",
                "SCMP_CMP_LE",
                "SCMP_CMP_LT",
                "SCMP_CMP_MASKED_EQ",
                "SCMP_CMP_NE",
            ],
            archs: SeccompArch::ALL.iter().map(|arch| arch.name()).collect(),
            known_flags: FLAGS.to_vec(),
            supported_flags: FLAGS.to_vec(),
        },
        apparmor: Enabled { enabled: true },
        selinux: Enabled { enabled: true },
        intel_rdt: IntelRdtFeatures { enabled: true, schemata: true, monitoring: true },
        memory_policy: MemoryPolicyFeatures {
            modes: plan::MEMORY_POLICY_MODES.iter().map(|(name, _)| *name).collect(),
            flags: plan::MEMORY_POLICY_FLAGS.iter().map(|(name, _)| *name).collect(),
        },
        mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
        net_devices: Enabled { enabled: true },
    }
}

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
