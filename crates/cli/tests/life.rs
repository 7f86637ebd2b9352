//! Restart policies: what the monitor does when its container's program has ended.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::time::{Duration, Instant};

use support::{Engine, engine, wait_for};

const RUN: [&str; 5] = ["run", "-d", "--network", "none", "--name"];

fn run(engine: &Engine, name: &str, flags: &[&str], script: &str) {
    engine.ok(&[&RUN[..], &[name], flags, &["bb", "sh", "-c", script]].concat());
}

fn status(engine: &Engine, name: &str) -> String {
    engine.inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")
}

fn await_status(engine: &Engine, name: &str, wanted: &str) {
    wait_for(wanted, || status(engine, name) == wanted);
}

#[test]
fn always_runs_again_also_after_success() {
    let engine = engine!(new);
    run(&engine, "one", &["--restart", "always"], "echo run");
    wait_for("three runs", || engine.ok(&["logs", "one"]).lines().count() == 3);
    engine.ok(&["rm", "-f", "one"]);
    engine.assert_nothing_left();
}

#[test]
fn on_failure_gives_up_at_its_count_and_after_success() {
    let engine = engine!(new);
    run(&engine, "bad", &["--restart", "on-failure:2"], "exit 3");
    run(&engine, "good", &["--restart", "on-failure"], "exit 0");
    run(&engine, "better", &["--restart=on-failure"], "test -e /once || { echo > /once; exit 4; }");
    await_status(&engine, "bad", "exited 3 2");
    await_status(&engine, "good", "exited 0 0");
    await_status(&engine, "better", "exited 0 1");
    // A start by hand begins anew.
    engine.ok(&["start", "bad"]);
    await_status(&engine, "bad", "exited 3 2");
}

#[test]
fn a_container_between_two_runs_is_restarting() {
    let engine = engine!(new);
    run(&engine, "one", &["--restart", "always", "--stop-timeout", "30"], "exit 3");
    // By now it waits 800 ms and more.
    wait_for("some restarts", || {
        status(&engine, "one").split(' ').next_back().unwrap().parse::<u32>().unwrap() >= 4
    });
    wait_for("the wait", || status(&engine, "one").starts_with("restarting"));
    let state = engine.inspect("one", "{{.State.Running}} {{.State.Restarting}} {{.State.Pid}}");
    assert_eq!(state, "true true 0");
    let rows = engine.ok(&["ps", "--format", "{{.Status}}|{{.State}}"]);
    assert!(rows.starts_with("Restarting (3) ") && rows.ends_with(" ago|restarting"), "{rows}");
    assert_eq!(engine.ok(&["ps", "-q", "--filter", "status=restarting"]).lines().count(), 1);
    assert_eq!(engine.ok(&["ps", "-q", "--filter", "status=running"]), "");
    for command in [&["exec", "one", "true"][..], &["attach", "one"], &["pause", "one"]] {
        let refused = engine.run(command);
        assert!(refused.err.contains("restarting: wait until it is running"), "{refused:?}");
        assert_eq!(refused.code, 1);
    }
    let refused = engine.run(&["rm", "one"]);
    assert!(refused.err.contains("is restarting: stop it first"), "{refused:?}");
    // One that runs already is left running.
    engine.ok(&["start", "one"]);
    // It is another's by name when it runs again.
    engine.ok(&["rename", "one", "other"]);
    let stop = Instant::now();
    engine.ok(&["stop", "other"]);
    assert!(stop.elapsed() < Duration::from_secs(5), "there is nothing to wait for");
    assert!(status(&engine, "other").starts_with("exited 3 "));
    std::thread::sleep(Duration::from_secs(2));
    assert!(status(&engine, "other").starts_with("exited 3 "), "stopped is stopped");
    engine.ok(&["rm", "other"]);
    engine.assert_nothing_left();
}

#[test]
fn what_is_asked_while_it_waits_is_done_at_once() {
    let engine = engine!(new);
    let waits = |name: &str| {
        run(&engine, name, &["--restart", "always"], "exit 3");
        wait_for("a long wait", || {
            status(&engine, name).starts_with("restarting 3 ")
                && !status(&engine, name).ends_with([' ', '1', '2', '3'])
        });
    };
    waits("killed");
    let refused = engine.run(&["kill", "-s", "HUP", "killed"]);
    assert!(refused.err.contains("is restarting"), "{refused:?}");
    engine.ok(&["kill", "killed"]);
    assert!(status(&engine, "killed").starts_with("exited 3 "));
    waits("removed");
    engine.ok(&["rm", "-f", "removed"]);
    waits("again");
    engine.ok(&["restart", "again"]);
    // By hand, so it is counted anew.
    wait_for("few", || status(&engine, "again").ends_with(['0', '1', '2']));
    engine.ok(&["rm", "-f", "again"]);
    waits("updated");
    engine.ok(&["update", "--restart", "no", "updated"]);
    await_status_begins(&engine, "updated", "exited 3 ");
    waits("awaited");
    assert_eq!(engine.ok(&["wait", "awaited"]), "3");
    engine.ok(&["rm", "-f", "killed", "updated", "awaited"]);
    engine.assert_nothing_left();
}

