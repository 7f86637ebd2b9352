//! Every limit on the real kernel: what its file says, and what it does.
//! Needs root; a test whose controller the layout lacks says so and passes.
#![allow(clippy::unwrap_used, reason = "a test's failure")]

mod host;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use host::{Host, Shell, file, host, skip};
use husk_cgroup::{Cgroup, Error, Request, plan};
use husk_spec::Resources;

const MIB: i64 = 1 << 20;

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A cgroup with limits, if the host has their controllers.
fn limited(host: &Host, json: &str) -> Option<Cgroup> {
    let Some(resources) = host.resources(json) else {
        skip(&host.layout.describe());
        return None;
    };
    let request = Request { resources: Some(&resources), ..host.request() };
    Some(plan(&request, &host.layout).unwrap().create().unwrap())
}

fn gone(cgroup: &Cgroup) {
    cgroup.kill_all().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
}

#[test]
fn pure_v2() {
    host::again_on_pure_v2("limits");
}

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
    gone(&cgroup);
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
    gone(&cgroup);
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
    for check in [true, false] {
        let lower = format!(
            r#"{{"pids":{{"limit":99}},"memory":{{"limit":{MIB},"swap":{MIB},
                "checkBeforeUpdate":{check}}}}}"#
        );
        let error = cgroup.update(&resources(&lower)).unwrap_err().to_string();
        assert!(error.starts_with("linux.resources.memory."), "{error}");
        assert_eq!(before(), (128 * MIB).to_string(), "{error}");
        assert_eq!(file(&cgroup, ("pids", "pids.max"), "pids.max"), "max", "{error}");
        assert_eq!(cgroup.processes().unwrap(), [shell.pid()], "somebody was killed");
    }
    // Both ways past each other: lower both, then raise both.
    for mib in [96, 256] {
        let limit = mib * MIB;
        let both = format!(r#"{{"memory":{{"limit":{limit},"swap":{limit}}}}}"#);
        assert!(cgroup.update(&resources(&both)).unwrap().is_empty());
        assert_eq!(before(), limit.to_string());
    }
    drop(shell);
    gone(&cgroup);
}

