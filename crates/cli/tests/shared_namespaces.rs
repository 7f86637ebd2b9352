//! Containers in the namespaces of another one, which restarts meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::process::Command;

use support::{Engine, engine, wait_for};

/// Answers each connection with one line.
const SERVER: &str = "while true; do echo joined | nc -l -p 7000; done";

fn pid(engine: &Engine, container: &str) -> String {
    engine.inspect(container, "{{.State.Pid}}")
}

fn namespace(engine: &Engine, container: &str, typ: &str) -> String {
    let path = format!("/proc/{}/ns/{typ}", pid(engine, container));
    std::fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default()
}

fn kill(pid: &str) {
    assert_ne!(pid, "0", "that is this process's own group");
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

fn kill_program(engine: &Engine, container: &str) {
    let before = pid(engine, container);
    kill(&before);
    wait_for("a restart", || {
        let now = engine.inspect(container, "{{.State.Running}} {{.State.Pid}}");
        now.strip_prefix("true ").is_some_and(|pid| pid != "0" && pid != before)
    });
}

fn address(engine: &Engine) -> String {
    engine.inspect("own", "{{(index .NetworkSettings.Networks \"app\").IPAddress}}")
}

/// By name, by the published port, and from the namespace that both are in.
fn assert_reachable(engine: &Engine, when: &str) {
    wait_for(&format!("an answer {when}"), || {
        let words = ["run", "--rm", "--network", "app", "bb", "nc", "-w", "5", "own", "7000"];
        engine.run(&words).out.trim() == "joined"
    });
    wait_for(&format!("an answer at the port {when}"), || {
        engine.beside("busybox nc -w 5 127.0.0.1 7700").out.trim() == "joined"
    });
    assert_eq!(namespace(engine, "own", "net"), namespace(engine, "in1", "net"), "{when}");
    let addresses = engine.ok(&["exec", "in1", "ip", "-4", "-o", "addr"]);
    assert!(addresses.contains(&format!("{}/", address(engine))), "{when}: {addresses}");
}

#[test]
fn a_network_outlives_restarts_of_its_owner() {
    let engine = engine!(with_network);
    engine.ok(&["network", "create", "app"]);
    let owner = ["run", "-d", "--name", "own", "--restart", "always", "--network", "app"];
    engine.ok(&[&owner[..], &["-p", "7700:7000", "bb", "sleep", "600"]].concat());
    let joiner = ["run", "-d", "--name", "in1", "--network", "container:own", "bb", "sh", "-c"];
    engine.ok(&[&joiner[..], &[SERVER]].concat());
    assert_reachable(&engine, "at first");
    let (first, before) = (namespace(&engine, "in1", "net"), address(&engine));
    kill_program(&engine, "own");
    assert_reachable(&engine, "after the policy's restart");
    assert_eq!(address(&engine), before, "nothing was taken down");
    engine.ok(&["restart", "-t", "0", "own"]);
    assert_reachable(&engine, "after a restart by hand");
    assert_eq!(address(&engine), before, "nothing was taken down");
    // Another monitor.
    engine.ok(&["stop", "-t", "0", "own"]);
    let left = engine.ok(&["exec", "in1", "ip", "-4", "-o", "addr"]);
    assert!(!left.contains("eth0"), "{left}");
    engine.ok(&["start", "own"]);
    assert_reachable(&engine, "after stop and start");
    // One that was killed, with the program.
    kill_program(&engine, "own");
    let monitor = std::fs::read_to_string(
        engine.path("root/containers").join(engine.inspect("own", "{{.Id}}")).join("state.json"),
    );
    let state: serde_json::Value = serde_json::from_str(&monitor.unwrap()).unwrap();
    kill(&state["monitor"].to_string());
    kill(&pid(&engine, "own"));
    wait_for("the end", || engine.inspect("own", "{{.State.Running}}") == "false");
    engine.ok(&["start", "own"]);
    assert_reachable(&engine, "after the monitor was killed");
    assert_eq!(namespace(&engine, "in1", "net"), first);
    // The joiner's restart finds the namespace.
    engine.ok(&["restart", "-t", "0", "in1"]);
    assert_reachable(&engine, "after the joiner's restart");
    assert_eq!(namespace(&engine, "in1", "net"), first);
    // What was changed meanwhile holds from the next start on.
    engine.ok(&["network", "connect", "bridge", "own"]);
    kill_program(&engine, "own");
    assert_reachable(&engine, "with another network");
    let addresses = engine.ok(&["exec", "in1", "ip", "-4", "-o", "addr"]);
    assert!(addresses.contains("eth1"), "{addresses}");
    engine.ok(&["rm", "-f", "own"]);
    assert_eq!(engine.inspect("in1", "{{.State.Running}}"), "true");
    let refused = engine.run(&["restart", "-t", "0", "in1"]);
    assert!(refused.err.contains("no such container: own"), "{refused:?}");
    engine.ok(&["rm", "-f", "in1"]);
    engine.ok(&["network", "rm", "app"]);
    engine.assert_nothing_left();
}

#[test]
fn other_namespaces_are_kept_where_the_kernel_keeps_them() {
    let engine = engine!(new);
    let owner = ["run", "-d", "--network", "none", "--restart", "always"];
    engine
        .ok(&[&owner[..], &["--name", "own", "--ipc", "shareable", "bb", "sleep", "600"]].concat());
    let ipc =
        ["run", "-d", "--name", "in2", "--network", "container:own", "--ipc", "container:own"];
    engine.ok(&[&ipc[..], &["bb", "sleep", "600"]].concat());
    let inside = [&owner[..], &["--name", "in3", "--pid", "container:own", "bb", "sleep", "600"]];
    engine.ok(&inside.concat());
    let (first, program) = (pid(&engine, "in2"), pid(&engine, "in3"));
    kill_program(&engine, "own");
    for typ in ["ipc", "net"] {
        assert_eq!(namespace(&engine, "own", typ), namespace(&engine, "in2", typ), "{typ}");
    }
    assert_eq!(pid(&engine, "in2"), first, "it went on");
    // Its namespace has ended with the owner's first process, and so has it.
    wait_for("the container in the pid namespace", || {
        let now = engine.inspect("in3", "{{.State.Running}} {{.State.Pid}}");
        now.starts_with("true ")
            && !now.ends_with(&format!(" {program}"))
            && namespace(&engine, "in3", "pid") == namespace(&engine, "own", "pid")
    });
    engine.ok(&["rm", "-f", "in3", "in2", "own"]);
    engine.assert_nothing_left();
}

#[test]
fn a_joiner_waits_for_its_owner_by_its_own_policy() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--network", "none", "--name", "own", "bb", "sleep", "600"]);
    let joiner =
        ["run", "-d", "--network", "container:own", "--restart", "always", "--name", "in1"];
    engine.ok(&[&joiner[..], &["bb", "sleep", "600"]].concat());
    engine.ok(&["stop", "-t", "0", "own"]);
    kill(&pid(&engine, "in1"));
    wait_for("the wait", || engine.inspect("in1", "{{.State.Status}}") == "restarting");
    wait_for("a try in vain", || {
        engine.inspect("in1", "{{.RestartCount}}").parse::<u32>().unwrap() > 1
    });
    assert_eq!(engine.inspect("in1", "{{.State.Running}} {{.State.Status}}"), "true restarting");
    engine.ok(&["start", "own"]);
    wait_for("the joiner", || engine.inspect("in1", "{{.State.Status}}") == "running");
    assert_eq!(namespace(&engine, "own", "net"), namespace(&engine, "in1", "net"));
    // By hand there is nothing to wait for.
    engine.ok(&["stop", "-t", "0", "in1", "own"]);
    let refused = engine.run(&["start", "in1"]);
    assert!(refused.err.contains("container own is not running"), "{refused:?}");
    engine.ok(&["rm", "-f", "own", "in1"]);
    engine.assert_nothing_left();
}
