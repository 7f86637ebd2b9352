//! `stats`, `update`, `system`, `prune` and the commands' groups, as root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use support::{Engine, engine};

fn start(engine: &Engine, name: &str, flags: &[&str], script: &str) {
    let head = ["run", "-d", "--network", "none", "--name", name];
    engine.ok(&[&head[..], flags, &["bb", "sh", "-c", script]].concat());
}

/// A command that fails before there is an image store leaves a root that can be used.
#[test]
fn a_first_command_that_fails_spoils_nothing() {
    let engine = engine!(new);
    std::fs::write(engine.path("no.tar"), "no archive").unwrap();
    let husk = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_husk"));
        command.arg("--root").arg(engine.path("other/root"));
        command.arg("--runroot").arg(engine.path("other/run")).args(words).output().unwrap()
    };
    let archive = engine.path("no.tar").display().to_string();
    assert!(!husk(&["container", "restore", "--import", &archive]).status.success());
    let imported = husk(&["import", &engine.path("bb.tar").display().to_string(), "bb"]);
    assert!(imported.status.success(), "{imported:?}");
}

#[test]
fn stats_tell_what_is_used() {
    let engine = engine!(new);
    start(&engine, "busy", &["--memory", "64m"], "while :; do :; done");
    start(&engine, "idle", &[], "sleep 600");
    engine.ok(&["create", "--name", "never", "bb"]);
    let template = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}";
    let all = engine.ok(&["stats", "--no-stream", "--format", template]);
    let of = |name: &str| {
        let line = all.lines().find(|line| line.starts_with(name)).expect(name);
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let share = |name: &str| of(name)[1].trim_end_matches('%').parse::<f64>().unwrap();
    assert!(share("busy") > 10.0 && share("idle") < share("busy"), "{all}");
    assert!(all.contains("/ 64.00MiB") && of("busy")[5] == "1", "{all}");
    assert!(!all.contains("never"));
    let with = engine.ok(&["stats", "-a", "--no-stream"]);
    assert!(with.starts_with("CONTAINER ID") && with.contains("MEM USAGE / LIMIT"), "{with}");
    assert!(with.lines().any(|line| line.contains("never") && line.contains("-- / --")), "{with}");
    let json = engine.ok(&["stats", "--no-stream", "--format", "json", "busy"]);
    assert!(json.starts_with('{') && json.contains("\"Name\":\"busy\""), "{json}");
    // Again every second, until the reader goes.
    let mut live = engine.command(&["container", "stats", "--format", "{{.Name}}", "busy"]);
    let mut live = live.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(live.stdout.take().unwrap()).lines();
    let seen: Vec<String> = lines.take(3).map(Result::unwrap).collect();
    live.kill().unwrap();
    live.wait().unwrap();
    assert_eq!(seen, ["busy", "busy", "busy"]);
    let absent = engine.run(&["stats", "--no-stream", "nobody"]);
    assert!(absent.code == 1 && absent.err.contains("no such container: nobody"), "{absent:?}");
    assert_eq!(engine.run(&["stats", "--no-stram"]).code, 125);
    engine.ok(&["rm", "-f", "busy", "idle", "never"]);
    engine.assert_nothing_left();
}

#[test]
fn limits_change_while_it_runs_and_stay() {
    let engine = engine!(new);
    start(&engine, "limited", &["--memory", "64m", "--pids-limit", "50"], "sleep 600");
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} \
                  {{.HostConfig.CpuQuota}}";
    let reported = |engine: &Engine| {
        let format = "{{.MemUsage}}";
        engine.ok(&["stats", "--no-stream", "--format", format, "limited"])
    };
    assert_eq!(engine.ok(&["update", "-m", "96m", "--cpus", "0.5", "limited"]), "limited");
    assert_eq!(engine.inspect("limited", limits), "100663296 50 500000000 0");
    assert!(reported(&engine).ends_with("/ 96.00MiB"), "{}", reported(&engine));
    engine.ok(&["container", "update", "--pids-limit", "20", "limited"]);
    assert_eq!(engine.inspect("limited", limits), "100663296 20 500000000 0");
    engine.ok(&["restart", "-t", "0", "limited"]);
    assert!(reported(&engine).ends_with("/ 96.00MiB"), "after a restart: {}", reported(&engine));
    engine.ok(&["kill", "limited"]);
    engine.ok(&["wait", "limited"]);
    engine.ok(&["update", "--memory", "80m", "limited"]);
    engine.ok(&["start", "limited"]);
    assert!(reported(&engine).ends_with("/ 80.00MiB"), "changed while it did not run");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["update", "limited"], 1, "nothing to update"),
        (&["update", "-m", "64m", "nobody"], 1, "no such container: nobody"),
        (&["update", "-m", "1m", "limited"], 1, "must be at least 6m"),
        (&["update", "--cpus", "8193", "limited"], 1, "range of CPUs is from 0.01 to "),
        (&["update", "-m", "lots", "limited"], 1, "must be a size"),
        (&["update", "--cpuset-cpus", "4095", "limited"], 1, "cpuset"),
        (&["update", "--memroy", "64m", "limited"], 125, "--memory"),
    ];
    for (arguments, code, expected) in cases {
        let done = engine.run(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        assert!(done.err.contains(expected), "{arguments:?}: {done:?}");
        assert_eq!(engine.inspect("limited", limits), "83886080 20 500000000 0", "{arguments:?}");
    }
    engine.ok(&["update", "--cpu-quota", "70000", "limited"]);
    assert_eq!(engine.inspect("limited", limits), "83886080 20 0 70000");
    assert_eq!(engine.inspect("limited", "{{.HostConfig.CpuPeriod}}"), "100000");
    engine.ok(&["rm", "-f", "limited"]);
    engine.assert_nothing_left();
}

