//! blockIO: writes that take their time, and weights.

use std::time::{Duration, Instant};

use crate::host::{Shell, Sleeper, file, host, skip};
use crate::{gone, limited, resources};
use husk_cgroup::Error;

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
    gone(cgroup);
}

/// The weight of the scheduler that the kernel has: BFQ's, or the one of the cost model.
#[test]
fn a_weight_is_told_to_the_scheduler() {
    let Some(host) = host("io-weight") else { return };
    if std::env::var_os("HUSK_VM").is_some() {
        let _ = std::process::Command::new("modprobe").arg("bfq").status();
    }
    let Some(cgroup) = limited(&host, r#"{"blockIO":{}}"#) else { return };
    let directory = cgroup.v1.iter().find(|v1| v1.controllers.iter().any(|name| name == "blkio"));
    let (directory, names) = match directory {
        Some(v1) => (v1.path.clone(), ["blkio.bfq.weight", "blkio.weight"]),
        None => (cgroup.v2.clone().unwrap(), ["io.bfq.weight", "io.weight"]),
    };
    let there = names.iter().find(|name| directory.join(name).exists());
    let weigh =
        |weight: u16| cgroup.update(&resources(&format!(r#"{{"blockIO":{{"weight":{weight}}}}}"#)));
    let Some(name) = there else {
        let error = weigh(300).unwrap_err().to_string();
        assert!(error.starts_with("linux.resources.blockIO.weight: "), "{error}");
        assert!(error.contains("bfq.weight"), "{error}");
        gone(cgroup);
        return skip("no scheduler with weights");
    };
    let read = || std::fs::read_to_string(directory.join(name)).unwrap();
    weigh(300).unwrap();
    // From 10..1000 to 1..10000, where the file is io.weight.
    let expected = if *name == "io.weight" { "2930" } else { "300" };
    let text = read();
    assert_eq!(text.trim_start_matches("default ").trim(), expected, "{name}");
    gone(cgroup);
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
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
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
    let mut after = state();
    if before[3].is_empty() && !after[3].is_empty() {
        // What has processes inside cannot be emptied: all that was in effect, then.
        let effective = file(&cgroup, ("cpuset", "-"), "cpuset.cpus.effective");
        assert_eq!(after[3], effective);
        after[3] = String::new();
        let processors = std::thread::available_parallelism().unwrap().get();
        assert!(processors == 1 || effective != "0", "{effective}");
    }
    assert_eq!(after, before);
    if !cgroup.warnings.is_empty() {
        return gone(cgroup);
    }
    let end = Shell::inside(&cgroup, ": < /dev/kmsg").end();
    assert!(String::from_utf8_lossy(&end.stderr).contains("Operation not permitted"), "{end:?}");
    gone(cgroup);
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
