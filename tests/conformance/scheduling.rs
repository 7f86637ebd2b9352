//! config.md, Linux process, and config-linux.md: scheduler, I/O priority, CPU
//! affinity, personality and memory policy.

use std::fs;

use husk_tests::case::Case;
use serde_json::{Value, json};

fn with_scheduler(case: &Case, scheduler: Value) -> Value {
    let mut bundle = case.bundle();
    bundle.set("/process/scheduler", scheduler);
    case.report(&bundle)
}

/// config.md, scheduler: SCHED_OTHER with a nice value.
#[test]
fn scheduler_other_sets_nice() {
    let case = Case::new();
    let report = with_scheduler(&case, json!({ "policy": "SCHED_OTHER", "nice": 7 }));
    assert_eq!(report["scheduling"], json!({ "nice": 7, "priority": 0, "policy": 0 }));
}

/// config.md, scheduler: SCHED_BATCH.
#[test]
fn scheduler_batch() {
    let case = Case::new();
    let report = with_scheduler(&case, json!({ "policy": "SCHED_BATCH", "nice": 3 }));
    assert_eq!(report["scheduling"], json!({ "nice": 3, "priority": 0, "policy": 3 }));
}

/// config.md, scheduler: SCHED_IDLE.
#[test]
fn scheduler_idle() {
    let case = Case::new();
    let report = with_scheduler(&case, json!({ "policy": "SCHED_IDLE" }));
    assert_eq!(report["scheduling"]["policy"], 5);
}

/// config.md, scheduler: SCHED_DEADLINE with its three times.
#[test]
fn scheduler_deadline() {
    let case = Case::new();
    let report = with_scheduler(
        &case,
        json!({
            "policy": "SCHED_DEADLINE",
            "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        }),
    );
    assert_eq!(report["scheduling"]["policy"], 6);
    assert!(report["sched"]["dl.runtime"].is_string(), "{}", report["sched"]);
}

/// config.md, scheduler.flags: children of a SCHED_FLAG_RESET_ON_FORK process
/// do not have its raised priority (sched(7)).
#[test]
fn scheduler_reset_on_fork() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": -5 }));
    bundle.shell("/bin/probe & wait $!");
    assert_eq!(case.report(&bundle)["scheduling"]["nice"], -5);
    bundle.set("/process/scheduler/flags", json!(["SCHED_FLAG_RESET_ON_FORK"]));
    assert_eq!(case.report(&bundle)["scheduling"]["nice"], 0);
    bundle.args(["/bin/probe"]);
    assert_eq!(case.report(&bundle)["scheduling"]["nice"], -5);
}

/// config.md, scheduler.policy: one of the names of sched(7).
#[test]
fn an_unknown_scheduler_policy_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_BANANA" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, scheduler: a nice value outside of -20..=19 is an error.
#[test]
fn an_impossible_nice_value_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 99 }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, ioPriority: each class.
#[test]
fn io_priority_is_set() {
    let case = Case::new();
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let mut bundle = case.bundle();
        bundle.set("/process/ioPriority", json!({ "class": class, "priority": priority }));
        bundle.args(["/bin/ionice", "-p", "1"]);
        let printed = case.print(&bundle);
        assert!(printed.contains(shown), "{class}: {printed}");
    }
}

/// config.md, ioPriority.class: one of three.
#[test]
fn an_unknown_io_priority_class_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BANANA", "priority": 1 }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, execCPUAffinity: not for the container's first process.
#[test]
fn exec_cpu_affinity_does_not_bind_the_first_process() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    let report = case.report(&bundle);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    assert_eq!(report["status"]["Cpus_allowed_list"], own);
}

/// config.md, execCPUAffinity.final: where `exec` runs.
#[test]
fn exec_cpu_affinity_binds_exec() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["status"]["Cpus_allowed_list"], "0");
}

/// config.md, execCPUAffinity of `exec --process`: that one counts.
#[test]
fn exec_cpu_affinity_of_a_process_file() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let process = json!({
        "args": ["/bin/probe"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
        "execCPUAffinity": { "initial": "0", "final": "0" },
    });
    fs::write(case.path("process.json"), process.to_string()).unwrap();
    let report = case
        .runtime()
        .args(["exec", "--process"])
        .arg(case.path("process.json"))
        .arg(container.id())
        .ok()
        .json();
    assert_eq!(report["status"]["Cpus_allowed_list"], "0");
}

/// config.md, execCPUAffinity: a list of CPUs, or an error.
#[test]
fn a_malformed_cpu_list_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/execCPUAffinity", json!({ "final": "0-banana" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, personality: PER_LINUX32.
#[test]
fn personality_linux32() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    assert_eq!(case.report(&bundle)["personality"], "00000008");
    bundle.set("/linux/personality", json!({ "domain": "LINUX" }));
    assert_eq!(case.report(&bundle)["personality"], "00000000");
}

/// config-linux.md, personality.domain: LINUX or LINUX32.
#[test]
fn an_unknown_personality_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/personality", json!({ "domain": "BANANA" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, memoryPolicy: the modes with nodes.
#[test]
fn memory_policy_is_set() {
    let case = Case::new();
    for (mode, shown) in [
        ("MPOL_BIND", "bind:0"),
        ("MPOL_INTERLEAVE", "interleave:0"),
        ("MPOL_PREFERRED", "prefer:0"),
        ("MPOL_PREFERRED_MANY", "prefer (many):0"),
    ] {
        let mut bundle = case.bundle();
        bundle.set("/linux/memoryPolicy", json!({ "mode": mode, "nodes": "0" }));
        let report = case.report(&bundle);
        let seen = report["memoryPolicy"].as_str().unwrap();
        // "prefer (many):0" is shown with a blank in it.
        assert_eq!(seen.split(' ').next(), shown.split(' ').next(), "{mode}");
    }
}

/// config-linux.md, memoryPolicy.flags.
#[test]
fn memory_policy_takes_flags() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/linux/memoryPolicy",
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
    );
    assert_eq!(case.report(&bundle)["memoryPolicy"], "bind=static:0");
}

/// config-linux.md, memoryPolicy: MPOL_LOCAL and MPOL_DEFAULT take no nodes.
#[test]
fn memory_policy_without_nodes() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL", "nodes": "" }));
    assert_eq!(case.report(&bundle)["memoryPolicy"], "local");
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_DEFAULT", "nodes": "" }));
    assert_eq!(case.report(&bundle)["memoryPolicy"], "default");
}

/// config-linux.md, memoryPolicy.mode: a mode nobody knows is an error.
#[test]
fn an_unknown_memory_policy_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BANANA", "nodes": "0" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}
