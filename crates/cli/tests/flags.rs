//! Flags of `run` whose effect is seen inside the container or in its spec; and those that
//! are refused, with their reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use husk_image::archive::{ImportOptions, import};
use husk_image::config::RunConfig;
use husk_image::progress::Silent;
use husk_image::registry::PullOptions;
use support::{Done, Engine, engine, obstacle, wait_for};

fn run(engine: &Engine, rest: &[&str]) -> Done {
    engine.run(&[&["run", "--rm", "--network", "none"], rest].concat())
}

/// The runtime-spec document of a container that runs.
fn spec(engine: &Engine, flags: &[&str]) -> serde_json::Value {
    let id =
        engine.ok(&[&["run", "-d", "--network", "none"], flags, &["bb", "sleep", "600"]].concat());
    let path = engine.path("run/containers").join(&id).join("config.json");
    let spec = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    engine.ok(&["rm", "-f", &id]);
    spec
}

#[test]
fn init_reaps_passes_signals_on_and_tells_the_status() {
    let engine = engine!(new);
    let orphans = "(sh -c 'sleep 0.1 & exec true') ; sleep 0.5; \
                   grep -l 'State:.Z' /proc/[0-9]*/status; cat /proc/1/comm; echo $$; exit 7";
    let done = run(&engine, &["--init", "bb", "sh", "-c", orphans]);
    assert_eq!((done.code, done.out.as_str()), (7, "init\n2\n"), "{done:?}");
    assert_eq!(run(&engine, &["--init", "bb", "sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(run(&engine, &["--init", "bb", "nowhere"]).code, 127);
    assert_eq!(run(&engine, &["--init", "bb", "/data/file"]).code, 126);
    let terminal = run(&engine, &["--init", "-t", "bb", "sh", "-c", "tty; ps 2>/dev/null; exit 3"]);
    assert_eq!(terminal.code, 3, "{terminal:?}");
    // sleep has no handler: as pid 1 it would take no notice of TERM.
    engine.ok(&[
        "run",
        "-d",
        "--init",
        "--network",
        "none",
        "--name",
        "reaper",
        "bb",
        "sleep",
        "600",
    ]);
    engine.ok(&["kill", "-s", "TERM", "reaper"]);
    assert_eq!(engine.ok(&["wait", "reaper"]), "143");
    let unchanged = engine.path("root/containers").join(engine.inspect("reaper", "{{.Id}}"));
    assert!(!unchanged.join("upper/dev/init").exists(), "the image's /dev stays as it is");
    engine.ok(&["rm", "reaper"]);
    engine.assert_nothing_left();
}

#[test]
fn the_init_cannot_be_written_to() {
    let engine = engine!(new);
    let script =
        "echo x > /dev/init; echo x > /proc/1/exe; mount -o remount,rw /dev/init; echo end";
    let done = run(&engine, &["--init", "bb", "sh", "-c", script]);
    assert_eq!(done.out, "end\n", "{done:?}");
    assert!(done.err.matches("Read-only file system").count() >= 2, "{done:?}");
}

#[test]
fn limits_reach_the_spec() {
    let engine = engine!(new);
    let spec = spec(
        &engine,
        &[
            "--memory",
            "64m",
            "--memory-swappiness",
            "10",
            "--oom-kill-disable",
            "--annotation",
            "org.example.key=value",
            "--device-cgroup-rule",
            "c 10:200 rw",
            "--device-cgroup-rule",
            "b *:* m",
        ],
    );
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"]["swappiness"], 10);
    assert_eq!(resources["memory"]["disableOOMKiller"], true);
    assert_eq!(spec["annotations"]["org.example.key"], "value");
    let rules = resources["devices"].as_array().unwrap();
    let rule = &rules[rules.len() - 2];
    assert_eq!((&rule["major"], &rule["minor"]), (&10.into(), &200.into()));
    assert_eq!(rule["access"], "rw");
    assert!(rules[rules.len() - 1].get("major").is_none());
}

#[test]
fn block_devices_are_limited() {
    let engine = engine!(new);
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    let mut devices = devices.map(|entry| entry.file_name().into_string().unwrap());
    let Some(name) = devices.find(|name| std::path::Path::new("/dev").join(name).exists()) else {
        support::skip("no block device");
        return;
    };
    let number = std::fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let (major, minor) = number.trim().split_once(':').unwrap();
    let device = format!("/dev/{name}");
    let flags: Vec<String> = ["--device-read-bps", "--device-write-bps"]
        .map(|flag| format!("{flag}={device}:1m"))
        .into_iter()
        .chain(["--device-read-iops", "--device-write-iops"].map(|f| format!("{f}={device}:100")))
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let spec = spec(&engine, &flags);
    let block = &spec["linux"]["resources"]["blockIO"];
    for (property, rate) in [
        ("throttleReadBpsDevice", 1 << 20),
        ("throttleWriteBpsDevice", 1 << 20),
        ("throttleReadIOPSDevice", 100),
        ("throttleWriteIOPSDevice", 100),
    ] {
        let entry = &block[property][0];
        assert_eq!(entry["major"].to_string(), major, "{property}");
        assert_eq!(entry["minor"].to_string(), minor, "{property}");
        assert_eq!(entry["rate"], rate, "{property}");
    }
}

#[test]
fn cgroups_are_where_they_are_asked_for() {
    let engine = engine!(new);
    let parent = format!("/husk-parent-{}", std::process::id());
    let flags = ["--cgroup-parent", &parent, "--cgroupns", "host"];
    let done = run(&engine, &[&flags[..], &["bb", "cat", "/proc/self/cgroup"]].concat());
    assert!(done.out.contains(&format!("{parent}/husk-")), "{done:?}");
    // The parent stays, as under runc: it may be others' too, and its limits are its owner's.
    let mut parents = 0;
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        for at in entries.map(|entry| entry.path()).chain([root.into()]) {
            let made = at.join(parent.trim_start_matches('/'));
            if made.is_dir() {
                let below = std::fs::read_dir(&made).unwrap().flatten();
                let left = below.filter(|entry| entry.path().is_dir()).count();
                assert_eq!(left, 0, "the container's own is gone below {}", made.display());
                std::fs::remove_dir(&made).unwrap();
                parents += 1;
            }
        }
    }
    assert!(parents > 0);
}

#[test]
fn namespaces_of_another_container() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--network", "none", "--name", "one", "bb", "sleep", "600"]);
    let pid = engine.inspect("one", "{{.State.Pid}}");
    for (flag, name) in [("--pid", "pid"), ("--ipc", "ipc")] {
        let link = format!("/proc/self/ns/{name}");
        let done =
            run(&engine, &[flag, "container:one", "bb", "sh", "-c", &format!("ls -l {link}")]);
        let own = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(done.out.contains(&own.display().to_string()), "{done:?}");
    }
    engine.ok(&["stop", "-t", "0", "one"]);
    let stopped = run(&engine, &["--pid", "container:one", "bb", "true"]);
    assert_eq!(stopped.code, 125);
    assert!(stopped.err.contains("container one is not running"), "{stopped:?}");
}

#[test]
fn volumes_from_another_container() {
    let engine = engine!(new);
    let made =
        ["create", "--name", "one", "--network", "none", "-v", "kept:/v", "-v", "/anonymous"];
    engine.ok(&[&made[..], &["bb"]].concat());
    let script = "echo x > /v/file; touch /anonymous/y && echo done";
    assert_eq!(run(&engine, &["--volumes-from", "one", "bb", "sh", "-c", script]).out, "done\n");
    let read =
        run(&engine, &["--volumes-from", "one:ro", "bb", "sh", "-c", "cat /v/file; touch /v/y"]);
    assert_eq!(read.out, "x\n", "{read:?}");
    assert!(read.err.contains("Read-only file system"), "{read:?}");
    assert_eq!(engine.ok(&["volume", "ls", "-q"]).lines().count(), 2, "--rm took none of them");
    let absent = run(&engine, &["--volumes-from", "nobody", "bb", "true"]);
    assert!(absent.err.contains("no such container: nobody"), "{absent:?}");
    engine.ok(&["rm", "-v", "one"]);
    assert_eq!(engine.ok(&["volume", "ls", "-q"]), "kept");
    engine.ok(&["volume", "rm", "kept"]);
}

#[test]
fn files_of_ids_and_labels() {
    let engine = engine!(new);
    let id = engine.path("cid").display().to_string();
    let labels = engine.path("labels");
    std::fs::write(&labels, "# comment\nfrom.file=yes\nboth=file\n").unwrap();
    let labels = labels.display().to_string();
    let flags = ["--cidfile", &id, "--label-file", &labels, "--label", "both=flag"];
    let made = engine.ok(&[&["create", "--name", "labelled"], &flags[..], &["bb"]].concat());
    assert_eq!(std::fs::read_to_string(&id).unwrap(), made);
    let labels = engine.inspect("labelled", "{{json .Config.Labels}}");
    assert_eq!(labels, "{\"both\":\"flag\",\"from.file\":\"yes\"}");
    let again = engine.run(&["create", "--cidfile", &id, "bb"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--cidfile") && again.err.contains("exists"), "{again:?}");
    let other = engine.path("other").display().to_string();
    assert_eq!(engine.run(&["create", "--cidfile", &other, "--name", "labelled", "bb"]).code, 1);
    assert!(!std::path::Path::new(&other).exists(), "no container, no file");
}

#[test]
fn streams_that_are_not_attached_are_not_shown() {
    let engine = engine!(new);
    let script = "echo out; echo err >&2";
    let only = run(&engine, &["-a", "stderr", "bb", "sh", "-c", script]);
    assert_eq!((only.out.as_str(), only.err.as_str()), ("", "err\n"));
    let both = run(&engine, &["-a", "stdout", "-a", "stderr", "bb", "sh", "-c", script]);
    assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
    assert_eq!(run(&engine, &["-a", "output", "bb", "true"]).code, 125);
    assert_eq!(run(&engine, &["-d", "-a", "stdout", "bb", "true"]).code, 125);
}

#[test]
fn another_runtime() {
    let engine = engine!(new);
    let absent = run(&engine, &["--runtime", "no-such-runtime", "bb", "true"]);
    assert!(absent.err.contains("not found in PATH"), "{absent:?}");
    let oci = std::path::Path::new(env!("CARGO_BIN_EXE_husk")).with_file_name("husk-oci");
    // Leaves a trace, then is husk-oci.
    let program = engine.path("wrapper");
    let trace = engine.path("trace");
    let text =
        format!("#!/bin/sh\necho \"$@\" >> {}\nexec {} \"$@\"\n", trace.display(), oci.display());
    std::fs::write(&program, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let program = program.display().to_string();
    let done = run(&engine, &["--runtime", &program, "bb", "echo", "run"]);
    assert_eq!(done.out, "run\n", "{done:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    for command in ["create", "start", "delete"] {
        assert!(trace.contains(command), "{command}: {trace}");
    }
    engine.assert_nothing_left();
}

#[test]
fn a_hardware_address() {
    let Some(engine) = obstacle().is_none().then(Engine::with_network) else { return };
    let mac = "02:00:00:00:00:2a";
    let done =
        engine.run(&["run", "--rm", "--mac-address", mac, "bb", "ip", "link", "show", "eth0"]);
    assert!(done.out.contains(mac), "{done:?}");
    let none = run(&engine, &["--mac-address", mac, "bb", "true"]);
    assert!(none.err.contains("--mac-address"), "{none:?}");
    assert_eq!(engine.run(&["run", "--rm", "--mac-address", "zz", "bb", "true"]).code, 125);
    wait_for("the end of all links", || engine.beside("ip -o link | wc -l").out.trim() == "1");
}

#[test]
fn an_image_with_an_unknown_stop_signal_needs_another() {
    let engine = engine!(new);
    // As another engine may have made it: `build` refuses it.
    let store = husk_image::store::Store::open(engine.path("root")).unwrap();
    let config = RunConfig { stop_signal: Some("BOGUS".to_owned()), ..RunConfig::default() };
    let reference = Some("bogus".parse().unwrap());
    let wanted = ImportOptions { config, reference, message: None };
    let tar = std::fs::File::open(engine.path("bb.tar")).unwrap();
    let tar = std::io::BufReader::new(tar);
    import(&store, tar, wanted, &PullOptions::default(), &Silent).unwrap();
    let done = engine.run(&["create", "--network", "none", "bogus", "true"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("StopSignal \"BOGUS\""), "{done:?}");
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
    assert_eq!(run(&engine, &["--stop-signal", "INT", "bogus", "true"]).code, 0);
    engine.assert_nothing_left();
}

#[test]
fn another_user_in_a_container_has_its_own_groups() {
    let engine = engine!(new);
    let files = "echo ann:x:1500:1600::/:/bin/sh >/etc/passwd; \
                 printf 'staff:x:1700:ann\\nwheel:x:10:root\\n' >/etc/group; echo there; exec sleep 600";
    let flags = ["run", "-d", "--network", "none", "--name", "many", "--group-add", "77"];
    engine.ok(&[&flags[..], &["bb", "sh", "-c", files]].concat());
    wait_for("the files", || engine.ok(&["logs", "many"]) == "there");
    for (user, groups) in [
        ("ann", "1600 1700"),
        ("1500", "1600 1700"),
        ("ann:staff", "1700"),
        ("1501:1601", "1601"),
        ("1502", "0"),
    ] {
        assert_eq!(engine.ok(&["exec", "-u", user, "many", "id", "-G"]), groups, "{user}");
    }
    let done = engine.run(&["exec", "-u", "bob", "many", "id"]);
    assert_eq!(done.code, 1, "{done:?}");
    engine.ok(&["rm", "-f", "many"]);
    engine.assert_nothing_left();
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_reason() {
    let engine = engine!(new);
    for (flags, reason) in [
        (&["--link", "db"][..], "needs --network with a network of yours"),
        (&["--gpus", "all"], "pass the device nodes with --device"),
        (&["--network-alias", "x"], "needs --network with a network of yours"),
        (&["--storage-opt", "size=1g"], "quotas"),
        (&["--kernel-memory", "1g"], "no longer in the kernel"),
        (&["--isolation", "process"], "is for Windows"),
        (&["--userns", "keep-id"], "must be host"),
        (&["--cgroupns", "other"], "must be private or host"),
        (&["--pid", "other"], "must be private, host or container:NAME"),
        (&["--pid", "container:"], "must name a container"),
        (&["--cgroup-parent", "user.slice"], "a systemd slice"),
        (&["--cgroup-parent", "/a/../.."], "must be the path of a cgroup"),
        (&["--memory-swappiness", "101"], "must be 0 to 100"),
        (&["--cpus", "8193"], "range of CPUs is from 0.01 to "),
        (&["--cpus", "8193"], " CPUs available"),
        (&["--blkio-weight", "5"], "must be 10 to 1000"),
        (&["--blkio-weight-device", "/dev/null:100"], "is not a block device"),
        (&["--device-read-bps", "/no/where:1m"], "No such file"),
        (&["--device-read-bps", "nonsense"], "must be DEVICE:VALUE, such as /dev/sda:1mb"),
        (&["--device-cgroup-rule", "c 1 r"], "must be a rule such as 'c 10:200 rwm'"),
        (&["--annotation", "bare"], "must be NAME=VALUE"),
        (&["--label-file", "/no/where"], "--label-file"),
        (&["--volumes-from", "a:b"], "must be CONTAINER[:ro]"),
        (&["--restart", "ever"], "must be no, on-failure[:COUNT], always or unless-stopped"),
        (&["--stop-signal", "BOGUS"], "is not a signal name or number"),
    ] {
        let done = run(&engine, &[flags, &["bb", "true"]].concat());
        assert_eq!(done.code, 125, "{flags:?}: {done:?}");
        assert!(done.err.contains(reason), "{flags:?}: {done:?}");
        assert_eq!(done.err.lines().count(), 1, "{flags:?}: {done:?}");
    }
    engine.assert_nothing_left();
}

#[test]
fn mounts_cover_each_other_by_their_depth() {
    let engine = engine!(new);
    let script = "cat /etc/hostname /etc/below/file; grep -c . /etc/hosts";
    let done = run(
        &engine,
        &[
            "-v",
            "below:/etc/below",
            "-v",
            "etc:/etc",
            "-h",
            "named",
            "bb",
            "sh",
            "-c",
            &format!("echo x > /etc/below/file; {script}"),
        ],
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.starts_with("named\nx\n"), "the engine's own files are over /etc: {done:?}");
    let twice = run(&engine, &["-v", "etc:/etc", "-v", "below:/x/..//etc/", "bb"]);
    assert!(twice.code == 125 && twice.err.contains("duplicate mount target"), "{twice:?}");
    let root = run(&engine, &["-v", "etc:/x/..", "bb"]);
    assert!(root.code == 125 && root.err.contains("other than /"), "{root:?}");
    engine.ok(&["volume", "rm", "etc", "below"]);
    engine.assert_nothing_left();
}

#[test]
fn flags_of_the_other_commands() {
    let engine = engine!(new);
    let start = ["run", "-d", "--restart", "no", "--no-healthcheck", "--network", "none", "--name"];
    let script = "trap 'echo told; exit 4' USR1; trap : TERM; while :; do sleep 0.02; done";
    engine.ok(&[&start[..], &["told", "bb", "sh", "-c", script]].concat());
    engine.ok(&[&start[..], &["deaf", "bb", "sleep", "600"]].concat());
    let file = engine.path("env");
    std::fs::write(&file, "# remark\nA=file\nB=file\n").unwrap();
    let flags = ["exec", "--env-file", file.to_str().unwrap(), "-e", "B=flag"];
    let seen = engine.ok(&[&flags[..], &["deaf", "env"]].concat());
    assert!(seen.contains("A=file") && seen.contains("B=flag"), "{seen}");
    // All are told at once: the second one ends while the first is still waited for.
    let mut command = engine.command(&["stop", "-s", "USR1", "-t", "600", "deaf", "told"]);
    let mut stop = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_for("its end", || engine.inspect("told", "{{.State.Status}}") == "exited");
    assert_eq!(engine.inspect("told", "{{.State.ExitCode}}"), "4");
    assert_eq!(engine.inspect("deaf", "{{.State.Status}}"), "running");
    engine.ok(&["kill", "deaf"]);
    assert!(stop.wait().unwrap().success());
    let ids = engine.ok(&["history", "-q", "bb"]);
    assert_eq!(ids, engine.ok(&["images", "-q", "bb"]));
    assert_eq!(engine.ok(&["network", "rm", "-f", "absent"]), "");
    for (arguments, code, words) in [
        (&["run", "--restart", "ever", "bb"][..], 125, "must be no, on-failure"),
        (&["stop", "-s", "ODD", "told"], 1, "not a signal name"),
        (&["exec", "--detach-keys", "ctrl-ä", "told", "true"], 1, "must be characters or ctrl-X"),
        (&["network", "connect", "--alias", "a", "bridge", "told"], 1, "takes no alias"),
        (&["network", "create", "--subnet", "10.0.0.0/8", "--gateway", "1.1.1.1", "n"], 1, ""),
        (&["volume", "create", "-o", "type=nfs", "v"], 1, "must be type=none with o=bind"),
        (
            &["volume", "create", "-o", "type=none", "-o", "o=ro", "-o", "device=/tmp", "v"],
            1,
            "must be bind or rbind",
        ),
        (
            &["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/absent", "v"],
            1,
            "No such file",
        ),
        (&["volume", "create", "-d", "nfs", "v"], 1, "must be local"),
        (
            &["container", "rm", "-l", "told"],
            1,
            "--link is not supported; use husk network disconnect",
        ),
        (&["image", "prune", "-f", "--filter", "until=x"], 1, "must be a time such as"),
        (&["pull", "-a", "bb"], 1, "--all-tags is not supported; name each tag"),
        (&["search", "x"], 1, "registries have no common search"),
        (&["builder", "ls"], 1, "there is one builder; use husk build"),
        (&["context", "export", "x"], 1, "use husk context rm and create"),
        (&["build", "--memory", "1g", "."], 1, "--memory is not supported by build"),
        (&["run", "--log-driver", "syslog", "bb"], 125, "is not supported: use json-file"),
        (&["run", "--log-opt", "mode=non-blocking", "bb"], 125, "mode must be blocking"),
        (&["create", "-a", "stdin", "bb"], 1, "use husk start --attach"),
    ] {
        let refused = engine.run(arguments);
        assert_eq!(refused.code, code, "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(words), "{arguments:?}: {refused:?}");
    }
    engine.ok(&["rm", "-f", "deaf", "told"]);
    engine.assert_nothing_left();
}

#[test]
fn a_directory_of_the_host_is_a_volume() {
    let engine = engine!(new);
    let directory = engine.path("shared");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("there"), "before\n").unwrap();
    let device = format!("device={}", directory.display());
    let create = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"];
    assert_eq!(engine.ok(&create), "bound");
    assert_eq!(engine.ok(&create), "bound", "the same options again");
    let shown = engine.ok(&["volume", "inspect", "-f", "{{.Options.device}}", "bound"]);
    assert_eq!(shown.trim(), directory.to_str().unwrap());
    let other = engine.run(&[
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        "o=rbind",
        "-o",
        &device,
        "bound",
    ]);
    assert!(other.code == 1 && other.err.contains("differs from the options"), "{other:?}");
    let script = "cat /etc/bound/there && echo after >/etc/bound/made";
    let run = ["run", "--rm", "-v", "bound:/etc/bound", "bb", "sh", "-c", script];
    assert_eq!(engine.ok(&run), "before");
    assert_eq!(std::fs::read_to_string(directory.join("made")).unwrap(), "after\n");
    // A link in its place is not followed.
    let moved = engine.path("moved");
    std::fs::rename(&directory, &moved).unwrap();
    std::os::unix::fs::symlink("/", &directory).unwrap();
    let linked = engine.run(&run);
    assert!(linked.code != 0 && linked.err.contains("symbolic link"), "{linked:?}");
    std::fs::remove_file(&directory).unwrap();
    std::fs::rename(&moved, &directory).unwrap();
    engine.ok(&["volume", "rm", "bound"]);
    assert!(directory.join("there").exists(), "the host's directory stays");
    engine.assert_nothing_left();
}
