//! What a container of the default bundle has of the host: nothing.

use std::fs;

use husk_tests::case::Case;
use husk_tests::runtime;
use rustix::fs::{Mode, OFlags, SealFlags, StatVfsMountFlags};
use serde_json::Value;

/// A bundle with the config.json that the runtime's own `spec` writes.
fn default_bundle(case: &Case) -> husk_tests::bundle::Bundle {
    let mut bundle = case.bundle();
    case.runtime().args(["spec", "--bundle"]).arg(bundle.dir()).ok();
    let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    let id = bundle.id().to_owned();
    bundle.config = serde_json::from_str(&text).unwrap();
    bundle.set("/process/terminal", false).set("/linux/cgroupsPath", runtime::cgroups_path(&id));
    bundle.args(["/bin/probe"]);
    bundle
}

fn check(report: &Value, what: &str) {
    let status = &report["status"];
    assert_eq!(status["CapInh"], "0000000000000000", "{what}: inheritable capabilities");
    assert_eq!(status["CapAmb"], "0000000000000000", "{what}: ambient capabilities");
    assert_eq!(status["NoNewPrivs"], "1", "{what}");
    let descriptors = report["descriptors"].as_object().unwrap();
    let numbers: Vec<_> = descriptors.keys().collect();
    assert_eq!(numbers, ["0", "1", "2"], "{what}: {descriptors:?}");
    // The root alone is of the host's filesystems; all else is made for the container.
    for mount in report["mounts"].as_array().unwrap() {
        let kind = mount["type"].as_str().unwrap();
        let made = ["proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2", "devtmpfs"];
        let null = mount["root"] == "/null";
        assert!(
            mount["target"] == "/" || made.contains(&kind),
            "{what}: a mount of the host: {mount}"
        );
        assert!(kind != "devtmpfs" || null, "{what}: the host's /dev: {mount}");
        for propagation in mount["propagation"].as_array().unwrap() {
            let shared = propagation.as_str().unwrap().starts_with("shared:");
            assert!(!shared, "{what}: mounts come out: {mount}");
        }
    }
}

/// Issue 5, "Must show": descriptors 0 to 2 only, no host mount, no inherited
/// capability, for `run` and for `exec`.
#[test]
fn the_default_bundle_has_nothing_of_the_host() {
    let case = Case::new();
    let mut bundle = default_bundle(&case);
    let report = case.report(&bundle);
    check(&report, "run");
    let own: Vec<String> = ["pid", "net", "ipc", "uts", "mnt"]
        .into_iter()
        .filter(|kind| {
            let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            report["namespaces"][kind] == host.to_str().unwrap()
        })
        .map(str::to_owned)
        .collect();
    assert!(own.is_empty(), "shared with the host: {own:?}");
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    check(&container.exec(&[], &["/bin/probe"]).ok().json(), "exec");
}

/// Issue 5, "Must show": no controlling terminal of the host, though the caller
/// has one; nothing of its session.
#[test]
fn the_default_bundle_has_no_terminal_of_the_host() {
    let case = Case::new();
    let mut bundle = default_bundle(&case);
    bundle.shell("read stat </proc/self/stat; set -- ${stat##*) }; echo $4 $5; (: </dev/tty) 2>&1");
    let run = case.run(&bundle);
    // Session 1 is its own (its process id), terminal 0 is none.
    assert!(run.stdout.starts_with("1 0\n"), "{run:?}");
    assert!(run.stdout.contains("/dev/tty"), "/dev/tty could be opened: {run:?}");
    let container_exec = {
        bundle.args(["/bin/sleep", "1000"]);
        let container = case.start(&bundle);
        let script = "read stat </proc/self/stat; set -- ${stat##*) }; echo $5; (: </dev/tty) 2>&1";
        container.exec(&[], &["/bin/sh", "-c", script]).output()
    };
    assert!(container_exec.stdout.starts_with("0\n"), "{container_exec:?}");
    assert!(container_exec.stdout.contains("/dev/tty"), "{container_exec:?}");
}

/// Issue 5, "Must show": /proc/PID/exe of the runtime's process is nothing that
/// could be written, not even by the host's root.
#[test]
fn the_runtimes_processes_are_not_writable() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let created = case.create(&case.bundle());
    // To open it for writing says nothing: while any such process runs, that is
    // refused (ETXTBSY), and will not be for ever.
    let link = format!("/proc/{}/exe", created.pid());
    let held = rustix::fs::open(&link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    if rustix::fs::fstatvfs(&held).unwrap().f_flag.contains(StatVfsMountFlags::RDONLY) {
        return;
    }
    let file = fs::File::open(&link).unwrap();
    let seals = rustix::fs::fcntl_get_seals(&file)
        .unwrap_or_else(|e| panic!("{link}: neither on a read-only mount nor sealed: {e}"));
    assert!(seals.contains(SealFlags::WRITE), "{link}: {seals:?}");
}

/// A runtime that cannot be executed from where nobody writes does nothing.
#[test]
fn a_runtime_that_cannot_be_sealed_runs_nothing() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let bundle = case.bundle();
    let inject = ["-f", "-o", "/dev/null", "-e", "inject=execveat:error=EPERM"];
    let strace = case.program("strace").args(inject).arg(runtime::path());
    let run = strace.arg("--root").arg(case.state_root()).args(["run", "--bundle"]);
    let refused = run.arg(bundle.dir()).arg(bundle.id()).output();
    assert!(!refused.status.success(), "{refused:?}");
    assert!(refused.stderr.contains("sealing the own executable"), "{refused:?}");
}
