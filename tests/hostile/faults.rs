//! Every step fails once, by an injected failure and by real causes: the error
//! says where, and the host is as it was before.

use std::fs;
use std::path::Path;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use crate::sweep::{bundle_with_all, works_or_says_why};

fn bundle(case: &Case) -> Bundle {
    let mut bundle = bundle_with_all(case, false);
    bundle.set("/hostname", "host").set("/process/noNewPrivileges", true);
    bundle.set("/linux/sysctl", json!({ "kernel.domainname": "x" }));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]));
    bundle.set("/root/readonly", false).set("/linux/rootfsPropagation", "slave");
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    bundle.args(["/bin/true"]);
    bundle
}

/// Whether the runtime was built to fail on demand: a release build is not.
fn fails_on_demand(case: &Case) -> bool {
    let bundle = bundle(case);
    let run = case.running(&bundle, &[]).env("HUSK_FAULT", "Root:0").output();
    case.runtime().args(["delete", "--force", bundle.id()]).output();
    !run.status.success()
}

/// Whether EIO is named, as glibc or as musl has it.
fn tells_of_io(text: &str) -> bool {
    text.contains("Input/output error") || text.contains("I/O error")
}

/// Issue 5, "Fault injection": each step of `run`, by its name.
#[test]
fn every_step_of_run_can_fail() {
    let case = Case::new();
    if runtime::name() != "husk-oci" || !fails_on_demand(&case) {
        return;
    }
    let mut steps: Vec<(String, &str)> = [
        ("Cgroup:0", "cgroup"),
        ("Loopback:0", "linux.namespaces"),
        ("Propagation:0", "linux.rootfsPropagation"),
        ("Root:0", "root.path"),
        ("Sysctl:0", "linux.sysctl"),
        ("Hostname:0", "hostname"),
        ("Device:0", "linux.devices[0] (/image/node)"),
        ("DeviceLink:0", "default symbolic links"),
        ("MaskedPath:0", "linux.maskedPaths[0] (/masked)"),
        ("MaskedPath:1", "linux.maskedPaths[1] (/masked-dir)"),
        ("ReadonlyPath:0", "linux.readonlyPaths[0] (/readonly)"),
        ("ReadonlyPath:1", "linux.readonlyPaths[1] (/proc/sys)"),
        ("PivotRoot:0", "root.path"),
        ("Keyring:0", "session keyring"),
        ("Rlimits:0", "process.rlimits[0] (RLIMIT_CORE, soft 0, hard 0)"),
        ("Stdio:0", "standard streams"),
        ("Capabilities:0", "process.capabilities"),
        ("NoNewPrivileges:0", "process.noNewPrivileges"),
        ("Groups:0", "process.user.additionalGids"),
        ("User:0", "process.user"),
        ("Cwd:0", "process.cwd"),
        ("Descriptors:0", "--preserve-fds"),
        ("Sync:0", "husk-oci"),
        ("Seccomp:0", "linux.seccomp"),
        ("Exec:0", "process.args[0]"),
    ]
    .map(|(step, property)| (step.to_owned(), property))
    .to_vec();
    let mounts = bundle(&case).config["mounts"].as_array().unwrap().len();
    steps.extend((0..mounts).map(|index| (format!("Mount:{index}"), "mounts[")));
    for (step, property) in steps {
        let bundle = bundle(&case);
        let run = case.running(&bundle, &[]).env("HUSK_FAULT", &step).output();
        assert!(!run.status.success(), "{step} is not on the way");
        let run = run.refused_in_one_line(&[property]);
        assert!(tells_of_io(&run.stderr), "{step}: {}", run.stderr);
        case.assert_nothing_left();
    }
}

/// The same for `exec`: the container goes on as if nothing had been tried.
#[test]
fn every_step_of_exec_can_fail() {
    let case = Case::new();
    if runtime::name() != "husk-oci" || !fails_on_demand(&case) {
        return;
    }
    let (_bundle, container) = case.sleeper();
    for step in [
        "Cgroup:0",
        "Namespace:0",
        "Sync:0",
        "Stdio:0",
        "Capabilities:0",
        "Groups:0",
        "User:0",
        "Cwd:0",
        "Descriptors:0",
        "NoNewPrivileges:0",
        "Exec:0",
    ] {
        let exec = container.exec(&[], &["/bin/true"]).env("HUSK_FAULT", step).output();
        assert!(!exec.status.success(), "{step} is not on the way");
        assert!(tells_of_io(&exec.stderr), "{step}: {}", exec.stderr);
        assert_eq!(exec.stderr.trim_end().lines().count(), 1, "{step}: {}", exec.stderr);
        assert_eq!(container.status(), "running", "{step}");
    }
    let ps = case.runtime().args(["ps", "--format", "json", container.id()]).ok();
    assert_eq!(ps.json().as_array().unwrap().len(), 1, "a process was left: {}", ps.stdout);
}

