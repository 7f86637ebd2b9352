//! Standard output and standard error that cannot be written: a full disk, a pipe that nobody
//! reads, none at all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::fs::{File, OpenOptions};
use std::process::{Output, Stdio};

use support::{Done, Engine, engine, wait_for};

/// What a shell makes of SIGPIPE.
const READER_GONE: i32 = 141;

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn with_stdout(engine: &Engine, arguments: &[&str], stdout: impl Into<Stdio>) -> Done {
    let mut command = engine.command(arguments);
    let output: Output =
        command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    output.into()
}

#[test]
fn what_is_said_is_lost_and_the_work_done() {
    let engine = engine!(new);
    let context = engine.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN echo said >&2\n").unwrap();
    let context = context.to_str().unwrap();
    let unserved = "127.0.0.1:1/nobody/serves:this";
    let calls: [&[&str]; 8] = [
        &["build", "--network", "none", "--no-cache", "-t", "made", context],
        &["system", "prune"],
        &["builder", "prune"],
        &["run", "--rm", unserved, "true"],
        &["pull", "--tls-verify=false", unserved],
        &["run", "--rm", "--network", "none", "bb", "sh", "-c", "echo said >&2; exit 7"],
        &["run", "--rm", "--network", "none", "bb", "no-such-program"],
        &["rm", "no-such-container"],
    ];
    for call in calls {
        let expected = engine.run(call);
        assert!(!expected.err.is_empty(), "it says something: {call:?}");
        for (what, stderr) in [("full", Stdio::from(full())), ("unread", unread())] {
            let mut command = engine.command(call);
            let status = command.stdout(Stdio::null()).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(expected.code), "{what}: {call:?}");
        }
        let closed = engine.shell(call, "exec \"$@\" 2>&-");
        assert_eq!(closed.code, expected.code, "closed: {call:?}");
    }
    assert!(!engine.ok(&["images", "-q", "made"]).is_empty());
    engine.ok(&["run", "--rm", "--network", "none", "made", "true"]);
    engine.assert_nothing_left();
}

#[test]
fn a_reader_that_goes_ends_what_has_no_end() {
    let engine = engine!(new);
    let script = "while echo y; do sleep 0.01; done";
    let run = ["run", "--network", "none", "--name"];
    engine.ok(&[&run[..], &["other", "-d", "bb", "sleep", "600"]].concat());
    for call in [
        &[&run[..], &["chatty", "bb", "sh", "-c", script]].concat()[..],
        &["logs", "-f", "chatty"],
        &["attach", "chatty"],
        &["stats"],
        &["stats", "--format", "{{.Name}}"],
        &["ps"],
    ] {
        let done = with_stdout(&engine, call, unread());
        assert_eq!((done.code, done.err.as_str()), (READER_GONE, ""), "{call:?}");
    }
    // It was left alone, as by Docker.
    assert_eq!(engine.inspect("chatty", "{{.State.Status}}"), "running");
    // What is done is done for all of them.
    let done = with_stdout(&engine, &["rm", "-f", "chatty", "other"], unread());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    engine.assert_nothing_left();
}

#[test]
fn a_full_disk_is_told() {
    let engine = engine!(new);
    engine.ok(&["create", "--network", "none", "--name", "made", "bb", "echo", "out"]);
    for (call, code) in [
        (&["ps", "-a"][..], 1),
        (&["images", "--format", "{{.ID}}"], 1),
        (&["inspect", "made"], 1),
        (&["start", "-a", "made"], 1),
        (&["logs", "made"], 1),
        (&["run", "--rm", "--network", "none", "bb", "echo", "out"], 125),
        (&["export", "made"], 1),
        (&["save", "bb"], 1),
    ] {
        if call[0] == "logs" {
            wait_for("output", || !engine.run(&["logs", "made"]).out.is_empty());
        }
        let done = with_stdout(&engine, call, full());
        assert_eq!(done.code, code, "{call:?}: {done:?}");
        assert!(done.err.contains("No space left on device"), "{call:?}: {done:?}");
    }
    engine.ok(&["rm", "-f", "made"]);
    engine.assert_nothing_left();
}
