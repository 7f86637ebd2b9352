//! Reading logs by lines, and what ends at once: kill, stop, pause, restart.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::{engine, wait_for};

const RUN: [&str; 5] = ["run", "--network", "none", "--name", "box"];

#[test]
fn a_line_ends_in_a_line_feed() {
    let engine = engine!(new);
    let long = "head -c 40000 /dev/zero | /bin/busybox tr '\\0' x";
    let script = format!("echo one; {long}; echo; echo err >&2; echo two; {long}; echo; echo end");
    engine.ok(&[&RUN[..], &["bb", "sh", "-c", &script]].concat());
    let tail = |count: &str, more: &[&str]| {
        let done = engine.run(&[&["logs", "--tail", count], more, &["box"]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        done
    };
    let lengths = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
    assert_eq!(tail("0", &[]).out, "");
    assert_eq!(tail("1", &[]).out, "end\n");
    assert_eq!(lengths(&tail("2", &[]).out), [40000, 3]);
    assert_eq!(lengths(&tail("all", &[]).out), [3, 40000, 3, 40000, 3]);
    assert_eq!(tail("all", &[]).err, "err\n");
    // One time a line, at its beginning.
    let stamped = tail("2", &["-t"]).out;
    let lines: Vec<&str> = stamped.lines().collect();
    assert_eq!(lines.len(), 2);
    let (time, line) = lines[0].split_once(' ').unwrap();
    assert!(time.ends_with('Z') && line.len() == 40000, "{time}");
    // A line belongs to the time at which it began.
    let since = engine.run(&["logs", "--since", time, "box"]).out;
    assert_eq!(lengths(&since).last(), Some(&3));
    assert!(lengths(&since).iter().all(|length| [3, 40000].contains(length)));
    engine.ok(&["rm", "box"]);
}

#[test]
fn rotation_falls_into_a_line() {
    let engine = engine!(new);
    let script = "head -c 70000 /dev/zero | /bin/busybox tr '\\0' x; echo; echo end";
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=9"];
    engine.ok(&[&RUN[..], &options, &["bb", "sh", "-c", script]].concat());
    let shown = engine.ok(&["logs", "--tail", "2", "box"]);
    assert_eq!(shown.lines().map(str::len).collect::<Vec<_>>(), [70000, 3]);
    engine.ok(&["rm", "box"]);
}

#[test]
fn following_loses_nothing_to_rotation() {
    let engine = engine!(new);
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; \
                  while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); done";
    let options = ["-d", "--log-opt", "max-size=8k", "--log-opt", "max-file=30"];
    engine.ok(&[&RUN[..], &options, &["bb", "sh", "-c", script]].concat());
    let followed = engine.ok(&["logs", "-f", "box"]);
    let expected: Vec<String> = (0..600).map(|number| format!("line {number}")).collect();
    assert_eq!(followed.lines().collect::<Vec<_>>(), expected);
    engine.ok(&["rm", "box"]);
}

/// M3: the log goes on when the disk has room again, and says what is missing.
#[test]
fn a_full_disk_leaves_a_gap_that_is_told() {
    let engine = engine!(new);
    let root = engine.path("root").display().to_string();
    engine.beside(&format!("rm -rf {root} && mkdir -m 700 {root}"));
    let mounted = engine.beside(&format!("mount -t tmpfs -o size=8m,mode=700 husk-test {root}"));
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let _mounted = support::Mounted(root.clone());
    engine.import();
    let script = "echo before; read x; head -c 20000 /dev/zero | /bin/busybox tr '\\0' x; echo; \
                  echo lost; read x; echo after; read x";
    engine.ok(&[&RUN[..], &["-d", "-i", "bb", "sh", "-c", script]].concat());
    wait_for("the first line", || engine.ok(&["logs", "box"]) == "before");
    let mut attached = engine
        .command(&["attach", "box"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = attached.stdin.take().unwrap();
    let mut go_on = || std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    engine.beside(&format!("dd if=/dev/zero of={root}/full bs=4k 2>/dev/null"));
    go_on();
    let mut output = std::io::BufReader::new(attached.stdout.take().unwrap());
    let mut line = String::new();
    while line != "lost\n" {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut output, &mut line).unwrap() > 0);
    }
    std::fs::remove_file(engine.path("root/full")).unwrap();
    go_on();
    wait_for("the line after", || engine.ok(&["logs", "box"]).ends_with("after"));
    let done = engine.run(&["logs", "box"]);
    assert!(done.err.contains("bytes of output are missing here"), "{done:?}");
    assert!(done.err.contains("No space left on device"), "{done:?}");
    go_on();
    attached.wait().unwrap();
    assert_eq!(engine.ok(&["wait", "box"]), "0");
    engine.ok(&["rm", "-f", "box"]);
}

/// C.10: what a command has done can be seen by the next one.
#[test]
fn ends_can_be_seen_at_once() {
    let engine = engine!(new);
    let status = || engine.inspect("box", "{{.State.Status}}");
    engine.ok(&["create", "--network", "none", "--name", "box", "bb", "sleep", "600"]);
    for paused in [false, true, false, true] {
        engine.ok(&["start", "box"]);
        if paused {
            engine.ok(&["pause", "box"]);
            assert_eq!(status(), "paused");
        }
        engine.ok(&["kill", "box"]);
        assert_eq!(status(), "exited");
        engine.ok(&["restart", "-t", "0", "box"]);
        assert_eq!(status(), "running");
        engine.ok(&["restart", "-t", "0", "box"]);
        assert_eq!(status(), "running");
        engine.ok(&["stop", "-t", "0", "box"]);
        assert_eq!(status(), "exited");
    }
    engine.ok(&["rm", "box"]);
    engine.assert_nothing_left();
}