/// A call of the runtime under a limit of descriptors.
fn with_descriptors(case: &Case, limit: u32, invocation: &[&str]) -> Invocation {
    case.program("prlimit")
        .arg(format!("--nofile={limit}:{limit}"))
        .arg(runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(invocation)
}

/// EMFILE at every place where a descriptor is opened: `create`, `exec` and
/// `delete` with 3 descriptors, 4, and so on until they work.
#[test]
fn too_few_descriptors() {
    let case = Case::new();
    let bundle = bundle(&case);
    let mut bundle = bundle;
    bundle.args(["/bin/sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir().to_str().unwrap().to_owned();
    let mut worked = false;
    for limit in 3..64 {
        let what = format!("{limit} descriptors");
        let create =
            with_descriptors(&case, limit, &["create", "--bundle", &dir, bundle.id()]).output();
        if !works_or_says_why(&create, &what) {
            if runtime::name() == "husk-oci" {
                case.assert_nothing_left();
            }
            continue;
        }
        worked = true;
        case.on("start", bundle.id()).ok();
        let mut executed = false;
        for limit in 3..64 {
            let exec = with_descriptors(&case, limit, &["exec", bundle.id(), "/bin/true"]).output();
            executed = works_or_says_why(&exec, &format!("exec with {limit}"));
            if executed {
                break;
            }
        }
        assert!(executed);
        for limit in 3..64 {
            let delete = ["delete", "--force", bundle.id()];
            let delete = with_descriptors(&case, limit, &delete).output();
            if works_or_says_why(&delete, &format!("delete with {limit}")) {
                break;
            }
        }
        break;
    }
    assert!(worked);
    case.assert_nothing_left();
}

/// EMFILE once more: a container that runs is not taken for a stopped one
/// because its process cannot be looked at.
#[test]
fn a_running_container_is_not_deleted_for_want_of_descriptors() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    for limit in 3..24 {
        let what = format!("{limit} descriptors");
        let state = with_descriptors(&case, limit, &["state", container.id()]).output();
        if works_or_says_why(&state, &what) {
            assert_eq!(state.json()["status"], "running", "{what}");
        }
        let delete = with_descriptors(&case, limit, &["delete", container.id()]).output();
        assert!(!works_or_says_why(&delete, &what), "{what}: deleted while it runs");
    }
    assert!(!container.process().exited());
}

/// ENOSPC: the runtime's directory is on a full filesystem, by one page more
/// room each time.
#[test]
fn a_full_filesystem_for_state() {
    let case = Case::new();
    let bundle = bundle(&case);
    bundle.write();
    let state = case.directory("small");
    mount("tmpfs", &state, "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
    let ballast = state.join("ballast");
    for free in 0..6 {
        fs::write(&ballast, vec![0; (16 - free) * 4096]).unwrap();
        let run = case
            .program(runtime::path().to_str().unwrap())
            .arg("--root")
            .arg(&state)
            .args(["run", "--bundle"])
            .arg(bundle.dir())
            .arg(bundle.id())
            .output();
        let worked = works_or_says_why(&run, &format!("{free} free pages"));
        assert!(worked || free < 5, "{free} free pages: {}", run.stderr);
        assert!(!worked || free > 0, "it ran without any state");
        if !worked {
            assert!(run.stderr.contains("No space left"), "{}", run.stderr);
        }
        let left: Vec<_> = fs::read_dir(&state).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.iter().all(|name| *name == "ballast"), "{left:?}");
    }
    unmount(&state, UnmountFlags::empty()).unwrap();
    case.assert_nothing_left();
}

/// EROFS: the runtime's directory cannot be written.
#[test]
fn a_read_only_directory_for_state() {
    let case = Case::new();
    let bundle = bundle(&case);
    bundle.write();
    let state = case.directory("read-only");
    mount("tmpfs", &state, "tmpfs", MountFlags::RDONLY, Some(c"size=64k")).unwrap();
    let below = state.join("below");
    for root in [state.as_path(), below.as_path(), Path::new("/proc/self/husk")] {
        let run = case
            .program(runtime::path().to_str().unwrap())
            .arg("--root")
            .arg(root)
            .args(["run", "--bundle"])
            .arg(bundle.dir())
            .arg(bundle.id())
            .output();
        assert!(!works_or_says_why(&run, "read-only"));
    }
    unmount(&state, UnmountFlags::empty()).unwrap();
    case.assert_nothing_left();
}

/// Too little memory for the container's first process: the error says so.
#[test]
fn too_little_memory() {
    let case = Case::new();
    let mut bundle = bundle(&case);
    bundle.set("/linux/resources/memory/limit", 4096).set("/linux/resources/memory/swap", 4096);
    let run = case.run(&bundle);
    assert!(!works_or_says_why(&run, "4 KiB of memory"), "it ran in 4 KiB");
    if runtime::name() == "husk-oci" {
        assert!(run.stderr.contains("memory"), "{}", run.stderr);
        case.assert_nothing_left();
    }
}
