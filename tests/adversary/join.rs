//! Containers that join namespaces of one that attacks.

use husk_tests::case::Case;

use crate::scenario::{Caller, Scenario};

const PIDS: [&str; 1] = ["pid"];
const POD: [&str; 4] = ["pid", "network", "ipc", "uts"];

fn attack(capabilities: &[&str], mode: &str, outside: impl FnMut(&Scenario<'_>)) {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, mode);
    scenario.capabilities(capabilities);
    let seen = scenario.run(outside);
    assert!(seen > 0, "the spy has seen nobody");
}

fn run(scenario: &Scenario<'_>, kinds: &[&str]) {
    scenario.with_bundle("run", &scenario.joining(kinds)).ok();
}

#[test]
fn run_read_by_root_without_capabilities() {
    attack(&[], "read", |scenario| run(scenario, &POD));
}

#[test]
fn run_read_by_a_debugger() {
    attack(&["CAP_SYS_PTRACE"], "read", |scenario| run(scenario, &PIDS));
}

/// Before Linux 6.18 a process must be inside to make a procfs, which has nothing else.
#[test]
fn run_on_an_older_kernel() {
    for mode in ["read", "memory"] {
        attack(&["CAP_SYS_PTRACE"], mode, |scenario| {
            let mut bundle = scenario.joining(&POD);
            bundle.shell("read stat </proc/self/stat; set -- $stat; [ $1 = $$ ] && echo $$");
            // Debug builds alone; others do as on this kernel.
            let run = scenario.with_bundle("run", &bundle).env("HUSK_FAULT", "no-pidns").ok();
            assert_ne!(run.text(), "", "the procfs is of another pid namespace");
        });
    }
}

#[test]
fn run_written_by_a_debugger() {
    attack(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"], "write", |scenario| run(scenario, &POD));
}

#[test]
fn run_has_no_more_than_its_configuration() {
    attack(&["CAP_KILL"], "status", |scenario| run(scenario, &POD));
}

/// A created container waits for `start` where the other one sees it.
#[test]
fn created_and_started() {
    for mode in ["read", "memory", "trace"] {
        attack(&["CAP_SYS_PTRACE"], mode, |scenario| {
            let bundle = scenario.joining(&POD);
            // Held on the way by a debugger it is an error.
            if scenario.with_bundle("create", &bundle).output().code() == 0 {
                scenario.start(bundle.id());
                scenario.delete(bundle.id());
            }
        });
    }
}

/// Stopped in the making it is an error, and not a wait without an end.
#[test]
fn stopped_in_the_making() {
    attack(&["CAP_KILL"], "stop", |scenario| {
        let bundle = scenario.joining(&POD);
        let made = scenario.with_bundle("create", &bundle).output();
        if made.code() == 0 {
            scenario.delete(bundle.id());
        }
    });
}

#[test]
fn killed_in_the_making() {
    attack(&["CAP_KILL"], "kill", |scenario| {
        let bundle = scenario.joining(&POD);
        scenario.with_bundle("run", &bundle).output();
    });
}
