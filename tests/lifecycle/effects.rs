//! What each limit does to the program in the container, beside what its file says: on
//! whichever hierarchy the host has, and with whichever manager `RUNTIME` asks. Memory and
//! the freezer are in `limits`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, Container};
use serde_json::{Value, json};

use crate::limits::{PIDS, cgroup, read};

/// An update by the JSON form.
fn update(case: &Case, container: &Container<'_>, resources: &Value) {
    let file = case.path("resources.json");
    fs::write(&file, resources.to_string()).unwrap();
    case.runtime().args(["update", "--resources"]).arg(&file).arg(container.id()).ok();
}

/// Not eprintln: the test harness would swallow it.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

#[test]
fn a_fork_too_many_is_refused() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/resources", json!({ "pids": { "limit": 4 } }));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    assert_eq!(read(&container, "pids", PIDS), "4");
    let forks = "for i in 1 2 3 4 5; do sleep 1000 & done; echo all";
    let refused = container.exec(&[], &["/bin/sh", "-c", forks]).output();
    assert!(refused.stderr.contains("can't fork"), "{refused:?}");
    assert_eq!(refused.stdout, "");
    update(&case, &container, &json!({ "pids": { "limit": 40 } }));
    let all = container.exec(&[], &["/bin/sh", "-c", forks]).output();
    assert_eq!(all.stdout, "all\n", "{all:?}");
}

/// What a manager keeps in a new cgroup until the container is there counts as well.
#[test]
fn one_process_and_no_other() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/resources", json!({ "pids": { "limit": 1 } }));
    // Where one is moved into a cgroup of v1, the limit does not count: it is of fork(2).
    bundle.args(["/bin/sh", "-c", "(exit 3); echo forked"]);
    let refused = case.run(&bundle);
    assert!(!refused.stdout.contains("forked"), "{refused:?}");
    assert!(refused.stderr.contains("Resource temporarily unavailable"), "{refused:?}");
}

/// systemd writes all that it knows of when one limit changes.
#[test]
fn what_an_update_does_not_name_stays() {
    let case = Case::new();
    let (idle, quota) = (["cpu.idle"; 2], ["cpu.cfs_quota_us", "cpu.max"]);
    for (cpu, change, files, expected) in [
        (json!({ "idle": 1 }), json!({}), idle, "1"),
        (json!({ "quota": 10_000, "period": 50_000 }), json!({ "quota": 20_000 }), quota, "20000"),
    ] {
        let mut bundle = case.bundle();
        bundle.args(["/bin/sleep", "1000"]);
        bundle.set("/linux/resources", json!({ "cpu": cpu }));
        let container = case.start(&bundle);
        for resources in [json!({ "cpu": change }), json!({ "pids": { "limit": 40 } })] {
            update(&case, &container, &resources);
            let text = read(&container, "cpu", files);
            assert_eq!(text.split(' ').next(), Some(expected), "{resources}");
        }
    }
}

#[test]
fn a_busy_program_gets_its_quota() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("while :; do :; done");
    bundle.set("/linux/resources", json!({ "cpu": { "quota": 20_000, "period": 100_000 } }));
    let container = case.start(&bundle);
    let quota = read(&container, "cpu", ["cpu.cfs_quota_us", "cpu.max"]);
    assert_eq!(quota.split(' ').next(), Some("20000"));
    let measure = || -> [u64; 3] {
        let event = case.runtime().args(["events", "--stats", container.id()]).ok().json();
        let cpu = &event["data"]["cpu"];
        let number = |pointer: &str| cpu.pointer(pointer).and_then(Value::as_u64);
        ["/usage/total", "/throttling/periods", "/throttling/throttledPeriods"]
            .map(|pointer| number(pointer).unwrap_or_else(|| panic!("no {pointer} in {event}")))
    };
    while measure()[2] == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = measure();
    // Counted in periods: a busy host may take its time.
    while measure()[1] < before[1] + 30 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = measure();
    let [used, periods, throttled] = [0, 1, 2].map(|at| after[at] - before[at]);
    // In microseconds of a period, which the quota is given in.
    let share = used / 1000 / periods;
    assert!(share < 22_000, "{share} us of 20000 in a period");
    if throttled * 10 >= periods * 9 {
        assert!(share > 18_000, "{share} us of 20000 in a period");
    }
}

