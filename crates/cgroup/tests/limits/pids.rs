//! pids: a fork that is refused.

use crate::host::{Shell, file, host};
use crate::{gone, limited, resources};

#[test]
fn a_fork_above_the_limit_of_processes_is_refused() {
    let Some(host) = host("pids") else { return };
    let Some(cgroup) = limited(&host, r#"{"pids":{"limit":4}}"#) else { return };
    assert_eq!(file(&cgroup, ("pids", "pids.max"), "pids.max"), "4");
    let scope = cgroup.processes().unwrap().first().copied();
    let forks = "for i in 1 2 3 4 5 6; do sleep 1000 & done";
    let end = Shell::inside(&cgroup, forks).complaint();
    assert!(end.contains("fork"), "{end}");
    assert_eq!(cgroup.stats().unwrap().pids.limit, 4);
    assert_eq!(cgroup.stats().unwrap().pids.current, 3);
    // All but the one that keeps a scope of systemd's alive.
    for pid in cgroup.processes().unwrap() {
        if Some(pid) != scope {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    // 0 is a limit: the first process, and no other.
    cgroup.update(&resources(r#"{"pids":{"limit":0}}"#)).unwrap();
    let end = Shell::inside(&cgroup, "sleep 0 & wait").complaint();
    assert!(end.contains("fork"), "{end}");
    cgroup.update(&resources(r#"{"pids":{"limit":-1}}"#)).unwrap();
    assert_eq!(file(&cgroup, ("pids", "pids.max"), "pids.max"), "max");
    gone(cgroup);
}
