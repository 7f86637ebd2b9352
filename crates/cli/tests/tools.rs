//! `explain`, `debug`, `enter` and `unshare`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's failure is a panic")]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{Done, Engine, engine};

fn explained(engine: &Engine, name: &str) -> Value {
    let text = engine.ok(&["explain", "--format", "json", name]);
    serde_json::from_str(&text).unwrap()
}

fn has(found: &Value, field: &str, words: &str) -> bool {
    let lines = found[field].as_array().unwrap();
    lines.iter().any(|line| line.as_str().unwrap().contains(words))
}

#[test]
fn ends_are_explained() {
    let engine = engine!(new);
    let none = ["run", "-d", "--network", "none", "--name"];
    let run = |name: &str, more: &[&str]| {
        let mut words = none.to_vec();
        words.push(name);
        words.extend(more);
        engine.run(&words)
    };
    run("three", &["bb", "sh", "-c", "echo first; echo last >&2; exit 3"]);
    engine.ok(&["wait", "three"]);
    let found = explained(&engine, "three");
    assert_eq!(found["Summary"], "its program ended: exit status 3");
    assert_eq!(found["Log"], serde_json::json!(["first", "last"]));
    assert!(has(&found, "History", "exit status 3"), "{found}");

    run("absent", &["bb", "no-such-program"]);
    let found = explained(&engine, "absent");
    let summary = found["Summary"].as_str().unwrap();
    assert!(
        summary.starts_with("it could not be started: ") && summary.contains("no-such-program")
    );
    assert!(has(&found, "Remedies", "husk run --rm -it --entrypoint sh bb"), "{found}");

    run("shell", &["bb", "sh", "-c", "no-such-program"]);
    engine.ok(&["wait", "shell"]);
    assert!(has(&explained(&engine, "shell"), "Reasons", "a command that it does not find"));

    run("deaf", &["bb", "sleep", "100"]);
    engine.ok(&["stop", "-t", "0", "deaf"]);
    let found = explained(&engine, "deaf");
    assert_eq!(
        found["Summary"],
        "its program ended: killed by signal 9 (SIGKILL), exit status 137"
    );
    assert!(has(&found, "Reasons", "asked to stop by signal 15 (SIGTERM)"), "{found}");
    assert!(has(&found, "Remedies", "--init"), "{found}");

    engine.ok(&["create", "--name", "new", "bb", "true"]);
    assert!(explained(&engine, "new")["Summary"].as_str().unwrap().contains("never started"));
    let text = engine.ok(&["explain", "three"]);
    assert!(text.contains("Last lines of its log:\n  first\n  last"), "{text}");
    assert_eq!(engine.run(&["explain", "nobody"]).code, 1);
}

#[test]
fn what_is_in_the_way_of_a_port_is_explained() {
    let engine = engine!(with_network);
    let port = "18471:80";
    engine
        .ok(&["run", "-d", "--name", "web", "-p", port, "bb", "nc", "-l", "-p", "81", "-e", "cat"]);
    let found = explained(&engine, "web");
    assert_eq!(found["Ports"][0]["Mapping"], "0.0.0.0:18471->80/tcp");
    assert!(has(&found, "Reasons", "nothing in it listens on port 80/tcp"), "{found}");
    let second = engine.run(&["run", "-d", "--name", "second", "-p", port, "bb", "sleep", "9"]);
    assert_eq!(second.code, 125, "{second:?}");
    assert!(has(&explained(&engine, "second"), "Reasons", "is held by container web"));
    engine.ok(&["rm", "-f", "web"]);
}