#[test]
fn a_fork_above_the_limit_of_processes_is_refused() {
    let Some(host) = host("pids") else { return };
    let Some(cgroup) = limited(&host, r#"{"pids":{"limit":4}}"#) else { return };
    assert_eq!(file(&cgroup, ("pids", "pids.max"), "pids.max"), "4");
    let forks = "for i in 1 2 3 4 5 6; do sleep 1000 & done";
    let end = Shell::inside(&cgroup, forks).complaint();
    assert!(end.contains("fork"), "{end}");
    assert_eq!(cgroup.stats().unwrap().pids.limit, 4);
    assert_eq!(cgroup.stats().unwrap().pids.current, 3);
    cgroup.kill_all().unwrap();
    // 0 is a limit: the first process, and no other.
    cgroup.update(&resources(r#"{"pids":{"limit":0}}"#)).unwrap();
    let end = Shell::inside(&cgroup, "sleep 0 & wait").complaint();
    assert!(end.contains("fork"), "{end}");
    cgroup.update(&resources(r#"{"pids":{"limit":-1}}"#)).unwrap();
    assert_eq!(file(&cgroup, ("pids", "pids.max"), "pids.max"), "max");
    gone(&cgroup);
}

#[test]
fn processor_time_is_throttled_to_the_quota() {
    let Some(host) = host("cpu") else { return };
    let json = r#"{"cpu":{"quota":50000,"period":100000,"burst":1000,"shares":2000}}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    if host.layout.v1.is_empty() {
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.max"), "50000 100000");
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.max.burst"), "1000");
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.weight"), "170");
    } else {
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_quota_us"), ""), "50000");
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_period_us"), ""), "100000");
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_burst_us"), ""), "1000");
        assert_eq!(file(&cgroup, ("cpu", "cpu.shares"), ""), "2000");
    }
    let mut shell = Shell::inside(&cgroup, "while :; do :; done");
    shell.go();
    let measure = || {
        let cpu = cgroup.stats().unwrap().cpu;
        (cpu.usage.total, cpu.throttling)
    };
    while measure().1.throttled_periods == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (used, throttling) = measure();
    // Counted in periods, not by the clock: a busy host starves it of none.
    while measure().1.periods < throttling.periods + 30 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (later, after) = measure();
    let periods = after.periods - throttling.periods;
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let share = (later - used) as f64 / (periods as f64 * 50_000_000.0);
    let starved = after.throttled_periods - throttling.throttled_periods < periods * 9 / 10;
    if starved {
        assert!(share < 1.1, "{share}");
        return skip("the host gave it less than its quota");
    }
    assert!((0.9..1.1).contains(&share), "{share} of the quota in {periods} periods");

    // A longer burst than the old quota, with a larger quota; and a period alone.
    cgroup.update(&resources(r#"{"cpu":{"quota":70000,"burst":60000}}"#)).unwrap();
    cgroup.update(&resources(r#"{"cpu":{"quota":10000,"burst":0}}"#)).unwrap();
    cgroup.update(&resources(r#"{"cpu":{"period":80000}}"#)).unwrap();
    if host.layout.v1.is_empty() {
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.max"), "10000 80000");
    } else {
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_quota_us"), ""), "10000");
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_period_us"), ""), "80000");
    }
    drop(shell);
    gone(&cgroup);
}

#[test]
fn an_idle_group_is_told_to_the_kernel() {
    let Some(host) = host("idle") else { return };
    let Some(cgroup) = limited(&host, r#"{"cpu":{"idle":1,"shares":100}}"#) else { return };
    assert_eq!(file(&cgroup, ("cpu", "cpu.idle"), "cpu.idle"), "1");
    assert!(cgroup.warnings[0].starts_with("linux.resources.cpu.shares: 100: "));
    cgroup.update(&resources(r#"{"cpu":{"idle":0}}"#)).unwrap();
    assert_eq!(file(&cgroup, ("cpu", "cpu.idle"), "cpu.idle"), "0");
    gone(&cgroup);
}

#[test]
fn a_cpuset_holds_its_processes() {
    let Some(host) = host("cpuset") else { return };
    let Some(cgroup) = limited(&host, r#"{"cpu":{"cpus":"0","mems":"0"}}"#) else { return };
    assert_eq!(file(&cgroup, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    let end = Shell::inside(&cgroup, "grep Cpus_allowed_list /proc/self/status").end();
    assert_eq!(String::from_utf8_lossy(&end.stdout).trim(), "Cpus_allowed_list:\t0");
    assert_eq!(cgroup.stats().unwrap().cpuset.cpus, [0]);
    gone(&cgroup);
}

#[test]
fn a_device_is_refused_until_an_update_allows_it() {
    let Some(host) = host("devices") else { return };
    // No deny-all in front: GHSA-g54h-m393-cpwq.
    let json = r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":1,"access":"r"}]}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    let opens = |device: &str| {
        let script = format!(": < /dev/{device} && echo opened");
        let end = Shell::inside(&cgroup, &script).end();
        let text = String::from_utf8_lossy(&end.stderr).into_owned();
        let opened = end.stdout == b"opened\n";
        assert!(opened || text.contains("Operation not permitted"), "{text}");
        opened
    };
    assert!(opens("null") && opens("urandom") && opens("zero"));
    assert!(!opens("kmsg"));
    let allow = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
    cgroup.update(&resources(allow)).unwrap();
    assert!(opens("kmsg") && opens("null"));
    cgroup.update(&resources(r#"{"devices":[{"allow":true}]}"#)).unwrap();
    assert!(opens("kmsg"));
    let but = r#"{"devices":[{"allow":true},
        {"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}]}"#;
    cgroup.update(&resources(but)).unwrap();
    assert!(!opens("kmsg") && opens("null"));
    cgroup.update(&resources(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)).unwrap();
    assert!(!opens("kmsg") && opens("null"));
    let node = std::env::temp_dir().join(format!("husk-test-node-{}", std::process::id()));
    let script = format!("mknod {} b 7 0 && echo made; : < {0}", node.display());
    let end = Shell::inside(&cgroup, &script).end();
    let _ = std::fs::remove_file(&node);
    assert_eq!(end.stdout, b"made\n", "nodes can be made, not opened: {end:?}");
    assert!(String::from_utf8_lossy(&end.stderr).contains("Operation not permitted"), "{end:?}");
    gone(&cgroup);
}

#[test]
fn huge_pages_are_limited_with_their_reservations() {
    let Some(host) = host("hugetlb") else { return };
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    for reserved in ["", "rsvd."] {
        let v1 = format!("hugetlb.2MB.{reserved}limit_in_bytes");
        let v2 = format!("hugetlb.2MB.{reserved}max");
        assert_eq!(file(&cgroup, ("hugetlb", &v1), &v2), "4194304");
    }
    assert!(cgroup.stats().unwrap().hugetlb.contains_key("2MB"));
    gone(&cgroup);
}

#[test]
fn an_update_that_fails_half_way_restores_what_was() {
    let Some(host) = host("restore") else { return };
    let json = r#"{"pids":{"limit":50},"memory":{"limit":67108864},"cpu":{"quota":50000},
        "blockIO":{}}"#;
    if host.resources(r#"{"blockIO":{"weight":100}}"#).is_none() {
        return skip("no io controller");
    }
    let Some(cgroup) = limited(&host, json) else { return };
    let state = || {
        [
            file(&cgroup, ("pids", "pids.max"), "pids.max"),
            file(&cgroup, ("memory", "memory.limit_in_bytes"), "memory.max"),
            file(&cgroup, ("cpu", "cpu.cfs_quota_us"), "cpu.max"),
            file(&cgroup, ("cpuset", "cpuset.cpus"), "cpuset.cpus"),
        ]
    };
    let before = state();
    let error = cgroup
        .update(&resources(
            r#"{"pids":{"limit":60},"memory":{"limit":33554432},"cpu":{"quota":20000,"cpus":"0"},
                "blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":7,"rate":1}]},
                "devices":[{"allow":true}]}"#,
        ))
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Setting { .. }), "{text}");
    assert!(text.contains("throttleReadBpsDevice[0]") && text.contains("No such device"), "{text}");
    assert_eq!(state(), before);
    let end = Shell::inside(&cgroup, ": < /dev/kmsg").end();
    assert!(String::from_utf8_lossy(&end.stderr).contains("Operation not permitted"), "{end:?}");
    gone(&cgroup);
}

#[test]
fn writes_to_a_block_device_are_throttled() {
    let Some(host) = host("io") else { return };
    if host.resources(r#"{"blockIO":{"weight":100}}"#).is_none() {
        return skip("no io controller");
    }
    let Some(device) = Loop::new() else { return skip("no loop device to be had") };
    let (major, minor) = device.numbers();
    let json = format!(
        r#"{{"devices":[{{"allow":true}}],"blockIO":{{"throttleWriteBpsDevice":
            [{{"major":{major},"minor":{minor},"rate":1048576}}]}}}}"#
    );
    let Some(cgroup) = limited(&host, &json) else { return };
    let text = file(&cgroup, ("blkio", "blkio.throttle.write_bps_device"), "io.max");
    assert!(text.starts_with(&format!("{major}:{minor} ")) && text.contains("1048576"), "{text}");
    let write = format!("exec dd if=/dev/zero of={} bs=64k count=32 oflag=direct", device.path);
    let start = Instant::now();
    let end = Shell::inside(&cgroup, &write).end();
    assert!(end.status.success(), "{end:?}");
    // 2 MiB at 1 MiB/s, of which the first slice is free.
    assert!(start.elapsed() > Duration::from_millis(1200), "{:?}", start.elapsed());
    let lift = format!(
        r#"{{"blockIO":{{"throttleWriteBpsDevice":[{{"major":{major},"minor":{minor},"rate":0}}]}}}}"#
    );
    cgroup.update(&resources(&lift)).unwrap();
    let text = file(&cgroup, ("blkio", "blkio.throttle.write_bps_device"), "io.max");
    assert!(!text.contains("1048576"), "{text}");
    gone(&cgroup);
}

/// A loop device of our own over a file of 4 MiB.
struct Loop {
    path: String,
    file: std::path::PathBuf,
}

impl Loop {
    fn new() -> Option<Self> {
        let file = std::env::temp_dir().join(format!("husk-test-loop-{}", std::process::id()));
        std::fs::write(&file, vec![0; 4 << 20]).unwrap();
        let losetup =
            std::process::Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        match losetup {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                Some(Self { path, file })
            }
            _ => {
                let _ = std::fs::remove_file(&file);
                None
            }
        }
    }

    fn numbers(&self) -> (u32, u32) {
        let device = rustix::fs::stat(&self.path).unwrap().st_rdev;
        (rustix::fs::major(device), rustix::fs::minor(device))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.path]).status();
        let _ = std::fs::remove_file(&self.file);
    }
}