#[test]
fn prune_takes_what_is_not_used_and_nothing_else() {
    let engine = engine!(new);
    start(&engine, "kept", &["-v", "used:/v"], "sleep 600");
    engine.ok(&["create", "--name", "gone", "-v", "/anonymous", "bb"]);
    engine.ok(&["volume", "create", "named"]);
    engine.ok(&["volume", "create"]);
    let context = engine.path("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = "FROM bb\nRUN busybox dd if=/dev/urandom of=/big bs=1M count=3\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    engine.ok(&[
        "image",
        "build",
        "-q",
        "--network",
        "none",
        "-t",
        "big",
        context.to_str().unwrap(),
    ]);
    let of = |kind: &str, field: &str| {
        let all =
            engine.ok(&["system", "df", "--format", &format!("{{{{.Type}}}}|{{{{.{field}}}}}")]);
        let line = all.lines().find_map(|line| line.strip_prefix(&format!("{kind}|")));
        line.unwrap_or_else(|| panic!("{kind} in {all}")).to_owned()
    };
    assert_eq!((of("Images", "TotalCount"), of("Images", "Active")), ("2".into(), "1".into()));
    assert_eq!(
        (of("Containers", "TotalCount"), of("Containers", "Active")),
        ("2".into(), "1".into())
    );
    assert_eq!(
        (of("Local Volumes", "TotalCount"), of("Local Volumes", "Active")),
        ("4".into(), "2".into())
    );
    assert!(engine.ok(&["system", "df"]).starts_with("TYPE"));
    assert_eq!(of("Build Cache", "TotalCount"), "1");

    // No answer is no.
    let asked = engine.run(&["system", "prune", "-a", "--volumes"]);
    assert!(asked.code == 0 && asked.err.contains("[y/N]") && asked.out.is_empty(), "{asked:?}");
    assert_eq!(engine.ok(&["ps", "-aq"]).lines().count(), 2);
    let mut yes = engine.command(&["container", "prune"]);
    let mut yes =
        yes.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    yes.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let said = String::from_utf8(yes.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        said.contains("Deleted Containers:\n") && said.contains("Total reclaimed space"),
        "{said}"
    );
    assert_eq!(engine.ok(&["ps", "-a", "--format", "{{.Names}}"]), "kept");

    engine.ok(&["volume", "prune", "-f"]);
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "named\nused", "anonymous ones only");
    engine.ok(&["volume", "prune", "-f", "-a"]);
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "used");

    assert_eq!(engine.ok(&["image", "prune", "-f"]), "Total reclaimed space: 0B");
    engine.ok(&["image", "prune", "-f", "-a"]);
    assert_eq!(engine.ok(&["image", "ls", "--format", "{{.Repository}}"]), "bb");
    // Written within the last day, all of it.
    let kept = engine.ok(&["builder", "prune", "-f", "--filter", "until=24h"]);
    assert!(kept.ends_with(" 0B"), "{kept}");
    let refused = engine.run(&["builder", "prune", "-f", "--filter", "type=regular"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("must be one of until"), "{refused:?}");
    let freed = engine.ok(&["builder", "prune", "-f", "--filter", "until=1ms"]);
    assert!(freed.contains("MB"), "the layer of 3 MB: {freed}");
    assert_eq!(of("Build Cache", "TotalCount"), "0");
    let layers = std::fs::read_dir(engine.path("root/layers")).unwrap().count();
    assert_eq!(layers, 1, "what bb has");
    assert_eq!(engine.ok(&["exec", "kept", "cat", "/data/file"]), "image");
    engine.ok(&["rm", "-f", "kept"]);
    let all = engine.ok(&["system", "prune", "-f", "-a", "--volumes"]);
    assert!(all.contains("untagged: bb:latest"), "{all}");
    assert_eq!(std::fs::read_dir(engine.path("root/layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(engine.path("root/blobs/sha256")).unwrap().count(), 0);
    engine.ok(&["volume", "rm", "used"]);
    engine.assert_nothing_left();
}

#[test]
fn the_groups_are_the_same_commands() {
    let engine = engine!(new);
    let done =
        engine.run(&["container", "run", "--rm", "--network", "none", "bb", "sh", "-c", "exit 9"]);
    assert_eq!(done.code, 9, "{done:?}");
    engine.ok(&["container", "create", "--name", "one", "bb"]);
    assert_eq!(engine.ok(&["container", "ls", "-a", "--format", "{{.Names}}"]), "one");
    assert_eq!(engine.ok(&["container", "inspect", "-f", "{{.Name}}", "one"]), "/one");
    let image = engine.run(&["image", "inspect", "one"]);
    assert!(image.code == 1 && image.err.contains("one"), "{image:?}");
    assert!(engine.ok(&["image", "inspect", "-f", "{{.RepoTags}}", "bb"]).contains("bb:latest"));
    engine.ok(&["container", "rm", "one"]);
    assert_eq!(engine.run(&["container", "run", "--no-such"]).code, 125);
    let typo = engine.run(&["container", "inspct", "x"]);
    assert!(typo.code == 1 && typo.err.contains("did you mean inspect?"), "{typo:?}");
    assert_eq!(typo.err.lines().count(), 1, "{typo:?}");
    let bare = engine.run(&["image"]);
    assert!(bare.code == 0 && bare.err.contains("Usage: husk image"), "{bare:?}");
    assert_eq!(engine.ok(&["info", "--format", "{{.Images}} {{.Containers}}"]), "1 0");
    assert!(engine.ok(&["system", "info"]).contains("Kernel Version: "));
    assert!(engine.ok(&["version"]).starts_with("husk "));
    engine.assert_nothing_left();
}

#[test]
fn inspect_knows_volumes_and_networks() {
    let engine = engine!(with_network);
    engine.ok(&["volume", "create", "--label", "a=b", "data"]);
    engine.ok(&["network", "create", "app"]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{.Name}} {{.Labels.a}}", "data"]), "data b");
    assert_eq!(engine.ok(&["inspect", "-f", "{{.Driver}}", "app"]), "bridge");
    for (kind, name) in [("volume", "data"), ("network", "app"), ("network", "bridge")] {
        let format = ["inspect", "--type", kind, "-f", "{{.Name}}", name];
        assert_eq!(engine.ok(&format), name);
    }
    for (arguments, expected) in [
        (&["inspect", "nothing"][..], "no such object: nothing"),
        (&["inspect", "--type", "volume", "app"], "no such volume: app"),
        (&["inspect", "--type", "network", "data"], "data"),
        (
            &["inspect", "--type", "task", "data"],
            "must be one of container, image, network, volume",
        ),
        (&["volume", "create", "../x"], "volume name \"../x\": must begin"),
    ] {
        let done = engine.run(arguments);
        assert!(done.code == 1 && done.err.contains(expected), "{arguments:?}: {done:?}");
    }
}

/// Two that prune, and one that removes, at the same time.
#[test]
fn prunes_and_removals_beside_each_other_succeed() {
    let engine = engine!(new);
    for round in 0..4 {
        for number in 0..6 {
            let name = format!("image{round}-{number}:1");
            let change = format!("ENV NUMBER={round}-{number}");
            let tar = engine.path("bb.tar").display().to_string();
            engine.ok(&["import", "-c", &change, &tar, &name]);
        }
        let prune = ["system", "prune", "-a", "-f", "--volumes"];
        let spawn = |arguments: &[&str]| {
            let mut command = engine.command(arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut children: Vec<_> = (0..3).map(|_| spawn(&prune)).collect();
        for number in 0..6 {
            // It may be gone by then.
            engine.run(&["rmi", &format!("image{round}-{number}:1")]);
        }
        for child in children.drain(..) {
            let done = support::Done::from(child.wait_with_output().unwrap());
            assert!(done.code == 0 && !done.err.contains("no such image"), "{done:?}");
        }
        assert_eq!(engine.ok(&["images", "-q"]), "");
        engine.import();
    }
}

/// Programs of the host are not looked for in relative directories of PATH.
#[test]
fn top_runs_no_ps_of_the_working_directory() {
    let engine = engine!(new);
    let directory = engine.path("evil");
    std::fs::create_dir(&directory).unwrap();
    let evil = directory.join("ps");
    std::fs::write(&evil, "#!/bin/sh\ntouch \"$0.ran\"\n").unwrap();
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    engine.ok(&["run", "-d", "--network", "none", "--name", "box", "bb", "sleep", "600"]);
    let mut command = engine.command(&["top", "box"]);
    let path = format!(".::{}", std::env::var("PATH").unwrap());
    let done = command.current_dir(&directory).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(!directory.join("ps.ran").exists());
}
