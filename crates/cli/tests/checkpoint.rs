//! Checkpoints of the engine's containers. CRIU is the program that the variable CRIU names, or
//! the one in PATH; where `criu check` says that it cannot work here, the tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod support;

use std::path::Path;

use support::criu::{ok, run, search_path};
use support::{Done, Engine, engine, skip, wait_for};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

fn last_number(engine: &Engine) -> u64 {
    let logs = engine.ok(&["logs", "--tail", "1", "job"]);
    logs.trim().parse().unwrap_or(0)
}

fn number(engine: &Engine, above: u64) {
    wait_for("the counter goes on", || last_number(engine) > above);
}

/// Docker's words: a named checkpoint, from which the container starts as often as one likes.
#[test]
fn a_container_starts_from_its_checkpoint() {
    let engine = engine!(with_network);
    let Some(path) = search_path() else { return skip("no criu that works here") };
    let (path, run_it) = (path.as_str(), ["run", "-d", "--name", "job", "-v", "data:/data", "bb"]);
    engine.ok(&[&run_it[..], &["sh", "-c", COUNTER]].concat());
    number(&engine, 3);
    let address = engine.inspect("job", "{{.NetworkSettings.IPAddress}}");
    assert_eq!(
        ok(&engine, path, &["checkpoint", "create", "--leave-running", "job", "one"]),
        "one\n"
    );
    number(&engine, last_number(&engine));
    let again = run(&engine, path, &["checkpoint", "create", "job", "one"]);
    assert!(again.code != 0 && again.err.contains("has a checkpoint one already"), "{}", again.err);
    ok(&engine, path, &["checkpoint", "create", "job", "two"]);
    assert_eq!(engine.inspect("job", "{{.State.Status}}"), "exited");
    assert_eq!(ok(&engine, path, &["checkpoint", "ls", "job"]), "CHECKPOINT NAME\none\ntwo\n");
    let stopped = last_number(&engine);
    ok(&engine, path, &["start", "--checkpoint", "two", "job"]);
    number(&engine, stopped);
    assert!(last_number(&engine) < stopped + 1000, "it has begun anew");
    assert_eq!(engine.inspect("job", "{{.NetworkSettings.IPAddress}}"), address);
    assert_eq!(engine.ok(&["exec", "job", "cat", "/proc/1/comm"]), "sh");
    let running = run(&engine, path, &["start", "--checkpoint", "two", "job"]);
    assert!(running.code != 0 && running.err.contains("already running"), "{}", running.err);
    engine.ok(&["stop", "-t", "0", "job"]);
    // A plain start is a new one.
    engine.ok(&["start", "job"]);
    wait_for("it begins anew", || last_number(&engine) < stopped);
    engine.ok(&["stop", "-t", "0", "job"]);
    for (words, why) in [
        (&["start", "--checkpoint", "three", "job"][..], "has no checkpoint three"),
        (&["start", "--checkpoint", "../one", "job"], "must begin with a letter"),
        (&["start", "--checkpoint-dir", "/tmp", "job"], "goes with --checkpoint"),
        (&["checkpoint", "create", "job", "four"], "not running"),
        (&["checkpoint", "rm", "job", "three"], "has no checkpoint three"),
    ] {
        let done = run(&engine, path, words);
        assert!(done.code != 0 && done.err.contains(why), "{words:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    }
    ok(&engine, path, &["checkpoint", "rm", "job", "one"]);
    assert_eq!(ok(&engine, path, &["checkpoint", "ls", "job"]), "CHECKPOINT NAME\ntwo\n");
    engine.ok(&["rm", "job"]);
    engine.assert_nothing_left();
}

/// podman's words, and what fails.
#[test]
fn container_checkpoint_and_restore() {
    let engine = engine!(with_network);
    let Some(path) = search_path() else { return skip("no criu that works here") };
    let path = path.as_str();
    // A checkpoint is an end that somebody asked for: no restart policy undoes it.
    engine.ok(&["run", "-d", "--restart", "always", "--name", "job", "bb", "sh", "-c", COUNTER]);
    number(&engine, 3);
    let without =
        engine.command(&["container", "checkpoint", "job"]).env("PATH", "/usr/bin:/bin").output();
    let without: Done = without.unwrap().into();
    if !Path::new("/usr/sbin/criu").exists() {
        assert!(without.code != 0 && without.err.contains("package criu"), "{}", without.err);
        assert_eq!(engine.inspect("job", "{{.State.Status}}"), "running");
    }
    assert_eq!(ok(&engine, path, &["container", "checkpoint", "--all"]), "job\n");
    assert_eq!(engine.inspect("job", "{{.State.Status}}"), "exited");
    let stopped = last_number(&engine);
    assert_eq!(ok(&engine, path, &["container", "restore", "--keep", "job"]), "job\n");
    number(&engine, stopped);
    engine.ok(&["kill", "job"]);
    assert_eq!(ok(&engine, path, &["container", "restore", "--all"]), "job\n");
    number(&engine, stopped);
    engine.ok(&["rm", "-f", "job"]);
    engine.ok(&["run", "-d", "--rm", "--name", "gone", "bb", "sleep", "1000"]);
    let removed = run(&engine, path, &["container", "checkpoint", "gone"]);
    assert!(removed.code != 0 && removed.err.contains("--rm"), "{}", removed.err);
    engine.ok(&["rm", "-f", "gone"]);
    engine.assert_nothing_left();
}
