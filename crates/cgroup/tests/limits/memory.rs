//! memory: an allocation that is killed, and limits below what is used.

use std::os::unix::process::ExitStatusExt;

use crate::host::{Shell, file, host, skip};
use crate::{gone, limited, resources};

const MIB: i64 = 1 << 20;

#[test]
fn an_allocation_above_the_memory_limit_is_killed_and_known() {
    let Some(host) = host("memory") else { return };
    let limit = 16 * MIB;
    let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{limit}}}}}"#);
    let Some(cgroup) = limited(&host, &json) else { return };
    let bytes = file(&cgroup, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(bytes, limit.to_string());
    assert_eq!(cgroup.memory_limit().unwrap(), Some(limit.cast_unsigned()));
    let mut watch = cgroup.oom_watch().unwrap().unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), Some(0));

    let small = "exec dd if=/dev/zero of=/dev/null bs=4M count=1";
    assert!(Shell::inside(&cgroup, small).end().status.success());
    assert_eq!(watch.kills().unwrap(), 0);

    let large = "exec dd if=/dev/zero of=/dev/null bs=64M count=1";
    let end = Shell::inside(&cgroup, large).end();
    assert_eq!(end.status.signal(), Some(9), "{end:?}");
    assert_eq!(cgroup.oom_kills().unwrap(), Some(1));
    let interest = watch.interest();
    let mut fds = [rustix::event::PollFd::new(&watch, interest)];
    let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)).unwrap(), 1);
    assert_eq!(watch.kills().unwrap(), 1);

    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, limit.cast_unsigned());
    assert!(stats.memory.usage.max > 15 << 20, "{stats:?}");
    assert!(stats.memory.raw.contains_key("pgfault"));
    gone(cgroup.clone());
    assert_eq!(cgroup.oom_kills().unwrap(), None);
}

#[test]
fn memory_files_on_v1() {
    let Some(host) = host("memory-v1") else { return };
    if !host.layout.v1.iter().any(|h| h.controllers.iter().any(|name| name == "memory")) {
        return skip("no v1 memory controller");
    }
    let json = r#"{"memory":{"limit":33554432,"reservation":16777216,"swap":-1,"kernel":1048576,
        "kernelTCP":4194304,"swappiness":7,"disableOOMKiller":true,"useHierarchy":false}}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    let read = |name: &str| file(&cgroup, ("memory", name), name);
    assert_eq!(read("memory.soft_limit_in_bytes"), "16777216");
    assert_eq!(read("memory.kmem.tcp.limit_in_bytes"), "4194304");
    assert_eq!(read("memory.swappiness"), "7");
    assert!(read("memory.oom_control").starts_with("oom_kill_disable 1"));
    let warned = |name: &str| {
        cgroup.warnings.iter().any(|w| w.starts_with(&format!("linux.resources.memory.{name}: ")))
    };
    // Newer kernels have let go of both: then the caller hears of it.
    assert!(read("memory.kmem.limit_in_bytes") == "1048576" || warned("kernel"));
    assert!(read("memory.use_hierarchy") == "0" || warned("useHierarchy"), "{:?}", cgroup.warnings);
    gone(cgroup);
}

#[test]
fn memory_update_below_use_is_refused_and_changes_nothing() {
    let Some(host) = host("memory-update") else { return };
    let json = format!(r#"{{"memory":{{"limit":{},"swap":{}}}}}"#, 128 * MIB, 128 * MIB);
    let Some(cgroup) = limited(&host, &json) else { return };
    let hold = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo held; read end";
    let mut shell = Shell::inside(&cgroup, hold);
    shell.go();
    assert_eq!(shell.line(), "held");
    let before = || file(&cgroup, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(before(), (128 * MIB).to_string());
    // systemd has a limit of its own for whoever asks for none.
    let processes = || file(&cgroup, ("pids", "pids.max"), "pids.max");
    let processes_before = processes();
    for check in [true, false] {
        let lower = format!(
            r#"{{"pids":{{"limit":99}},"memory":{{"limit":{MIB},"swap":{MIB},
                "checkBeforeUpdate":{check}}}}}"#
        );
        let error = cgroup.update(&resources(&lower)).unwrap_err().to_string();
        assert!(error.starts_with("linux.resources.memory."), "{error}");
        assert_eq!(before(), (128 * MIB).to_string(), "{error}");
        assert_eq!(processes(), processes_before, "{error}");
        assert!(cgroup.processes().unwrap().contains(&shell.pid()), "it was killed");
    }
    // Both ways past each other: lower both, then raise both.
    for mib in [96, 256] {
        let limit = mib * MIB;
        let both = format!(r#"{{"memory":{{"limit":{limit},"swap":{limit}}}}}"#);
        assert!(cgroup.update(&resources(&both)).unwrap().is_empty());
        assert_eq!(before(), limit.to_string());
    }
    drop(shell);
    gone(cgroup);
}
