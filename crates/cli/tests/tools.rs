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

    let probe = ["--health-cmd", "echo no disk; exit 4", "--health-interval", "100ms"];
    let more =
        ["--health-retries", "1", "--network", "none", "--name", "ill", "bb", "sleep", "100"];
    engine.ok(&[&["run", "-d"], &probe[..], &more[..]].concat());
    for _ in 0..200 {
        if has(&explained(&engine, "ill"), "Reasons", "exit status 4: no disk") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let found = explained(&engine, "ill");
    assert!(has(&found, "Reasons", "it is unhealthy"), "{found}");
    engine.ok(&["rm", "-f", "ill"]);

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
        "tt",
        "--hostname",
        "inner",
        "--network",
        "none",
        "bb",
        "sleep",
        "100",
    ]);
    let before = engine.ok(&["inspect", "tt"]);
    let script = "cat /proc/1/comm; cat /proc/1/root/data/file; hostname; ls /bin/busybox";
    let done = engine.run(&["debug", "tt", "sh", "-c", script]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.out, "sleep\nimageinner\n/bin/busybox\n");
    assert_eq!(engine.run(&["debug", "tt", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(engine.ok(&["inspect", "tt"]), before);
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 1, "the tools are gone");
    engine.ok(&["rm", "-f", "tt"]);
}

#[test]
fn debugging_what_does_not_run() {
    let engine = engine!(new);
    engine.ok(&[
        "run",
        "--name",
        "tt",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "echo changed >/data/file",
    ]);
    let read = |target: &str| engine.ok(&["debug", target, "cat", "/target/data/file"]);
    assert_eq!(read("tt"), "changed");
    assert_eq!(read("bb"), "image");
    let refused = engine.run(&["debug", "tt", "touch", "/target/x"]);
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
        "tt",
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
    let done = enter(&["tt", "sh", "-c", "hostname; cat /data/file; cat /proc/1/comm"]);
    assert_eq!((done.code, done.out.as_str()), (0, "inner\nimagesleep\n"), "{done:?}");
    // One namespace of it, and this machine's files.
    let done = enter(&["-u", "tt", "--", "sh", "-c", "hostname; test -e /data/file || echo ours"]);
    assert_eq!((done.code, done.out.as_str()), (0, "inner\nours\n"), "{done:?}");
    let after = enter(&["tt", "-u", "--", "hostname"]);
    assert_eq!((after.code, after.out.as_str()), (0, "inner\n"), "{after:?}");
    assert_eq!(enter(&["tt", "--nonsense", "--", "hostname"]).code, 125);
    let confined = "grep -E 'CapBnd|Seccomp:' /proc/self/status";
    let inside = engine.ok(&["exec", "tt", "grep", "-E", "CapBnd|Seccomp:", "/proc/self/status"]);
    assert_eq!(enter(&["-u", "tt", "sh", "-c", confined]).out.trim(), inside);
    let privileged = enter(&["--privileged", "-u", "tt", "sh", "-c", confined]);
    assert!(privileged.out.contains("Seccomp:\t0"), "{privileged:?}");
    let cgroup = enter(&["-u", "tt", "cat", "/proc/self/cgroup"]).out;
    let id = engine.ok(&["inspect", "-f", "{{.Id}}", "tt"]);
    assert!(cgroup.contains(&id), "{cgroup}");
    assert_eq!(enter(&["tt", "sh", "-c", "exit 5"]).code, 5);
    assert_eq!(enter(&["nobody", "true"]).code, 1);
    let missing = enter(&["2147483000", "true"]);
    assert!(missing.err.contains("there is no process 2147483000"), "{missing:?}");
    engine.ok(&["rm", "-f", "tt"]);
    assert_eq!(enter(&["tt", "true"]).code, 1);
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
    // A link in its place would be what containers have.
    assert!(!std::fs::symlink_metadata("/dev/ptmx").unwrap().is_symlink());
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
    assert_eq!(done.out, "/bin /dev\n", "{done:?}");
    assert_eq!(std::fs::read_dir(root.join("dev")).unwrap().count(), 0, "nothing is made in it");
    assert_eq!(unshare(&["--root-dir", "/no/such", "true"]).code, 1);
}

#[test]
fn secrets_reach_the_container_alone() {
    let engine = engine!(new);
    let path = engine.path("key");
    std::fs::write(&path, "s3cret").unwrap();
    let path = path.to_str().unwrap();
    let id = engine.ok(&["secret", "create", "--label", "a=b", "key", path]);
    assert_eq!(id.len(), 64);
    assert_eq!(engine.run(&["secret", "create", "key", path]).code, 1);
    assert_eq!(engine.ok(&["secret", "ls", "--format", "{{.Name}} {{.Labels}}"]), "key a=b");
    let script = "cat /run/secrets/key; echo; ls -ln /etc/k | cut -c1-10; echo $KEY";
    let run = [
        "run",
        "--name",
        "tt",
        "--network",
        "none",
        "--secret",
        "key",
        "--secret",
        "key,target=/etc/k,uid=1000,mode=0400",
        "--secret",
        "key,type=env,target=KEY",
        "bb",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(engine.ok(&run), "s3cret\n-r--------\ns3cret");
    let refused =
        engine.run(&["run", "--rm", "--secret", "key", "bb", "sh", "-c", "echo >/run/secrets/key"]);
    assert!(refused.err.contains("Read-only"), "{refused:?}");
    // Neither in a record nor left behind.
    let inspected = engine.ok(&["inspect", "tt"]) + &engine.ok(&["secret", "inspect", "key"]);
    assert!(!inspected.contains("s3cret"));
    let left = std::process::Command::new("grep")
        .args(["-rl", "s3cret"])
        .arg(engine.path("run"))
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
    assert_eq!(engine.ok(&["secret", "rm", "key"]), id);
    let gone = engine.run(&["start", "-a", "tt"]);
    assert!(gone.code != 0 && gone.err.contains("no such secret: key"), "{gone:?}");
    assert_eq!(engine.run(&["run", "--rm", "--secret", "key,mode=9", "bb", "true"]).code, 125);
}

#[test]
fn contexts_are_dockers_files() {
    let engine = engine!(new);
    let ls =
        || engine.ok(&["context", "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}"]);
    assert_eq!(ls(), "default true unix:///var/run/docker.sock");
    let host = "host=unix:///run/husk/docker.sock";
    engine.ok(&["context", "create", "--description", "here", "--docker", host, "husk"]);
    std::fs::write(engine.path("docker/config.json"), r#"{"auths":{"x":{}}}"#).unwrap();
    assert_eq!(engine.ok(&["context", "use", "husk"]), "husk");
    assert_eq!(engine.ok(&["context", "show"]), "husk");
    assert!(ls().ends_with("husk true unix:///run/husk/docker.sock"), "{}", ls());
    let settings = std::fs::read_to_string(engine.path("docker/config.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["currentContext"], "husk");
    assert!(settings["auths"]["x"].is_object(), "what else is in the file stays: {settings}");
    let meta = engine.path("docker/contexts/meta");
    let meta = std::fs::read_dir(&meta).unwrap().next().unwrap().unwrap().path();
    let meta: Value =
        serde_json::from_str(&std::fs::read_to_string(meta.join("meta.json")).unwrap()).unwrap();
    assert_eq!(meta["Endpoints"]["docker"]["Host"], "unix:///run/husk/docker.sock");
    assert_eq!(engine.run(&["context", "rm", "husk"]).code, 1, "it is in use");
    engine.ok(&["context", "rm", "-f", "husk"]);
    assert_eq!(engine.ok(&["context", "show"]), "default");
    for bad in [&["context", "use", "no"][..], &["context", "create", "x y", "--docker", host]] {
        assert_eq!(engine.run(bad).code, 1, "{bad:?}");
    }
}

/// A process in a pid namespace is seen by all others in it.
#[test]
fn entering_a_pid_namespace_takes_the_others() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--name", "tt", "--network", "none", "bb", "sleep", "1000"]);
    for (flags, missing) in [(&["-p"][..], "-m -n -i"), (&["-p", "-m"], "-n -i")] {
        let refused = engine.run(&[&["enter"], flags, &["tt", "true"]].concat());
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains(&format!("-p without {missing}:")), "{refused:?}");
        assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    }
    let entered = engine.run(&["enter", "-p", "-m", "-n", "-i", "tt", "sh", "-c", "echo $PPID"]);
    assert_eq!((entered.code, entered.out.as_str()), (0, "0\n"), "{entered:?}");
    engine.ok(&["rm", "-f", "tt"]);
}

/// The caller's files are not opened by what is entered, and its end is that of the command.
#[test]
fn entering_keeps_the_callers_files_outside() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--name", "tt", "--network", "none", "bb", "sleep", "1000"]);
    let log = engine.path("log");
    std::fs::write(&log, "earlier\n").unwrap();
    let append = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    let script = "echo taken >/proc/self/fd/1; readlink /proc/self/fd/0; cat; sleep 1000 & exit 3";
    let mut child = engine
        .command(&["enter", "tt", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(append)
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"typed\n").unwrap();
    let status = child.wait().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(text.starts_with("earlier\ntaken\npipe:["), "{text}");
    assert!(text.ends_with("]\ntyped\n"), "{text}");
    engine.ok(&["rm", "-f", "tt"]);
}

#[test]
fn the_image_host_shares_no_pid_namespace() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--name", "tt", "--network", "none", "bb", "sleep", "1000"]);
    let refused = engine.run(&["run", "--rm", "--pid", "container:tt", "host", "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.err.contains("/proc/PID/root"), "{refused:?}");
    // Of this machine's files the tools beside it have programs alone.
    std::fs::write("/etc/husk-tests-of-debug", "a secret").unwrap();
    let words = ["debug", "tt", "sh", "-c", "ls /etc /home /var; touch /usr/x"];
    let listed = engine.run(&words);
    std::fs::remove_file("/etc/husk-tests-of-debug").unwrap();
    assert!(listed.out.contains("passwd"), "{listed:?}");
    assert!(!listed.out.contains("husk-tests-of-debug"), "{listed:?}");
    assert!(listed.err.contains("Read-only file system"), "{listed:?}");
    engine.ok(&["rm", "-f", "tt"]);
    let left = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!left.contains(engine.path("run").to_str().unwrap()), "{left}");
}
