//! `exec` into a container that attacks (CVE-2016-9962, CVE-2019-5736, CVE-2024-21626).

use husk_tests::case::Case;
use husk_tests::user::User;
use husk_tests::user_namespace;
use serde_json::json;

use crate::scenario::{Caller, Scenario, every_capability};

/// Which must work.
fn exec(scenario: &Scenario<'_>) {
    scenario.exec(&[]).ok();
}

fn attack(capabilities: &[&str], mode: &str, change: impl FnOnce(&mut Scenario<'_>)) {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, mode);
    scenario.capabilities(capabilities);
    change(&mut scenario);
    let seen = scenario.run(exec);
    assert!(seen > 0, "the spy has seen nobody");
}

fn filter(scenario: &mut Scenario<'_>) {
    scenario.bundle.set("/process/env/-", "SPY_FILTERED=1");
    let rules = json!([{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }]);
    scenario
        .bundle
        .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
}

/// As an ordinary user without any capability: what every process may read of another.
#[test]
fn by_a_user_without_capabilities() {
    attack(&[], "read", |scenario| {
        scenario.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    });
}

/// As root without any capability.
#[test]
fn by_root_without_capabilities() {
    attack(&[], "read", |_| {});
}

/// The capability that debuggers have: files, memory, and the process itself.
#[test]
fn by_a_debugger_that_reads() {
    attack(&["CAP_SYS_PTRACE"], "read", |_| {});
}

#[test]
fn by_a_debugger_that_writes() {
    attack(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"], "write", |_| {});
}

#[test]
fn by_a_debugger_that_reads_memory() {
    attack(&["CAP_SYS_PTRACE"], "memory", |_| {});
}

#[test]
fn by_a_debugger_that_attaches() {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, "trace");
    scenario.capabilities(&["CAP_SYS_PTRACE"]);
    filter(&mut scenario);
    // Held on the way it is an error.
    let seen = scenario.run(|scenario| drop(scenario.exec(&[]).output()));
    assert!(seen > 0, "the spy has seen nobody");
}

/// Each other capability that opens doors.
#[test]
fn by_root_with_single_capabilities() {
    let names = ["CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT", "CAP_NET_ADMIN"];
    for name in names.into_iter().filter(|name| every_capability().contains(name)) {
        attack(&[name], "read", |_| {});
    }
}

#[test]
fn by_root_with_all_capabilities() {
    attack(&every_capability(), "read", |_| {});
    attack(&every_capability(), "write", |_| {});
}

/// What a process of ours may do is what the container may, and its filter is in force.
#[test]
fn processes_have_no_more_than_the_container() {
    attack(&["CAP_KILL"], "status", filter);
    attack(&["CAP_KILL"], "status", |scenario| {
        filter(scenario);
        scenario.bundle.set("/process/noNewPrivileges", false);
    });
}

/// The root of a user namespace, with all that it has there.
#[test]
fn from_a_user_namespace() {
    let all = every_capability();
    for mode in ["read", "write"] {
        attack(&all, mode, |scenario| {
            scenario.bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
            let maps = json!([{
                "containerID": 0, "hostID": user_namespace::FIRST, "size": user_namespace::SIZE,
            }]);
            scenario.bundle.set("/linux/uidMappings", maps.clone());
            scenario.bundle.set("/linux/gidMappings", maps);
            user_namespace::give(&scenario.bundle.rootfs(""));
        });
    }
}

/// The same for the containers of an ordinary user.
#[test]
fn of_an_ordinary_user() {
    for mode in ["read", "stop"] {
        let case = Case::without_user_namespace("an ordinary user's containers have one");
        let user = User::new(&case);
        let mut scenario = Scenario::new(&case, Caller::User(user), mode);
        scenario.capabilities(&["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_KILL"]);
        scenario.run(|scenario| {
            scenario.exec(&["--detach"]).output();
        });
    }
}

/// Where there is cgroup v2 alone.
#[test]
fn with_cgroup_v2() {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::RootWithCgroup2, "read");
    scenario.capabilities(&["CAP_SYS_PTRACE"]);
    assert!(scenario.run(exec) > 0, "the spy has seen nobody");
}

/// What else goes on with a container, beside `exec`.
#[test]
fn beside_other_commands() {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, "read");
    scenario.capabilities(&["CAP_SYS_PTRACE"]);
    scenario.run(|scenario| {
        scenario.on("pause", &[]).ok();
        scenario.on("resume", &[]).ok();
        // Refused where there is no pids controller.
        scenario.on("update", &["--pids-limit", "100"]).output();
        scenario.on("kill", &["CONT"]).ok();
        scenario.on("ps", &[]).ok();
        scenario.exec(&[]).ok();
    });
}
