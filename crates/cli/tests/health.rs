//! Health checks: probes that the monitor runs, and what is done about their results.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::{Engine, engine, wait_for};

const RUN: [&str; 5] = ["run", "-d", "--network", "none", "--name"];
const QUICK: [&str; 2] = ["--health-interval", "100ms"];

/// Runs a container that its probe takes for well as long as there is `/well`.
fn run(engine: &Engine, name: &str, flags: &[&str]) {
    let script = "trap 'exit 0' TERM; echo > /well; while :; do sleep 0.05; done";
    engine.ok(&[&RUN[..], &[name], &QUICK, flags, &["bb", "sh", "-c", script]].concat());
}

const PROBE: [&str; 2] = ["--health-cmd", "echo out; test -e /well"];

fn health(engine: &Engine, name: &str) -> String {
    engine.inspect(name, "{{.State.Health.Status}}")
}

fn await_health(engine: &Engine, name: &str, wanted: &str) {
    wait_for(wanted, || health(engine, name) == wanted);
}

#[test]
fn a_container_is_healthy_unhealthy_and_healthy_again() {
    let engine = engine!(new);
    run(&engine, "one", &[&PROBE[..], &["--health-retries", "2"]].concat());
    await_health(&engine, "one", "healthy");
    let status = || engine.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(status().ends_with("(healthy)"), "{}", status());
    let filtered = |health: &str| {
        engine.ok(&["ps", "-q", "--filter", &format!("health={health}")]).lines().count()
    };
    assert_eq!((filtered("healthy"), filtered("unhealthy"), filtered("none")), (1, 0, 0));
    engine.ok(&["exec", "one", "busybox", "rm", "/well"]);
    await_health(&engine, "one", "unhealthy");
    assert!(status().ends_with("(unhealthy)"), "{}", status());
    wait_for("five results", || engine.inspect("one", "{{len .State.Health.Log}}") == "5");
    let log = engine.inspect("one", "{{json .State.Health.Log}}");
    assert!(log.contains("\"ExitCode\":1,\"Output\":\"out\\n\""), "{log}");
    let streak: u32 = engine.inspect("one", "{{.State.Health.FailingStreak}}").parse().unwrap();
    assert!(streak >= 2, "{streak}");
    engine.ok(&["exec", "one", "touch", "/well"]);
    await_health(&engine, "one", "healthy");
    assert_eq!(engine.inspect("one", "{{.State.Health.FailingStreak}}"), "0");
    let check = engine.inspect("one", "{{json .Config.Healthcheck}}");
    let expected =
        r#"{"Interval":100000000,"Retries":2,"Test":["CMD-SHELL","echo out; test -e /well"]}"#;
    assert_eq!(check, expected);
    // As Docker's: one that does not run is not healthy, and the next run begins anew.
    engine.ok(&["stop", "one"]);
    assert_eq!(health(&engine, "one"), "unhealthy");
    engine.ok(&["rm", "one"]);
    engine.assert_nothing_left();
}

#[test]
fn without_a_check_there_is_no_health() {
    let engine = engine!(new);
    engine.ok(&[&RUN[..], &["one", "bb", "sleep", "60"]].concat());
    assert_eq!(engine.inspect("one", "{{json .State.Health}}"), "null");
    assert!(!engine.ok(&["ps", "--format", "{{.Status}}"]).contains('('));
    assert_eq!(engine.ok(&["ps", "-q", "--filter", "health=none"]).lines().count(), 1);
}