#[test]
fn a_program_runs_on_its_processors_alone() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/resources", json!({ "cpu": { "cpus": "0" } }));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let cpuset = ["cpuset.cpus"; 2];
    assert_eq!(read(&container, "cpuset", cpuset), "0");
    let allowed = || {
        let status = container.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(allowed(), "0");
    if std::thread::available_parallelism().unwrap().get() > 1 {
        case.runtime().args(["update", "--cpuset-cpus", "1", container.id()]).ok();
        assert_eq!(read(&container, "cpuset", cpuset), "1");
        assert_eq!(allowed(), "1");
    }
}

/// A bundle with a device node, and rules that deny it.
fn with_node(case: &Case, kind: &str, numbers: (u32, u32)) -> Bundle {
    let mut bundle = case.bundle();
    let (major, minor) = numbers;
    bundle.set(
        "/linux/devices",
        json!([{ "path": "/dev/node", "type": kind, "major": major, "minor": minor,
                 "fileMode": 0o666 }]),
    );
    bundle.set("/linux/resources/devices", json!([{ "allow": false, "access": "rwm" }]));
    bundle.args(["/bin/sleep", "1000"]);
    bundle
}

#[test]
fn a_device_opens_after_an_update_and_not_before() {
    let case = Case::without_user_namespace("devices are bound there, with the host's nodes");
    // /dev/kmsg, which every kernel has, and asks for a capability besides.
    let mut bundle = with_node(&case, "c", (1, 11));
    for set in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_SYSLOG");
    }
    let container = case.start(&bundle);
    let open = || container.exec(&[], &["/bin/sh", "-c", ": </dev/node && echo opened"]).output();
    update(&case, &container, &json!({ "pids": { "limit": 50 } }));
    let refused = open();
    assert!(refused.stderr.contains("Operation not permitted"), "{refused:?}");
    let rule = |allow: bool| {
        json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": allow, "type": "c", "major": 1, "minor": 11, "access": "r" },
        ] })
    };
    update(&case, &container, &rule(true));
    assert_eq!(open().stdout, "opened\n");
    let write = container.exec(&[], &["/bin/sh", "-c", ": >>/dev/node"]).output();
    assert!(write.stderr.contains("Operation not permitted"), "{write:?}");
    update(&case, &container, &rule(false));
    assert!(open().stderr.contains("Operation not permitted"));
}

#[test]
fn writes_are_throttled() {
    let case = Case::without_user_namespace("no device of a user namespace is on a disk");
    let Some(disk) = Loop::new(&case) else { return };
    let (major, minor) = disk.numbers();
    let mut bundle = with_node(&case, "b", (major, minor));
    bundle.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
    let limit = |rate: u32| {
        json!({ "blockIO": {
            "throttleWriteBpsDevice": [{ "major": major, "minor": minor, "rate": rate }],
        } })
    };
    let container = case.start(&bundle);
    let files = ["blkio.throttle.write_bps_device", "io.max"];
    if !files.iter().any(|file| cgroup(&container, "blkio").join(file).exists()) {
        return skip("no blkio or io controller");
    }
    update(&case, &container, &limit(1 << 20));
    assert!(read(&container, "blkio", files).contains("1048576"));
    let write = || {
        let dd = ["/bin/dd", "if=/dev/zero", "of=/dev/node", "bs=64k", "count=32", "oflag=direct"];
        let start = std::time::Instant::now();
        container.exec(&[], &dd).ok();
        start.elapsed()
    };
    // 2 MiB at 1 MiB/s, of which the first slice is free.
    let slow = write();
    assert!(slow > Duration::from_millis(1200), "{slow:?}");
    update(&case, &container, &limit(0));
    assert!(!read(&container, "blkio", files).contains("1048576"));
}

/// A loop device over a file of the test's own.
struct Loop(PathBuf);

impl Loop {
    fn new(case: &Case) -> Option<Self> {
        let file = case.path("disk");
        fs::write(&file, vec![0; 4 << 20]).unwrap();
        let losetup = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        match losetup {
            Ok(output) if output.status.success() => {
                Some(Self(String::from_utf8(output.stdout).unwrap().trim().into()))
            }
            _ => {
                skip("no loop device to be had");
                None
            }
        }
    }

    fn numbers(&self) -> (u32, u32) {
        let device = rustix::fs::stat(&self.0).unwrap().st_rdev;
        (rustix::fs::major(device), rustix::fs::minor(device))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}
