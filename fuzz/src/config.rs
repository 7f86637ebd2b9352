//! What must hold of any bytes taken for config.json.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use husk_runtime::plan::{LaunchPlan, Request};
use husk_spec::{NamespaceType, Spec};

use crate::host;

/// Whether the bytes give a plan. What parses is the same after it is written;
/// what is refused is refused in one line.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(config) = husk_spec::parse::<Spec>(bytes) else { return false };
    let Ok(written) = serde_json::to_vec(&config) else { panic!("parsed, but is not written") };
    match husk_spec::parse::<Spec>(&written) {
        Ok(again) => assert_eq!(config, again),
        Err(error) => panic!("does not parse again: {error}"),
    }
    host::all().iter().filter(|host| planned(&config, host)).count() > 0
}

fn planned(config: &Spec, host: &husk_runtime::plan::Host) -> bool {
    let request = Request { id: "fuzz".into(), bundle: "/bundle".into(), ..Request::default() };
    let linux = config.linux.as_ref();
    let cgroup = husk_cgroup::Request {
        manager: husk_cgroup::Manager::Cgroupfs,
        id: "fuzz",
        cgroups_path: linux.and_then(|linux| linux.cgroups_path.as_deref()),
        resources: linux.and_then(|linux| linux.resources.as_ref()),
        annotations: &config.annotations,
        rootless: host.euid != 0,
        intel_rdt: linux.and_then(|linux| linux.intel_rdt.as_ref()),
    };
    let systemd = husk_cgroup::Request { manager: husk_cgroup::Manager::Systemd, ..cgroup };
    for request in [&cgroup, &systemd] {
        if let Err(error) = husk_cgroup::plan(request, &host.layout) {
            host::assert_one_line(&husk_runtime::host::cgroup_error(error));
        }
    }
    let plan = match LaunchPlan::new(config, &request, host) {
        Ok(plan) => plan,
        Err(error) => {
            host::assert_one_line(&error);
            return false;
        }
    };
    // Without a mount namespace of its own, what it mounts would be the host's.
    if !plan.namespaces.makes(NamespaceType::Mount) && !plan.namespaces.joins(NamespaceType::Mount)
    {
        assert!(plan.mounts.is_empty() && plan.masked_paths.is_empty(), "mounts on the host");
    }
    assert_eq!(plan.mounts.len(), config.mounts.len());
    true
}