fn await_status_begins(engine: &Engine, name: &str, wanted: &str) {
    wait_for(wanted, || status(engine, name).starts_with(wanted));
}

#[test]
fn who_ends_it_by_hand_has_it_stay_down() {
    let engine = engine!(new);
    // Not pid 1 itself, which KILL and TERM from inside do not reach.
    let script = "trap 'exit 7' TERM; trap 'echo again' HUP; while :; do sleep 0.05; done";
    for (name, policy) in [("one", "always"), ("two", "unless-stopped"), ("three", "on-failure")] {
        run(&engine, name, &["--restart", policy], script);
        engine.ok(&["stop", name]);
        assert_eq!(status(&engine, name), "exited 7 0", "{name}");
        engine.ok(&["start", name]);
        engine.ok(&["kill", name]);
        assert_eq!(status(&engine, name), "exited 137 0", "{name}");
    }
    run(&engine, "term", &["--restart", "always"], script);
    wait_for("the trap", || {
        engine.ok(&["kill", "-s", "HUP", "term"]);
        engine.ok(&["logs", "term"]).contains("again")
    });
    // The signal that it survived was not its end.
    engine.ok(&["exec", "term", "kill", "-9", "-1"]);
    engine.ok(&["exec", "term", "kill", "-TERM", "1"]);
    wait_for("the next run", || status(&engine, "term") == "running 0 1");
    engine.ok(&["kill", "-s", "TERM", "term"]);
    await_status(&engine, "term", "exited 7 1");
    engine.ok(&["rm", "-f", "one", "two", "three", "term"]);
    engine.assert_nothing_left();
}

#[test]
fn a_policy_given_later_counts_from_the_next_end() {
    let engine = engine!(new);
    let script = "trap 'exit 5' TERM; while :; do sleep 0.05; done";
    run(&engine, "one", &[], script);
    engine.ok(&["update", "--restart", "on-failure:1", "one"]);
    assert_eq!(
        engine.inspect("one", "{{json .HostConfig.RestartPolicy}}"),
        "{\"MaximumRetryCount\":1,\"Name\":\"on-failure\"}"
    );
    wait_for("a run", || engine.run(&["exec", "one", "kill", "-TERM", "1"]).code == 0);
    await_status(&engine, "one", "running 0 1");
    wait_for("a run", || engine.run(&["exec", "one", "kill", "-TERM", "1"]).code == 0);
    await_status(&engine, "one", "exited 5 1");
}

#[test]
fn a_run_that_cannot_begin_ends_the_restarts() {
    let engine = engine!(new);
    let first = engine.run(&[
        "run",
        "--name",
        "none",
        "--restart",
        "always",
        "--network",
        "none",
        "bb",
        "/nothing",
    ]);
    assert_eq!(first.code, 127, "the first is the caller's: {first:?}");
    assert_eq!(engine.inspect("none", "{{.RestartCount}} {{.State.Restarting}}"), "0 false");
    run(&engine, "lost", &["--restart", "always"], "rm -r /bin; exit 1");
    wait_for("the end", || {
        status(&engine, "lost") == "exited 127 1" || status(&engine, "lost") == "exited 126 1"
    });
    assert!(engine.inspect("lost", "{{.State.Error}}").contains("sh"));
}

#[test]
fn attached_it_ends_with_the_first_run() {
    let engine = engine!(new);
    let run = engine.run(&[
        "run",
        "--name",
        "one",
        "--restart",
        "always",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "echo hi; exit 4",
    ]);
    assert_eq!((run.code, run.out.as_str()), (4, "hi\n"));
    wait_for("the next", || engine.ok(&["logs", "one"]).lines().count() >= 2);
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let engine = engine!(new);
    for (policy, problem) in [
        ("foo", "must be no, on-failure[:COUNT], always or unless-stopped"),
        (":3", "must be no"),
        ("always:3", "is for on-failure only"),
        ("on-failure:x", "must be 0 or more"),
        ("on-failure:-1", "must be 0 or more"),
    ] {
        let refused = engine.run(&["create", "--restart", policy, "bb"]);
        assert!(refused.err.contains(problem) && refused.err.contains("--restart"), "{refused:?}");
        assert_eq!(engine.run(&["run", "--restart", policy, "bb"]).code, 125);
    }
    let refused = engine.run(&["run", "--rm", "--restart", "always", "bb"]);
    assert!(refused.err.contains("--restart always and --rm cannot be combined"), "{refused:?}");
    assert_eq!(refused.code, 125);
    engine.ok(&["create", "--rm", "--restart", "no", "--name", "one", "bb"]);
    let refused = engine.run(&["update", "--restart", "always", "one"]);
    assert!(refused.err.contains("--rm") && refused.code == 1, "{refused:?}");
}

