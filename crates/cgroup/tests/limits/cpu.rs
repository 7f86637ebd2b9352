//! cpu and cpuset: quota, weight, idle groups, and the processors that are left.

use std::time::Duration;

use crate::host::{Host, Shell, file, host, skip};
use crate::{gone, limited, resources};
use husk_cgroup::{Cgroup, Request, plan};

#[test]
fn processor_time_is_throttled_to_the_quota() {
    let Some(host) = host("cpu") else { return };
    let json = r#"{"cpu":{"quota":20000,"period":100000,"burst":1000,"shares":2000}}"#;
    let Some(cgroup) = limited(&host, json) else { return };
    if host.layout.v1.is_empty() {
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.max"), "20000 100000");
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.max.burst"), "1000");
        assert_eq!(file(&cgroup, ("cpu", ""), "cpu.weight"), "170");
    } else {
        assert_eq!(file(&cgroup, ("cpu", "cpu.cfs_quota_us"), ""), "20000");
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
    let share = (later - used) as f64 / (periods as f64 * 20_000_000.0);
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
    gone(cgroup);
}

/// Two groups on one processor share it as their weights say.
#[test]
fn processor_time_is_shared_by_weight() {
    let (Some(small), Some(large)) = (host("weight-small"), host("weight-large")) else { return };
    let group = |host: &Host, shares: u32| -> Option<Cgroup> {
        limited(host, &format!(r#"{{"cpu":{{"shares":{shares}}}}}"#))
    };
    let (Some(small_group), Some(large_group)) = (group(&small, 256), group(&large, 2048)) else {
        return;
    };
    for (cgroup, shares, weight) in [(&small_group, "256", "35"), (&large_group, "2048", "174")] {
        let expected = if cgroup.v1.is_empty() { weight } else { shares };
        assert_eq!(file(cgroup, ("cpu", "cpu.shares"), "cpu.weight"), expected);
    }
    let busy = "taskset -p -c 0 $$ >/dev/null; echo ready; while :; do :; done";
    let mut shells = [&small_group, &large_group].map(|cgroup| Shell::inside(cgroup, busy));
    for shell in &mut shells {
        shell.go();
        assert_eq!(shell.line(), "ready");
    }
    let used = |cgroup: &Cgroup| cgroup.stats().unwrap().cpu.usage.total;
    let before = [used(&small_group), used(&large_group)];
    // Counted in processor time, not by the clock: others may be busy there too.
    while used(&small_group) - before[0] < 200_000_000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let ratio = (used(&large_group) - before[1]) as f64 / (used(&small_group) - before[0]) as f64;
    let promised = if small_group.v1.is_empty() { 174.0 / 35.0 } else { 2048.0 / 256.0 };
    // The scheduler pays out in ticks; equal shares would be a ratio of 1.
    assert!((promised * 0.6..promised * 1.6).contains(&ratio), "{ratio}, not {promised}");
    drop(shells);
    gone(small_group);
    gone(large_group);
}

#[test]
fn an_idle_group_is_told_to_the_kernel() {
    let Some(host) = host("idle") else { return };
    let Some(cgroup) = limited(&host, r#"{"cpu":{"idle":1,"shares":100}}"#) else { return };
    assert_eq!(file(&cgroup, ("cpu", "cpu.idle"), "cpu.idle"), "1");
    assert!(cgroup.warnings[0].starts_with("linux.resources.cpu.shares: 100: "));
    cgroup.update(&resources(r#"{"cpu":{"idle":0}}"#)).unwrap();
    assert_eq!(file(&cgroup, ("cpu", "cpu.idle"), "cpu.idle"), "0");
    gone(cgroup);
}

#[test]
fn a_cpuset_holds_its_processes() {
    let Some(host) = host("cpuset") else { return };
    let Some(cgroup) = limited(&host, r#"{"cpu":{"cpus":"0","mems":"0"}}"#) else { return };
    assert_eq!(file(&cgroup, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    let end = Shell::inside(&cgroup, "grep Cpus_allowed_list /proc/self/status").end();
    assert_eq!(String::from_utf8_lossy(&end.stdout).trim(), "Cpus_allowed_list:\t0");
    assert_eq!(cgroup.stats().unwrap().cpuset.cpus, [0]);
    cgroup.update(&resources(r#"{"cpu":{"cpus":"1"}}"#)).unwrap();
    assert_eq!(file(&cgroup, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "1");
    let end = Shell::inside(&cgroup, "grep Cpus_allowed_list /proc/self/status").end();
    assert_eq!(String::from_utf8_lossy(&end.stdout).trim(), "Cpus_allowed_list:\t1");
    gone(cgroup);
}

/// The kernels of distributions lack realtime groups on v2, and most of them on v1.
#[test]
fn realtime_is_limited_or_refused_with_its_file() {
    let Some(host) = host("realtime") else { return };
    let json = r#"{"cpu":{"realtimeRuntime":5000,"realtimePeriod":100000}}"#;
    let Some(asked) = host.resources(json) else { return skip("no controller for it here") };
    let request = Request { resources: Some(&asked), ..host.request() };
    match plan(&request, &host.layout).and_then(|plan| plan.create()) {
        Ok(cgroup) => {
            assert_eq!(file(&cgroup, ("cpu", "cpu.rt_runtime_us"), "-"), "5000");
            assert_eq!(file(&cgroup, ("cpu", "cpu.rt_period_us"), "-"), "100000");
            gone(cgroup);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("linux.resources.cpu.realtime"), "{text}");
            assert!(text.contains("cpu.rt_r") || text.contains("cpu.rt_p"), "{text}");
        }
    }
}
