//! What somebody who knows Docker tries: help, mistakes, an impatient ctrl-C, scripts' templates.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use support::{engine, wait_for};

#[test]
fn help_is_where_it_is_looked_for() {
    let engine = engine!(new);
    let of_flag = engine.ok(&["run", "--help"]);
    let first = of_flag.lines().position(|line| line.contains("--detach")).unwrap();
    let places = of_flag.lines().position(|line| line.contains("--root <DIR>")).unwrap();
    let last = of_flag.lines().position(|line| line.contains("--tls-verify")).unwrap();
    assert!(first < last && last < places, "the command's own flags come first:\n{of_flag}");
    // Without the flags of places that the tests' own calls begin with.
    let husk = |words: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_husk")).args(words).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(husk(&["help", "run"]), husk(&["run", "--help"]));
    assert_eq!(husk(&["help", "network", "ls"]), husk(&["network", "ls", "--help"]));
    let whole = husk(&["help"]);
    assert_eq!(whole.0, Some(0));
    assert!(whole.1.lines().any(|line| line.starts_with("  man ")), "{}", whole.1);
    for words in [&[][..], &["network"]] {
        assert_eq!(husk(words).0, Some(0), "{words:?}");
    }
    for (words, code) in [
        (&["rnu"][..], 1),
        (&["run"], 1),
        (&["network", "creat", "x"], 1),
        (&["run", "--memroy", "1m", "bb"], 125),
        (&["ps", "--al"], 125),
    ] {
        assert_eq!(husk(words).0, Some(code), "{words:?}");
    }
}

#[test]
fn an_image_of_another_platform_is_not_run() {
    let engine = engine!(new);
    let other = if cfg!(target_arch = "aarch64") { "linux/s390x" } else { "linux/arm64" };
    let run = ["run", "--rm", "--network", "none", "--pull", "never", "--platform"];
    let done = engine.run(&[&run[..], &[other, "bb", "true"]].concat());
    assert_eq!(done.code, 125, "{done:?}");
    assert!(done.err.contains("the image bb is of linux/"), "{done:?}");
    let own = engine.ok(&["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "bb"]);
    assert_eq!(engine.run(&[&run[..], &[&own, "bb", "true"]].concat()).code, 0);
    engine.assert_nothing_left();
}

#[test]
fn who_asks_three_times_may_go() {
    let engine = engine!(new);
    let run = ["run", "--network", "none", "--name", "deaf", "bb", "sleep", "600"];
    let mut child = engine.command(&run).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the start", || engine.run(&["exec", "deaf", "true"]).code == 0);
    let pid = Pid::from_child(&child);
    for _ in 0..3 {
        kill_process(pid, Signal::INT).unwrap();
        // Two that are pending at once are one (signal(7)).
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    wait_for("the end of run", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("asked to end three times"), "{said}");
    assert_eq!(engine.inspect("deaf", "{{.State.Status}}"), "running");
    engine.ok(&["rm", "-f", "deaf"]);
    engine.assert_nothing_left();
}

#[test]
fn templates_of_scripts_find_their_fields() {
    let engine = engine!(new);
    let flags = ["-p", "127.0.0.1:8080:80", "-p", "7000-7001:7000-7001/udp", "-p", "90"];
    let volumes = ["-v", "kept:/data:ro", "-v", "/anonymous"];
    let made = [&["create", "--name", "one"][..], &flags, &volumes, &["bb", "true"]].concat();
    engine.ok(&made);
    for (template, value) in [
        ("{{.HostConfig.Binds}}", "[kept:/data:ro]"),
        ("{{.HostConfig.RestartPolicy.Name}} {{.RestartCount}}", "no 0"),
        ("{{(index (index .HostConfig.PortBindings \"80/tcp\") 0).HostIp}}", "127.0.0.1"),
        ("{{(index (index .HostConfig.PortBindings \"7001/udp\") 0).HostPort}}", "7001"),
        (
            "{{json (index .HostConfig.PortBindings \"90/tcp\")}}",
            r#"[{"HostIp":"","HostPort":""}]"#,
        ),
    ] {
        assert_eq!(engine.inspect("one", template), value, "{template}");
    }
    engine.ok(&["rm", "-v", "one"]);
    engine.ok(&[
        "run",
        "--name",
        "two",
        "--network",
        "none",
        "bb",
        "dd",
        "if=/dev/zero",
        "of=/f",
        "bs=64k",
        "count=4",
    ]);
    let listed = |format: &str| engine.ok(&["ps", "-a", "--format", format]);
    assert_eq!(listed("{{.Size}}"), engine.ok(&["ps", "-a", "-s", "--format", "{{.Size}}"]));
    assert_ne!(listed("{{.Size}}"), "0B");
    engine.ok(&["rm", "two"]);
    engine.assert_nothing_left();
}

#[test]
fn a_line_of_an_env_file_has_no_space_in_its_name() {
    let engine = engine!(new);
    let path = engine.path("variables");
    std::fs::write(&path, "A=with space\nB C=1\n").unwrap();
    let path = path.display().to_string();
    let run = ["run", "--rm", "--network", "none", "--env-file", &path, "bb", "env"];
    let done = engine.run(&run);
    assert_eq!(done.code, 125, "{done:?}");
    assert!(done.err.contains("\"B C=1\": has a space in its name"), "{done:?}");
    std::fs::write(&path, "A=with space\n").unwrap();
    assert!(engine.ok(&run).contains("A=with space"));
}

#[test]
fn a_login_that_cannot_be_is_refused_before_the_password() {
    let engine = engine!(new);
    for (arguments, expected) in [
        (["login", "-u", "a:b", "r.invalid"], "--username \"a:b\""),
        (["login", "-u", "", "r.invalid"], "--username"),
        (["login", "-u", "a", "r.invalid/x y"], "is no registry"),
    ] {
        let done = engine.run(&arguments);
        assert!(done.code != 0 && done.err.contains(expected), "{arguments:?}: {done:?}");
    }
}
