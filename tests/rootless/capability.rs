//! Every combination of the five capability sets at once: capability n is in the
//! sets that the bits of n name. What comes out is what capabilities(7),
//! "Transformation of capabilities during execve()", makes of it.

use std::fs;

use husk_tests::case::Case;
use serde_json::{Value, json};

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const SETS: [&str; 5] = ["bounding", "permitted", "effective", "inheritable", "ambient"];

/// The sets, in the order of [`SETS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sets([u64; 5]);

/// 32 capabilities that this host's root has: one a combination.
fn table() -> (Value, Sets) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let permitted = status.lines().find_map(|l| l.strip_prefix("CapPrm:")).unwrap();
    let permitted = u64::from_str_radix(permitted.trim(), 16).unwrap();
    let available: Vec<usize> =
        (0..NAMES.len()).filter(|number| permitted >> number & 1 == 1).take(32).collect();
    assert_eq!(available.len(), 32, "root of this host has too few capabilities");
    let mut document = json!({});
    let mut sets = Sets::default();
    for (at, name) in SETS.iter().enumerate() {
        let members = available.iter().enumerate().filter(|(n, _)| n >> at & 1 == 1);
        let members: Vec<usize> = members.map(|(_, number)| *number).collect();
        sets.0[at] = members.iter().map(|number| 1 << number).sum();
        document[*name] = members.iter().map(|n| format!("CAP_{}", NAMES[*n])).collect();
    }
    (document, sets)
}

/// What a process of these sets has after execve(2) of a file without capabilities.
fn after_exec(asked: Sets, root: bool, no_new_privileges: bool) -> Sets {
    let [bounding, permitted, effective, inheritable, ambient] = asked.0;
    // What the kernel lets a process set at all.
    let inheritable = inheritable & bounding;
    let ambient = ambient & permitted & inheritable;
    let _ = effective;
    let mut gained = ambient;
    if root {
        gained |= inheritable | bounding;
        if no_new_privileges {
            gained &= permitted;
        }
    }
    Sets([bounding, gained, gained, inheritable, ambient])
}

fn shown(report: &Value) -> Sets {
    let field = |name: &str| {
        u64::from_str_radix(report["status"][name].as_str().unwrap().trim(), 16).unwrap()
    };
    Sets(["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"].map(field))
}

fn check(user_namespace: bool) {
    let case = Case::without_user_namespace("the test adds its own");
    let (document, asked) = table();
    let mut bundle = case.bundle();
    if user_namespace {
        crate::joined::add_user_namespace(&mut bundle);
    }
    let mut sleeper = bundle.clone();
    sleeper.args(["/bin/sleep", "1000"]);
    bundle.set("/process/capabilities", document);
    let users = [(0, true), (0, false), (1000, true), (1000, false)];
    let mut expected = Vec::new();
    for (uid, no_new_privileges) in users {
        bundle.set("/process/user", json!({ "uid": uid, "gid": uid }));
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let wanted = after_exec(asked, uid == 0, no_new_privileges);
        expected.push((bundle.config["process"].clone(), wanted));
        let report = case.report(&bundle);
        assert_eq!(shown(&report), wanted, "run, {uid}, {no_new_privileges}");
    }
    let container = case.start(&sleeper);
    for (process, wanted) in expected {
        let path = case.path("process.json");
        fs::write(&path, process.to_string()).unwrap();
        let exec = case.runtime().args(["exec", "--process"]).arg(&path).arg(container.id());
        assert_eq!(shown(&exec.ok().json()), wanted, "exec, {}", process["user"]);
    }
}

#[test]
fn every_combination_in_run_and_exec() {
    check(false);
}

#[test]
fn every_combination_in_a_user_namespace() {
    check(true);
}

/// config.md, capabilities: what cannot be granted is a warning.
#[test]
fn what_the_kernel_forbids_is_a_warning() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN", "CAP_FOWNER"], "inheritable": ["CAP_SETGID"],
            "ambient": ["CAP_CHOWN"],
        }),
    );
    let stderr = case.run(&bundle).ok().stderr;
    for warning in [
        "process.capabilities.effective (CAP_FOWNER): not granted, since it is not in permitted",
        "process.capabilities.inheritable (CAP_SETGID): not granted, since it is not in bounding",
        "process.capabilities.ambient (CAP_CHOWN): not granted, since it is not in permitted and inheritable",
    ] {
        assert!(stderr.contains(warning), "{warning:?} is not in {stderr}");
    }
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
}
