//! freezer: a process that stands still, and goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::{cpu_ticks, host};
use husk_cgroup::plan;

#[test]
fn frozen_processes_make_no_progress_and_still_die() {
    let Some(host) = host("freezer") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    assert!(cgroup.directories().next().is_some(), "{:?}", cgroup.warnings);
    let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = i32::try_from(busy.id()).unwrap();
    cgroup.attach(pid).unwrap();
    assert!(!cgroup.frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.frozen().unwrap());
    let before = cpu_ticks(pid);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(cpu_ticks(pid), before, "it ran while frozen");
    cgroup.thaw().unwrap();
    assert!(!cgroup.frozen().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while cpu_ticks(pid) == before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_ne!(cpu_ticks(pid), before, "it did not go on");
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    busy.wait().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.frozen().unwrap(), "a removed cgroup is not frozen");
}
