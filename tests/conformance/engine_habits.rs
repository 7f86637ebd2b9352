//! What engines and scripts rely on beside the words of the specification, or against them:
//! the ways of runc.

use std::fs;

use husk_tests::case::Case;
use husk_tests::event::{Process, until};
use husk_tests::host;
use husk_tests::runtime;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// runtime.md makes an error of it, and containerd's shim relies on the contrary for a task that
/// was never started: runc and crun kill and delete it.
#[test]
fn delete_of_a_created_container_removes_it() {
    let case = Case::new();
    let container = case.create(&case.bundle());
    container.delete();
    container.process().wait();
    case.on("state", container.id()).output().refused();
    case.assert_nothing_left();
}

/// kill(2): signal 0 asks whether there is a process.
#[test]
fn kill_with_signal_0_asks_for_the_process() {
    let case = Case::new();
    let (_, container) = case.sleeper();
    container.kill("0");
    assert_eq!(container.status(), "running");
    container.stop();
    if runtime::name() == "husk-oci" {
        case.on("kill", container.id()).arg("0").output().refused();
    }
}

/// Without a pid namespace others outlive the first process; SIGKILL reaches them.
#[test]
fn kill_reaches_what_has_outlived_the_first_process() {
    if runtime::name() == "crun" {
        return;
    }
    let case = Case::without_user_namespace("the pid namespace is the host's");
    let mut bundle = case.bundle();
    bundle.without_namespace("pid");
    let said = case.fifo(&bundle, "said");
    bundle.shell("sleep 1000 & echo $! >/said; read line </never");
    let container = case.start(&bundle);
    let orphan: i32 = said.line().parse().unwrap();
    let orphan = Process::open(orphan);
    signal(container.pid(), Signal::KILL);
    container.process().wait();
    assert!(!orphan.exited());
    container.kill("KILL");
    orphan.wait();
    until("the stopped container", || container.status() == "stopped");
    container.delete();
}

/// A created container ends by what ends a program, although the init of a pid namespace gets
/// only signals that it handles: who holds a pidfd relies on it.
#[test]
fn a_created_container_ends_on_termination_signals() {
    if runtime::name() == "crun" {
        return;
    }
    let case = Case::new();
    for (name, number) in [("TERM", Signal::TERM), ("INT", Signal::INT), ("HUP", Signal::HUP)] {
        let container = case.create(&case.bundle());
        signal(container.pid(), number);
        container.process().wait();
        assert_eq!(container.status(), "stopped", "{name}");
        container.delete();
    }
    // What runs is the program's own matter again: pid 1 without a handler is deaf to it.
    let (_, container) = case.sleeper();
    signal(container.pid(), Signal::TERM);
    assert_eq!(container.status(), "running");
}

/// Before anything is created a `--root` need not be there, but its name may be mistyped as well:
/// runc 1.3 makes an error of it, crun makes the directory.
#[test]
fn list_of_a_root_that_is_not_there_says_so() {
    if runtime::name() == "crun" {
        return;
    }
    let case = Case::new();
    let root = case.path("no-such-root");
    let list = case.program(runtime::path().to_str().unwrap());
    let list = list.arg("--root").arg(&root).arg("list").output();
    assert!(list.stderr.contains("no-such-root"), "{}", list.stderr);
    assert!(!root.exists());
}

/// An empty `HOME` counts as none: it comes from the container's passwd(5).
#[test]
fn an_empty_home_comes_from_passwd() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(bundle.rootfs("etc/passwd"), "root:x:0:0::/at/home:/bin/sh\n").unwrap();
    bundle.set("/process/env", json!(["PATH=/bin", "HOME="]));
    bundle.shell("echo $HOME; env | grep -c ^HOME=");
    assert_eq!(case.print(&bundle), "/at/home\n1\n");
}

/// `exec --cap`: an unknown one is a warning, and one that the configuration has among the
/// inheritable is ambient, so that it is had by another user than root.
#[test]
fn exec_cap_as_runc_has_it() {
    if runtime::name() == "crun" {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let started = case.fifo(&bundle, "started");
    bundle.shell("echo started >/started; exec sleep 1000");
    let container = case.start(&bundle);
    assert_eq!(started.line(), "started");
    let ambient = |capability| {
        let exec = container.exec(&["--cap", capability], &["grep", "CapAmb", "/proc/self/status"]);
        exec.ok().stdout
    };
    assert_eq!(ambient("CAP_KILL"), "CapAmb:\t0000000000000020\n");
    assert_eq!(ambient("CAP_CHOWN"), "CapAmb:\t0000000000000000\n");
    let exec = container.exec(&["--cap", "CAP_UNKNOWN"], &["echo", "ran"]).ok();
    assert_eq!(exec.stdout, "ran\n");
    assert!(exec.stderr.contains("CAP_UNKNOWN"), "{}", exec.stderr);
}

/// Without `cgroupsPath` the cgroup is named like the container and below the caller's own (with
/// v2 beside it, cgroups(7), "no internal processes"), whose limits it stays in.
#[test]
fn a_cgroup_without_a_path_is_below_the_callers() {
    if runtime::name() == "crun" || runtime::by_systemd() {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.remove("/linux/cgroupsPath").args(["/bin/cat", "/proc/self/cgroup"]);
    let inside = case.print(&bundle);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(!inside.is_empty() && !host::cgroup_hierarchies().is_empty());
    for (line, inside) in own.lines().zip(inside.lines()) {
        let (hierarchy, path) = line.rsplit_once(':').unwrap();
        let base = match hierarchy.starts_with("0:") {
            true => path.rsplit_once('/').map_or("", |(parent, _)| parent),
            false => path.trim_end_matches('/'),
        };
        assert_eq!(inside, format!("{hierarchy}:{base}/{}", bundle.id()));
    }
    case.assert_nothing_left();
}

/// The caller's CPU affinity, which systemd's `CPUAffinity=` gives a daemon, is not the
/// container's.
#[test]
fn the_callers_affinity_is_not_the_containers() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let case = Case::new();
    let allowed = |invocation: husk_tests::invocation::Invocation| {
        let text = invocation.ok().stdout;
        text.split_whitespace().nth(1).unwrap().to_owned()
    };
    let status = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let mut bundle = case.bundle();
    bundle.args(status);
    let whole = allowed(case.running(&bundle, &[]));
    assert!(cpus == 1 || whole != "0", "{whole}");
    let bound = |arguments: &[&str]| {
        let taskset = case.program("taskset").args(["-c", "0"]).arg(runtime::path());
        taskset.arg("--root").arg(case.state_root()).args(arguments)
    };
    let dir = bundle.dir().to_str().unwrap().to_owned();
    assert_eq!(allowed(bound(&["run", "--bundle", &dir, bundle.id()])), whole);
    let (_, container) = case.sleeper();
    assert_eq!(allowed(bound(&[&["exec", container.id()][..], &status].concat())), whole);
}
