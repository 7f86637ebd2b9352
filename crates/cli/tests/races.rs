//! Two at once, and what was cut short: nothing is lost, nothing is left, nobody waits for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::process::{Child, Stdio};
use std::time::Duration;

use support::{Engine, engine, wait_for};

const RUN: [&str; 4] = ["run", "--network", "none", "--name"];

fn spawn(engine: &Engine, arguments: &[&str]) -> Child {
    let mut command = engine.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn rests_of_containers_are_swept() {
    let engine = engine!(new);
    let id = engine.ok(&["create", "--network", "none", "--name", "half", "bb"]);
    // As where `rm` was killed after its first step.
    std::fs::remove_file(engine.path("root/containers").join(&id).join("container.json")).unwrap();
    // As where `create` was, before its last.
    let begun = engine.path("root/containers").join("b".repeat(64));
    std::fs::create_dir(begun).unwrap();
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
    assert!(engine.path("root/pins").join(&id).exists());
    // Its image is nobody's, and its name is free.
    engine.ok(&["create", "--network", "none", "--name", "half", "bb"]);
    engine.ok(&["rm", "half"]);
    engine.ok(&["rmi", "bb"]);
    engine.assert_nothing_left();
}

#[test]
fn what_is_being_made_is_not_swept() {
    let engine = engine!(new);
    let mut makers: Vec<Child> = (0..20)
        .map(|number| spawn(&engine, &["create", "--name", &format!("c{number}"), "bb"]))
        .collect();
    while makers.iter_mut().any(|maker| maker.try_wait().unwrap().is_none()) {
        engine.ok(&["image", "prune", "-f"]);
    }
    assert!(makers.iter_mut().all(|maker| maker.wait().unwrap().success()));
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 20);
}

#[test]
fn killed_at_any_time_it_can_be_started_and_removed() {
    let engine = engine!(with_network);
    for number in 0..24u64 {
        let name = format!("c{number}");
        let mut run =
            spawn(&engine, &["run", "-d", "--name", &name, "-p", "80", "bb", "sleep", "600"]);
        std::thread::sleep(Duration::from_millis(number * 2));
        run.kill().unwrap();
        run.wait().unwrap();
        if number % 3 == 0 {
            // Its monitor too, wherever that is by now.
            let monitor = format!("{} monitor", engine.path("run").display());
            engine.beside(&format!("for p in $(pgrep -f '{monitor}'); do kill -9 $p; done"));
        }
        if number % 4 == 0 {
            let mut stop = spawn(&engine, &["rm", "-f", &name]);
            std::thread::sleep(Duration::from_millis(number));
            stop.kill().unwrap();
            stop.wait().unwrap();
        }
    }
    for name in engine.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines() {
        let state = engine.inspect(name, "{{.State.Running}} {{.State.Pid}}");
        let (running, pid) = state.split_once(' ').unwrap();
        let lives = pid != "0" && std::path::Path::new("/proc").join(pid).exists();
        assert_eq!(lives, running == "true", "{name} {state}");
        engine.ok(&["start", name]);
        engine.ok(&["rm", "-f", name]);
    }
    engine.ok(&["container", "prune", "-f"]);
    engine.assert_no_network_left();
    engine.assert_nothing_left();
}

#[test]
fn many_starts_of_one_container_start_it_once() {
    let engine = engine!(new);
    for _ in 0..5 {
        engine.ok(&["create", "--network", "none", "--name", "one", "bb", "sleep", "600"]);
        let starts: Vec<Child> = (0..6).map(|_| spawn(&engine, &["start", "one"])).collect();
        for mut start in starts {
            assert!(start.wait().unwrap().success());
        }
        let monitors =
            engine.beside(&format!("pgrep -fc '{} monitor'", engine.path("run").display()));
        // The shell's own command line has the words as well.
        assert_eq!(monitors.out.trim(), "2", "{monitors:?}");
        engine.ok(&["rm", "-f", "one"]);
    }
    engine.assert_nothing_left();
}

#[test]
fn who_does_not_read_holds_up_no_one() {
    let engine = engine!(new);
    let script = "while echo a line that fills what is between us; do :; done";
    let mut run = engine.command(&[&RUN[..], &["loud", "bb", "sh", "-c", script]].concat());
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Nobody reads: the pipe fills, then the socket, then the program waits.
    wait_for("output", || engine.run(&["logs", "loud"]).out.len() > 200_000);
    let removed = engine.run(&["rm", "-f", "loud"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    engine.assert_nothing_left();
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn removal_does_not_wait_for_a_patient_stop() {
    let engine = engine!(new);
    // Process 1 of a namespace takes no TERM that it does not handle.
    engine.ok(&[&RUN[..], &["deaf", "-d", "bb", "sleep", "600"]].concat());
    let mut stop = spawn(&engine, &["stop", "-t", "600", "deaf"]);
    let lock = engine.path("root/containers").join(engine.inspect("deaf", "{{.Id}}")).join("lock");
    wait_for("the stop's lock", || {
        engine.beside(&format!("flock -n {} true", lock.display())).code != 0
    });
    engine.ok(&["rm", "-f", "deaf"]);
    stop.wait().unwrap();
    engine.assert_nothing_left();
}

#[test]
fn a_new_name_is_given_back_too() {
    let engine = engine!(new);
    engine.ok(&[&RUN[..], &["one", "-d", "--rm", "bb", "sleep", "600"]].concat());
    engine.ok(&["rename", "one", "two"]);
    engine.ok(&["kill", "two"]);
    wait_for("its end", || engine.ok(&["ps", "-aq"]).is_empty());
    engine.assert_nothing_left();
}

#[test]
fn volumes_are_removed_whole_or_not_at_all() {
    let engine = engine!(new);
    let mount = ["--rm", "--network", "none", "-v", "vol:/data", "bb"];
    engine.ok(&[&["run"], &mount[..], &["sh", "-c", "echo mine > /data/own"]].concat());
    engine.ok(&["volume", "rm", "vol"]);
    // Filled anew by the image, without what the other had.
    let seen = engine.ok(&[&["run"], &mount[..], &["ls", "/data"]].concat());
    assert_eq!(seen, "file");
    // Removed and wanted at the same time, it is one or the other.
    for _ in 0..10 {
        let mut remove = spawn(&engine, &["volume", "rm", "vol"]);
        let seen = engine.ok(&[&["run"], &mount[..], &["ls", "/data"]].concat());
        assert_eq!(seen, "file");
        remove.wait().unwrap();
    }
    let rest = engine.path("root/volumes/.removed-1");
    std::fs::create_dir_all(rest.join("data")).unwrap();
    engine.ok(&["volume", "prune", "-af"]);
    assert!(!rest.exists());
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "");
    engine.assert_nothing_left();
}
