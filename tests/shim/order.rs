//! The order of events, in loops that make races likely. `HUSK_SHIM_LOOPS` multiplies them.

use husk_shim::message::task::{StartRequest, WaitRequest};
use husk_tests::case::Case;

use crate::daemon::*;

fn loops(count: usize) -> usize {
    let factor = std::env::var("HUSK_SHIM_LOOPS").ok().and_then(|text| text.parse().ok());
    count * factor.unwrap_or(1)
}

#[test]
fn a_program_that_ends_at_once_starts_first() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "exit 3");
    let shim = Shim::start(&case, &bundle, &events);
    for _ in 0..loops(100) {
        shim.create(&bundle, "").unwrap();
        shim.begin(bundle.id(), "").unwrap();
        assert_eq!(shim.wait(bundle.id(), ""), 3);
        shim.delete(bundle.id(), "").unwrap();
        events.expect(&["create", "start", "exit init 3", "delete 3"]);
    }
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}

#[test]
fn execs_end_before_the_container() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id();
    for round in 0..loops(60) {
        let pid = shim.create(&bundle, "").unwrap();
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        shim.begin(id, "").unwrap();
        shim.exec(id, "long", &["/bin/sh", "-c", "read x < /never"]).unwrap();
        shim.begin(id, "long").unwrap();
        shim.exec(id, "late", &["/bin/true"]).unwrap();
        // The start of an exec and the death of the container meet.
        let start = StartRequest { id: id.to_owned(), exec_id: "late".to_owned() };
        let started = shim.send("Start", &start);
        std::thread::sleep(std::time::Duration::from_micros((round as u64 % 20) * 200));
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let wait = shim.send("Wait", &WaitRequest { id: id.to_owned(), ..Default::default() });
        let mut answered = Vec::new();
        while !(answered.contains(&wait) && answered.contains(&started)) {
            answered.push(shim.receive().0);
        }
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event: &Event| !event.starts_with("exit init")) {
            seen.push(events.next());
        }
        let place = |event: &str| seen.iter().position(|other| other == event);
        assert_eq!(place("exit init 137"), Some(seen.len() - 1), "{seen:?}");
        assert!(place("exit long 137").is_some(), "{seen:?}");
        let late = seen.iter().position(|event| event.starts_with("exit late"));
        assert_eq!(place("exec-started late").is_some(), late.is_some(), "{seen:?}");
        assert!(place("exec-started late") <= late, "{seen:?}");
        for exec in ["long", "late"] {
            shim.delete(id, exec).unwrap();
        }
        shim.delete(id, "").unwrap();
        events.expect(&["delete 137"]);
    }
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}

#[test]
fn a_shared_pid_namespace_is_emptied_first() {
    let case = Case::new();
    let events = Events::new(&case);
    let mut bundle = bundle(&case, "sleep 1000 & sleep 1000 & exit 4");
    let namespaces = bundle.config["linux"]["namespaces"].as_array().unwrap().clone();
    let without: Vec<_> = namespaces.into_iter().filter(|entry| entry["type"] != "pid").collect();
    bundle.set("/linux/namespaces", without);
    let shim = Shim::start(&case, &bundle, &events);
    for _ in 0..loops(20) {
        shim.create(&bundle, "").unwrap();
        shim.begin(bundle.id(), "").unwrap();
        assert_eq!(shim.wait(bundle.id(), ""), 4);
        for cgroup in husk_tests::host::cgroups_named(bundle.id()) {
            // They are killed by now, and may not be reaped yet.
            let listed = || std::fs::read_to_string(cgroup.join("cgroup.procs"));
            husk_tests::event::until("an empty cgroup", || listed().unwrap_or_default().is_empty());
        }
        shim.delete(bundle.id(), "").unwrap();
        events.expect(&["create", "start", "exit init 4", "delete 4"]);
    }
    let children = format!("/proc/{0}/task/{0}/children", shim.pid);
    assert_eq!(std::fs::read_to_string(children).unwrap(), "", "no zombie is left");
    shim.shut_down();
}

#[test]
fn an_oom_kill_is_told_before_the_exit() {
    let case = Case::new();
    let events = Events::new(&case);
    let mut bundle = bundle(&case, "exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    bundle.set("/linux/resources/memory/limit", 8 << 20);
    bundle.set("/linux/resources/memory/swap", 8 << 20);
    let shim = Shim::start(&case, &bundle, &events);
    for _ in 0..loops(10) {
        shim.create(&bundle, "").unwrap();
        shim.begin(bundle.id(), "").unwrap();
        assert_eq!(shim.wait(bundle.id(), ""), 137);
        shim.delete(bundle.id(), "").unwrap();
        events.expect(&["create", "start", "oom", "exit init 137", "delete 137"]);
    }
    shim.shut_down();
}
