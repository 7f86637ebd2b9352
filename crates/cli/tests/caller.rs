//! What of its caller a container's monitor and program keep: nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::time::{Duration, Instant};

use support::{Engine, engine};

const RUN: [&str; 6] = ["run", "-d", "--network", "none", "--name", "box"];

fn started(engine: &Engine, script: &str, program: &[&str]) -> support::Done {
    let done = engine.shell(&[&RUN[..], &["bb"], program].concat(), script);
    assert_eq!(done.code, 0, "{script}: {done:?}");
    done
}

#[test]
fn locks_and_pipes_are_not_kept_open() {
    let engine = engine!(new);
    let lock = engine.path("lock").display().to_string();
    started(&engine, &format!("exec 8>{lock}; flock 8; \"$@\""), &["sleep", "600"]);
    let taken = engine.beside(&format!("flock -n {lock} true"));
    assert_eq!(taken.code, 0, "the lock is held by the container's monitor");
    engine.ok(&["rm", "-f", "box"]);
    let begin = Instant::now();
    started(&engine, "x=$(exec 3>&1; \"$@\"); :", &["sleep", "60"]);
    assert!(begin.elapsed() < Duration::from_secs(30), "the pipe is kept open");
    let monitor = engine.inspect("box", "{{.State.MonitorPid}}");
    let parent = engine.beside(&format!("awk '/^PPid/{{print $2}}' /proc/{monitor}/status"));
    assert_ne!(parent.out.trim(), std::process::id().to_string());
    let name = std::fs::read_to_string(format!("/proc/{monitor}/comm")).unwrap();
    assert_eq!(name.trim(), "husk-monitor");
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn ignored_signals_are_the_callers() {
    let engine = engine!(new);
    let script = "grep -E '^Sig(Ign|Blk)' /proc/self/status; trap 'exit 4' INT; \
                  while :; do sleep 0.1; done";
    started(&engine, "trap '' HUP INT QUIT TERM CHLD USR1; \"$@\"", &["sh", "-c", script]);
    support::wait_for("output", || engine.ok(&["logs", "box"]).lines().count() == 2);
    let masks = engine.ok(&["logs", "box"]);
    assert!(masks.lines().all(|line| line.ends_with("\t0000000000000000")), "{masks}");
    engine.ok(&["kill", "-s", "INT", "box"]);
    assert_eq!(engine.ok(&["wait", "box"]), "4");
    let exec = ["run", "--rm", "--network", "none", "bb", "grep", "SigIgn", "/proc/self/status"];
    let ignored = engine.shell(&exec, "trap '' INT; \"$@\"");
    assert_eq!(ignored.out, "SigIgn:\t0000000000000000\n");
    engine.ok(&["rm", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn limits_and_priorities_are_the_containers_own() {
    let engine = engine!(new);
    let program = "ulimit -Sn; ulimit -Hn; ulimit -Ss; cat /proc/self/oom_score_adj; \
                   grep Cpus_allowed_list /proc/self/status; sleep 600";
    let lowered = "ulimit -Sn 256; ulimit -Ss 1024; echo 500 > /proc/self/oom_score_adj; \
                   taskset -c 0 \"$@\"";
    started(&engine, lowered, &["sh", "-c", program]);
    support::wait_for("output", || engine.ok(&["logs", "box"]).lines().count() == 5);
    let printed = engine.ok(&["logs", "box"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], lines[1], "soft and hard limit of descriptors");
    assert_eq!(&lines[2..4], ["8192", "0"]);
    let own = engine.beside("taskset -c 0-4095 grep Cpus_allowed_list /proc/self/status");
    assert_eq!(lines[4], own.out.trim());
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}