#[test]
fn debugging_a_container_that_runs_changes_nothing_of_it() {
    let engine = engine!(new);
    engine.ok(&[
        "run",
        "-d",
        "--name",
        "t",
        "--hostname",
        "inner",
        "--network",
        "none",
        "bb",
        "sleep",
        "100",
    ]);
    let before = engine.ok(&["inspect", "t"]);
    let script = "cat /proc/1/comm; cat /proc/1/root/data/file; hostname; ls /bin/busybox";
    let done = engine.run(&["debug", "t", "sh", "-c", script]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.out, "sleep\nimageinner\n/bin/busybox\n");
    assert_eq!(engine.run(&["debug", "t", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(engine.ok(&["inspect", "t"]), before);
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 1, "the tools are gone");
    engine.ok(&["rm", "-f", "t"]);
}

#[test]
fn debugging_what_does_not_run() {
    let engine = engine!(new);
    engine.ok(&[
        "run",
        "--name",
        "t",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "echo changed >/data/file",
    ]);
    let read = |target: &str| engine.ok(&["debug", target, "cat", "/target/data/file"]);
    assert_eq!(read("t"), "changed");
    assert_eq!(read("bb"), "image");
    let refused = engine.run(&["debug", "t", "touch", "/target/x"]);
    assert!(refused.code != 0 && refused.err.contains("Read-only"), "{refused:?}");
    assert_eq!(engine.run(&["debug", "nothing", "true"]).code, 1);
    let left = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!left.contains(engine.path("run").to_str().unwrap()), "{left}");
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn entering_a_container() {
    let engine = engine!(new);
    engine.ok(&[
        "run",
        "-d",
        "--name",
        "t",
        "--hostname",
        "inner",
        "--network",
        "none",
        "bb",
        "sleep",
        "100",
    ]);
    let enter = |words: &[&str]| -> Done {
        let mut all = vec!["enter"];
        all.extend(words);
        engine.run(&all)
    };
    let done = enter(&["t", "sh", "-c", "hostname; cat /data/file; cat /proc/1/comm"]);
    assert_eq!((done.code, done.out.as_str()), (0, "inner\nimagesleep\n"), "{done:?}");
    // One namespace of it, and this machine's files.
    let done = enter(&["-u", "t", "--", "sh", "-c", "hostname; test -e /data/file || echo ours"]);
    assert_eq!((done.code, done.out.as_str()), (0, "inner\nours\n"), "{done:?}");
    let confined = "grep -E 'CapBnd|Seccomp:' /proc/self/status";
    let inside = engine.ok(&["exec", "t", "grep", "-E", "CapBnd|Seccomp:", "/proc/self/status"]);
    assert_eq!(enter(&["-u", "t", "sh", "-c", confined]).out.trim(), inside);
    let privileged = enter(&["--privileged", "-u", "t", "sh", "-c", confined]);
    assert!(privileged.out.contains("Seccomp:\t0"), "{privileged:?}");
    let cgroup = enter(&["-u", "t", "cat", "/proc/self/cgroup"]).out;
    let id = engine.ok(&["inspect", "-f", "{{.Id}}", "t"]);
    assert!(cgroup.contains(&id), "{cgroup}");
    assert_eq!(enter(&["t", "sh", "-c", "exit 5"]).code, 5);
    assert_eq!(enter(&["nobody", "true"]).code, 1);
    let missing = enter(&["2147483000", "true"]);
    assert!(missing.err.contains("there is no process 2147483000"), "{missing:?}");
    engine.ok(&["rm", "-f", "t"]);
    assert_eq!(enter(&["t", "true"]).code, 1);
}

#[test]
fn entering_a_process() {
    let engine = engine!(new);
    let script = "hostname inner && exec sleep 100";
    let mut child = std::process::Command::new("unshare")
        .args(["--uts", "sh", "-c", script])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let hostname = || engine.run(&["enter", &pid, "hostname"]);
    let mut done = hostname();
    for _ in 0..100 {
        if done.out == "inner\n" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        done = hostname();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((done.code, done.out.as_str()), (0, "inner\n"), "{done:?}");
}

#[test]
fn unsharing() {
    let engine = engine!(new);
    let unshare = |words: &[&str]| -> Done {
        let mut all = vec!["unshare"];
        all.extend(words);
        engine.run(&all)
    };
    let done =
        unshare(&["-p", "--mount-proc", "--", "sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.out.lines().next(), Some("1"));
    assert!(done.out.lines().nth(1).unwrap().trim().parse::<u32>().unwrap() < 5, "{done:?}");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let done = unshare(&["-u", "sh", "-c", "hostname changed; hostname"]);
    assert_eq!(done.out, "changed\n", "{done:?}");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), own);
    let done = unshare(&["-n", "sh", "-c", "cat /proc/net/dev | wc -l; exit 4"]);
    assert_eq!((done.code, done.out.trim()), (4, "3"), "{done:?}");
    let done = unshare(&["-U", "sh", "-c", "id -u; cat /proc/self/uid_map"]);
    assert!(done.out.starts_with("0\n") && done.out.trim_end().ends_with(" 1"), "{done:?}");
    let root = engine.path("tree");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    let done = unshare(&["--root-dir", root.to_str().unwrap(), "/bin/sh", "-c", "echo /*"]);
    assert_eq!(done.out, "/bin\n", "{done:?}");
    assert_eq!(unshare(&["--root-dir", "/no/such", "true"]).code, 1);
}
