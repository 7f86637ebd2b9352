//! Every limit on the real kernel: what its file says, and what it does. As root, or as an
//! ordinary user in a delegated cgroup; by the cgroupfs driver, or by systemd's
//! (`HUSK_CGROUP_MANAGER=systemd`). A test whose controller is lacking says so and passes.
#![allow(clippy::unwrap_used, reason = "a test's failure")]

mod block_io;
mod cpu;
mod devices;
mod freezer;
#[path = "../host/mod.rs"]
mod host;
mod hugetlb;
mod memory;
mod network;
mod pids;

use husk_cgroup::{Cgroup, Request, plan};
use husk_spec::Resources;

use crate::host::{Host, skip};

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A cgroup with limits, if the host has their controllers.
fn limited(host: &Host, json: &str) -> Option<Cgroup> {
    let Some(resources) = host.resources(json) else {
        skip(&format!("no controller for {json} here ({})", host.layout.describe()));
        return None;
    };
    let request = Request { resources: Some(&resources), ..host.request() };
    Some(plan(&request, &host.layout).unwrap().create().unwrap())
}

fn gone(mut cgroup: Cgroup) {
    // What keeps a scope of systemd's alive is in the hierarchies that systemd knows alone.
    cgroup.entered();
    cgroup.kill_all().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
}

#[test]
fn pure_v2() {
    host::again_on_pure_v2("limits");
}