/// How many containers restart how often: more on request.
fn load() -> (usize, u32) {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (asked("HUSK_TEST_CONTAINERS").unwrap_or(4) as usize, asked("HUSK_TEST_RESTARTS").unwrap_or(5))
}

#[test]
fn many_restart_at_once_and_none_is_lost() {
    let engine = engine!(with_network);
    let (containers, restarts) = load();
    let names: Vec<String> = (0..containers).map(|number| format!("c{number}")).collect();
    for name in &names {
        engine.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            "always",
            "bb",
            "sh",
            "-c",
            "trap 'exit 1' TERM; echo run; while :; do sleep 0.02; done",
        ]);
    }
    // By hand from inside, whose end counts as the program's own. A restart resets the wait
    // only after ten seconds, so that the later ones would wait a minute: by hand from outside.
    for round in 0..restarts {
        let outside = round >= 3;
        for name in &names {
            if outside {
                engine.ok(&["restart", "-t", "5", name]);
            } else {
                wait_for("it runs", || engine.run(&["exec", name, "kill", "-TERM", "1"]).code == 0);
            }
        }
        let runs = round as usize + 2;
        for name in &names {
            wait_for("each run", || engine.ok(&["logs", name]).lines().count() == runs);
        }
    }
    for name in &names {
        let counted = if restarts > 3 { 0 } else { restarts };
        assert_eq!(status(&engine, name), format!("running 0 {counted}"));
        assert_eq!(engine.ok(&["logs", name]).lines().count(), restarts as usize + 1);
    }
    engine.ok(&[&["rm", "-f"][..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    engine.assert_nothing_left();
}

/// As a reboot leaves it: no process, nothing mounted, no run directory.
fn reboot(engine: &Engine) {
    let ids = engine.ok(&["ps", "-q", "--no-trunc"]);
    for id in ids.lines() {
        let pids = engine.inspect(id, "{{.State.MonitorPid}} {{.State.Pid}}");
        for pid in pids.split(' ').filter(|pid| *pid != "0") {
            let gone = std::path::Path::new("/proc").join(pid);
            engine.beside(&format!("kill -9 {pid}"));
            wait_for("its end", || {
                let stat = std::fs::read_to_string(gone.join("stat")).unwrap_or_default();
                stat.is_empty() || stat.contains(") Z ")
            });
        }
        engine
            .beside(&format!("umount -l {}/containers/{id}/rootfs", engine.path("run").display()));
        engine.beside(&format!(
            "find /sys/fs/cgroup -depth -type d -name '*{id}*' -exec rmdir {{}} +"
        ));
    }
    std::fs::remove_dir_all(engine.path("run")).unwrap();
}

#[test]
fn a_reboot_brings_back_what_each_policy_says() {
    let engine = engine!(new);
    let sleep = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    for policy in ["no", "always", "unless-stopped", "on-failure"] {
        run(&engine, policy, &["--restart", policy], sleep);
        let stopped = format!("{policy}-stopped");
        run(&engine, &stopped, &["--restart", policy], sleep);
        engine.ok(&["stop", &stopped]);
    }
    run(&engine, "spent", &["--restart", "on-failure:1"], "exit 3");
    await_status(&engine, "spent", "exited 3 1");
    run(&engine, "removed", &["--rm"], sleep);
    engine.ok(&["create", "--name", "created", "--restart", "always", "--network", "none", "bb"]);
    reboot(&engine);
    assert_eq!(engine.ok(&["ps", "-q"]), "");
    let booted = engine.run(&["system", "boot"]);
    assert_eq!(booted.code, 0, "{booted:?}");
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    // Docker's daemon starts "always" also where it was stopped by hand.
    let expected = ["always", "always-stopped", "on-failure", "unless-stopped"];
    assert_eq!(sorted(&booted.out), expected);
    assert_eq!(sorted(&engine.ok(&["ps", "--format", "{{.Names}}"])), expected);
    assert!(!engine.ok(&["ps", "-a", "--format", "{{.Names}}"]).contains("removed"));
    // Again, it changes nothing.
    let again = engine.run(&["system", "boot"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""), "{again:?}");
    assert_eq!(status(&engine, "always"), "running 0 0");
}

#[test]
fn a_reboot_starts_what_others_need_first() {
    let engine = engine!(new);
    let compose = |name: &str, needs: &str| {
        let labels = [
            "com.docker.compose.project=p".to_owned(),
            format!("com.docker.compose.service={name}"),
            format!("com.docker.compose.depends_on={needs}"),
        ];
        let mut words =
            vec!["run", "-d", "--network", "none", "--name", name, "--restart", "always"];
        labels.iter().for_each(|label| words.extend(["--label", label]));
        let check = [
            "--health-cmd",
            "test -e /ready",
            "--health-interval",
            "100ms",
            "--health-retries",
            "100",
        ];
        if name == "db" {
            words.extend(check);
        }
        words.extend(["bb", "sh", "-c", "busybox rm -f /ready; sleep 1; touch /ready; sleep 600"]);
        engine.ok(&words);
    };
    compose("web", "app:service_started:true");
    compose("app", "db:service_healthy:false,web:service_started:false");
    compose("db", "");
    let joined = ["--network", "container:db", "--restart", "always", "bb", "sleep", "600"];
    engine.ok(&[&["run", "-d", "--name", "beside"][..], &joined].concat());
    reboot(&engine);
    let booted = engine.run(&["system", "boot"]);
    assert_eq!((booted.code, booted.out.lines().count()), (0, 4), "{booted:?}");
    // The two that wait for each other do not, and it is told.
    assert!(booted.err.contains("does not wait for"), "{booted:?}");
    let started = |name: &str| engine.inspect(name, "{{.State.StartedAt}}");
    assert!(started("db") < started("beside"), "{booted:?}");
    let (db, app) = (started("db"), started("app"));
    assert!(db < app, "{db} {app}");
    let healthy = engine.ok(&[
        "events",
        "--since",
        "1m",
        "--until",
        "0s",
        "--filter",
        "container=db",
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    ]);
    assert!(healthy.ends_with("health_status: healthy"), "{healthy}");
}

#[test]
fn the_unit_for_systemd() {
    let engine = engine!(new);
    let unit = engine.ok(&["system", "install", "--print"]);
    let root = engine.path("root").display().to_string();
    let run = engine.path("run").display().to_string();
    let line = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(line.ends_with(&format!(" --root {root} --runroot {run} system boot")), "{line}");
    assert!(line.starts_with("ExecStart=/"), "{line}");
    for wanted in ["Type=oneshot", "KillMode=process", "WantedBy=multi-user.target"] {
        assert!(unit.lines().any(|line| line == wanted), "{unit}");
    }
    let directory = engine.path("units").display().to_string();
    let installed = engine.ok(&["system", "install", "--directory", &directory]);
    assert_eq!(std::fs::read_to_string(&installed).unwrap().trim(), unit);
    let verify = engine.beside(&format!("command -v systemd-analyze >/dev/null || exit 0; systemd-analyze verify --man=no {installed}"));
    assert_eq!(verify.code, 0, "{verify:?}");
    let refused = engine.run(&["system", "install", "--user"]);
    assert!(refused.code != 0 && refused.err.contains("--user"), "{refused:?}");
}

#[test]
fn what_can_be_waited_for() {
    let engine = engine!(new);
    let waiting = |condition: &str, name: &str| {
        let mut command = engine.command(&["wait", "--condition", condition, name]);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let told = |child: std::process::Child| {
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    engine.ok(&["create", "--network", "none", "--name", "one", "bb", "sh", "-c", "exit 6"]);
    assert_eq!(engine.ok(&["wait", "one"]), "0", "it does not run");
    let (next, removed) = (waiting("next-exit", "one"), waiting("removed", "one"));
    std::thread::sleep(Duration::from_millis(200));
    engine.ok(&["start", "one"]);
    assert_eq!(told(next), "6");
    engine.ok(&["rm", "one"]);
    assert_eq!(told(removed), "6");
    run(&engine, "gone", &["--rm"], "sleep 0.3; exit 7");
    assert_eq!(told(waiting("removed", "gone")), "7");
    run(&engine, "orphan", &[], "sleep 1; exit 8");
    let pid = engine.inspect("orphan", "{{.State.MonitorPid}}");
    engine.beside(&format!("kill -9 {pid}"));
    assert_eq!(told(waiting("not-running", "orphan")), "255", "nobody saw it");
    let refused = engine.run(&["wait", "--condition", "done", "orphan"]);
    assert!(refused.err.contains("must be not-running, next-exit or removed"), "{refused:?}");
}