#[test]
fn the_image_says_how_and_flags_say_otherwise() {
    let engine = engine!(new);
    let dockerfile = "FROM bb\nSHELL [\"/bin/sh\", \"-ec\"]\n\
                      HEALTHCHECK --interval=100ms --retries=7 CMD false; true\n";
    std::fs::write(engine.path("Dockerfile"), dockerfile).unwrap();
    let context = engine.path("").display().to_string();
    let build = engine.run(&[
        "build",
        "-q",
        "-t",
        "checked",
        "-f",
        &engine.path("Dockerfile").display().to_string(),
        &context,
    ]);
    assert_eq!((build.code, build.err.as_str()), (0, ""), "nothing to remark on: {build:?}");
    let image = |name: &str, flags: &[&str]| {
        engine.ok(&[&RUN[..], &[name], flags, &["checked", "sleep", "60"]].concat());
    };
    image("own", &[]);
    image("other", &["--health-cmd", "exit 0"]);
    image("none", &["--no-healthcheck"]);
    let check = |name: &str| engine.inspect(name, "{{json .Config.Healthcheck}}");
    assert_eq!(
        check("own"),
        r#"{"Interval":100000000,"Retries":7,"Test":["CMD-SHELL","false; true"]}"#
    );
    assert_eq!(
        check("other"),
        r#"{"Interval":100000000,"Retries":7,"Test":["CMD-SHELL","exit 0"]}"#
    );
    assert_eq!(check("none"), r#"{"Test":["NONE"]}"#);
    await_health(&engine, "other", "healthy");
    // By the image's shell, whose -e ends it at the first failure.
    wait_for("a result", || engine.inspect("own", "{{len .State.Health.Log}}") != "0");
    assert!(engine.inspect("own", "{{json .State.Health.Log}}").contains("\"ExitCode\":1"));
    assert_eq!(engine.inspect("none", "{{json .State.Health}}"), "null");
}

#[test]
fn a_probe_that_takes_too_long_is_killed_with_what_it_started() {
    let engine = engine!(new);
    let probe = "echo slow; sleep 611 & sleep 612";
    run(
        &engine,
        "one",
        &["--health-cmd", probe, "--health-timeout", "300ms", "--health-retries", "2"],
    );
    await_health(&engine, "one", "unhealthy");
    let log = engine.inspect("one", "{{json .State.Health.Log}}");
    let expected = r#""ExitCode":-1,"Output":"Health check exceeded timeout (300ms): slow\n""#;
    assert!(log.contains(expected), "{log}");
    engine.ok(&["update", "--no-healthcheck", "one"]);
    let processes = || engine.ok(&["top", "one", "-eo", "pid,args"]);
    wait_for("no more probes", || !processes().contains("sleep 61"));
    assert_eq!(engine.inspect("one", "{{json .State.Health}}"), "null");
    // Nothing of it is left beside the container either.
    let exec = engine.path("run/containers").join(engine.inspect("one", "{{.Id}}")).join("exec");
    wait_for("no files", || std::fs::read_dir(&exec).unwrap().count() == 0);
}

#[test]
fn output_is_kept_up_to_its_limit() {
    let engine = engine!(new);
    let probe = "yes=0123456789abcde; i=0; while [ $i -lt 300 ]; do echo $yes; i=$((i+1)); done";
    run(&engine, "one", &["--health-cmd", probe]);
    await_health(&engine, "one", "healthy");
    let length = engine.inspect("one", "{{len (index .State.Health.Log 0).Output}}");
    assert_eq!(length, "4099", "4,096 bytes and three dots");
}

#[test]
fn a_probe_that_cannot_be_run_fails() {
    let engine = engine!(new);
    std::fs::write(engine.path("Dockerfile"), "FROM bb\nHEALTHCHECK CMD [\"/nothing\"]\n").unwrap();
    let context = engine.path("").display().to_string();
    engine.ok(&[
        "build",
        "-q",
        "-t",
        "broken",
        "-f",
        &engine.path("Dockerfile").display().to_string(),
        &context,
    ]);
    engine
        .ok(&[&RUN[..], &["one", "--health-retries", "1"], &QUICK, &["broken", "sleep", "60"]]
            .concat());
    await_health(&engine, "one", "unhealthy");
    let log = engine.inspect("one", "{{json .State.Health.Log}}");
    assert!(log.contains("\"ExitCode\":-1") && log.contains("/nothing"), "{log}");
}

#[test]
fn failures_while_it_starts_do_not_count() {
    let engine = engine!(new);
    let flags = [
        "--health-cmd",
        "test -e /ready",
        "--health-retries",
        "1",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "100ms",
    ];
    run(&engine, "one", &flags);
    wait_for("failures", || engine.inspect("one", "{{len .State.Health.Log}}") == "5");
    assert_eq!(health(&engine, "one"), "starting");
    assert!(engine.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(health: starting)"));
    engine.ok(&["exec", "one", "touch", "/ready"]);
    await_health(&engine, "one", "healthy");
    engine.ok(&["exec", "one", "busybox", "rm", "/ready"]);
    await_health(&engine, "one", "unhealthy");
}

#[test]
fn a_frozen_container_is_not_probed() {
    let engine = engine!(new);
    run(&engine, "one", &PROBE);
    await_health(&engine, "one", "healthy");
    engine.ok(&["pause", "one"]);
    let last = || engine.inspect("one", "{{json .State.Health.Log}}");
    let before = last();
    std::thread::sleep(std::time::Duration::from_millis(500));
    // One may have been on its way when it was frozen.
    let after = last();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(last(), after, "{before}");
    assert_eq!(health(&engine, "one"), "healthy");
    engine.ok(&["unpause", "one"]);
    wait_for("the next result", || last() != after);
    await_health(&engine, "one", "healthy");
}

#[test]
fn what_is_done_about_an_unhealthy_container() {
    let engine = engine!(new);
    let sick = |name: &str, flags: &[&str]| {
        run(&engine, name, &[&PROBE[..], &["--health-retries", "1"], flags].concat());
        await_health(&engine, name, "healthy");
        engine.ok(&["exec", name, "busybox", "rm", "/well"]);
    };
    let status = |name: &str| {
        engine.inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")
    };
    sick("again", &["--health-on-failure", "restart"]);
    wait_for("a restart", || status("again") == "running 0 1");
    await_health(&engine, "again", "healthy");
    sick("labelled", &["--label", "husk.health.on-failure=restart"]);
    wait_for("a restart", || status("labelled") == "running 0 1");
    sick("stopped", &["--health-on-failure", "stop", "--restart", "always"]);
    wait_for("the end", || status("stopped") == "exited 0 0");
    sick("killed", &["--health-on-failure", "kill"]);
    wait_for("the end", || status("killed") == "exited 137 0");
    sick("revived", &["--health-on-failure", "kill", "--restart", "on-failure"]);
    wait_for("a restart", || status("revived") == "running 0 1");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let engine = engine!(new);
    let refused = |flags: &[&str], problem: &str| {
        let done = engine.run(&[&["create"], flags, &["bb"]].concat());
        assert!(done.err.contains(problem) && done.code != 0, "{flags:?}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
    };
    for flag in [
        "--health-interval",
        "--health-timeout",
        "--health-start-period",
        "--health-start-interval",
    ] {
        for value in ["5", "x", "1us", "999us", "-1s", "1000000h"] {
            refused(&["--health-cmd", "true", &format!("{flag}={value}")], flag);
        }
    }
    refused(&["--health-cmd", "true", "--health-retries=-1"], "--health-retries");
    refused(
        &["--health-cmd", "true", "--health-on-failure", "pray"],
        "must be none, restart, stop or kill",
    );
    refused(
        &["--health-cmd", "true", "--no-healthcheck"],
        "--no-healthcheck conflicts with --health-cmd",
    );
    refused(&["--health-interval", "5s"], "needs --health-cmd");
    engine.ok(&["create", "--health-cmd", "true", "--health-interval", "0s", "bb"]);
}

/// On request (HUSK_TEST_PROBES=100): what a probe a second in each container costs, beside as
/// many `husk exec`.
#[test]
fn probes_cost_less_than_exec() {
    let engine = engine!(new);
    let count: usize =
        std::env::var("HUSK_TEST_PROBES").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if count == 0 {
        return;
    }
    let clock = || {
        let usage = std::fs::read_to_string("/proc/stat").unwrap();
        let fields: Vec<u64> = usage
            .lines()
            .next()
            .unwrap()
            .split_ascii_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap())
            .collect();
        fields[0] + fields[1] + fields[2]
    };
    for number in 0..count {
        let name = format!("c{number}");
        engine.ok(&[
            &RUN[..],
            &[&name, "--health-cmd", "true", "--health-interval", "1s", "bb", "sleep", "600"],
        ]
        .concat());
    }
    let begin = clock();
    std::thread::sleep(std::time::Duration::from_secs(10));
    let probes = clock() - begin;
    for number in 0..count {
        engine.ok(&["update", "--no-healthcheck", &format!("c{number}")]);
    }
    let begin = clock();
    for _ in 0..10 {
        for number in 0..count {
            engine.ok(&["exec", &format!("c{number}"), "true"]);
        }
    }
    let execs = clock() - begin;
    println!("{count} containers, 10 probes each: {probes} ticks; as husk exec: {execs} ticks");
    assert!(probes < execs);
}
