//! config.md, POSIX-platform Hooks; runtime.md, Lifecycle.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::runtime;
use serde_json::{Value, json};

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a shell script. The one of startContainer is looked up in
/// the container, where /bin/sh is too.
fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// A bundle whose hooks each write a line to one log: those inside write to the
/// root filesystem's end of it.
fn logged(case: &Case) -> Bundle {
    let mut bundle = case.bundle();
    let log = bundle.rootfs("log");
    fs::write(&log, "").unwrap();
    for kind in KINDS {
        let path = if kind == "startContainer" { "/log".into() } else { log.clone() };
        let script = format!("echo {kind} >>{}", path.display());
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&script)]));
    }
    bundle.shell("echo program >>/log");
    bundle
}

fn log(bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(bundle.rootfs("log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// runtime.md, Lifecycle: which hooks each step runs, in order.
#[test]
fn hooks_run_in_the_order_of_the_lifecycle() {
    let case = Case::new();
    let mut bundle = logged(&case);
    let said = case.fifo(&bundle, "said");
    bundle.shell("echo program >>/log; echo ran >/said; exec sleep 1000");
    let container = case.create(&bundle);
    assert_eq!(log(&bundle), ["prestart", "createRuntime", "createContainer"]);
    container.start();
    assert_eq!(said.line(), "ran");
    let lines = log(&bundle);
    assert_eq!(lines[3], "startContainer");
    // The last two may meet: poststart comes when the program was started.
    let mut last = lines[4..].to_vec();
    last.sort();
    assert_eq!(last, ["poststart", "program"]);
    container.stop();
    assert_eq!(log(&bundle).len(), 6, "poststop came before delete");
    container.delete();
    assert_eq!(log(&bundle)[6..], ["poststop"]);
}

/// runtime.md, Lifecycle: `run` runs all of them.
#[test]
fn run_runs_every_hook() {
    let case = Case::new();
    let bundle = logged(&case);
    case.run(&bundle).ok();
    let mut lines = log(&bundle);
    assert_eq!(lines.first().unwrap(), "prestart");
    assert_eq!(lines.last().unwrap(), "poststop");
    lines.sort();
    let mut all: Vec<String> = KINDS.iter().map(|k| (*k).to_owned()).collect();
    all.push("program".to_owned());
    all.sort();
    assert_eq!(lines, all);
}

/// config.md, hooks: the entries of a kind run in the listed order.
#[test]
fn hooks_of_a_kind_run_in_the_listed_order() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let log_file = bundle.rootfs("log");
    let hooks: Vec<Value> =
        (0..5).map(|n| hook(&format!("echo {n} >>{}", log_file.display()))).collect();
    bundle.set("/hooks/createRuntime", hooks).args(["/bin/true"]);
    case.run(&bundle).ok();
    assert_eq!(log(&bundle), ["0", "1", "2", "3", "4"]);
}

/// config.md, hooks: args and env as configured, and nothing of the caller's.
#[test]
fn a_hook_gets_its_args_and_env() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let out = case.path("out");
    let script = format!("(echo \"$0 $1\"; env) >{}", out.display());
    bundle.set(
        "/hooks/createRuntime",
        json!([{
            "path": "/bin/sh",
            "args": ["sh", "-c", script, "zero", "one"],
            "env": ["PATH=/bin:/usr/bin", "KEY=value"],
        }]),
    );
    bundle.args(["/bin/true"]);
    case.running(&bundle, &[]).env("FROM_THE_HOST", "1").ok();
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.starts_with("zero one\n"), "{text}");
    assert!(text.contains("KEY=value\n"), "{text}");
    assert!(!text.contains("FROM_THE_HOST"), "{text}");
}

/// config.md, hooks.args: like execv's argv, so the first entry is argv[0].
#[test]
fn a_hook_without_args_has_its_path_as_name() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let script = case.path("hook.sh");
    let out = case.path("out");
    fs::write(&script, format!("#!/bin/sh\necho \"$0 $#\" >{}\n", out.display())).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    bundle.set("/hooks/createRuntime", json!([{ "path": script }])).args(["/bin/true"]);
    case.run(&bundle).ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), format!("{} 0\n", script.display()));
}

/// config.md, hooks: the state comes over standard input, and its status is
/// that of the step.
#[test]
fn a_hook_gets_the_state_on_stdin() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    let dir = bundle.rootfs("states");
    fs::create_dir(&dir).unwrap();
    for kind in KINDS {
        let target = match kind {
            "startContainer" => format!("/states/{kind}"),
            _ => dir.join(kind).display().to_string(),
        };
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&format!("cat >{target}"))]));
    }
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let pid = container.pid();
    container.stop();
    container.delete();
    for (kind, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let text = fs::read_to_string(dir.join(kind)).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(state["id"], bundle.id(), "{kind}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        // config.md: as the namespace the hook runs in sees it.
        match kind {
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1, "{kind}"),
            "poststop" => {}
            _ => assert_eq!(state["pid"], pid, "{kind}"),
        }
    }
}

/// config.md, annotations: of any size, and a hook need not read them. Each kind has its own
/// way to its state, which must not end at a packet's or a pipe's size.
#[test]
fn a_state_of_any_size_reaches_every_hook() {
    let case = Case::new();
    for size in [100_000, 180_000, 1_000_000] {
        let mut bundle = case.bundle();
        bundle.set("/annotations", json!({ "org.example.large": "x".repeat(size) }));
        let dir = bundle.rootfs("sizes");
        fs::create_dir(&dir).unwrap();
        for kind in KINDS {
            let target = match kind {
                "startContainer" => format!("/sizes/{kind}"),
                _ => dir.join(kind).display().to_string(),
            };
            let reads = hook(&format!("wc -c >{target}"));
            bundle.set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/true" }, reads]));
        }
        bundle.args(["/bin/true"]);
        case.run(&bundle).ok();
        for kind in KINDS {
            let read = fs::read_to_string(dir.join(kind)).unwrap();
            assert!(read.trim().parse::<usize>().unwrap() > size, "{kind}: {read} of {size}");
        }
    }
}

/// config.md, hooks: prestart, createRuntime, poststart and poststop run in the
/// runtime's namespaces, createContainer in the container's, startContainer in
/// the container itself.
#[test]
fn hooks_run_in_their_namespaces() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let dir = bundle.rootfs("seen");
    fs::create_dir(&dir).unwrap();
    for kind in KINDS {
        let target = match kind {
            "startContainer" => format!("/seen/{kind}"),
            _ => dir.join(kind).display().to_string(),
        };
        let script =
            format!("for n in mnt net uts ipc; do readlink /proc/self/ns/$n; done >{target}");
        bundle.set(&format!("/hooks/{kind}"), json!([hook(&script)]));
    }
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let kinds = ["mnt", "net", "uts", "ipc"];
    let of = |pid: &str| {
        kinds.map(|n| fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().display().to_string())
    };
    let inside = of(&container.pid().to_string());
    let outside = of("self");
    container.stop();
    container.delete();
    // A runtime that is wrapped in a mount namespace has that one.
    let wrapped = runtime::name() == "crun";
    for kind in KINDS {
        let text = fs::read_to_string(dir.join(kind)).unwrap();
        let seen: Vec<&str> = text.lines().collect();
        match kind {
            "createContainer" | "startContainer" => assert_eq!(seen, inside, "{kind}"),
            _ if wrapped => assert_eq!(seen[1..], outside[1..], "{kind}"),
            _ => assert_eq!(seen, outside, "{kind}"),
        }
    }
}

/// config.md, createContainer: before pivot_root, hence the host's paths.
#[test]
fn create_container_hooks_run_before_pivot_root() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let out = case.path("out");
    bundle.set("/hooks/createContainer", json!([hook(&format!("ls / >{}", out.display()))]));
    bundle.args(["/bin/true"]);
    case.run(&bundle).ok();
    assert!(fs::read_to_string(&out).unwrap().contains("usr"));
}

/// config.md, createContainer: mounts a hook makes in the bundle's rootfs are
/// in the container.
#[test]
fn create_container_hooks_can_mount_into_the_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("mnt")).unwrap();
    let target = bundle.rootfs("mnt");
    bundle.set(
        "/hooks/createContainer",
        json!([hook(&format!("mount -t tmpfs husk-hook {}", target.display()))]),
    );
    bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
    let printed = case.print(&bundle);
    assert!(printed.contains("husk-hook"), "{printed}");
    case.assert_nothing_left();
}

/// runtime.md, Lifecycle 3 to 5: a hook that fails is an error, the program
/// does not run, and what was made is undone.
#[test]
fn a_failing_hook_of_create_is_an_error() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let case = Case::new();
        let mut bundle = case.bundle();
        bundle.set(&format!("/hooks/{kind}"), json!([hook("echo the hook says >&2; exit 3")]));
        bundle.shell("echo ran >/tmp/ran");
        case.creating(&bundle, &[]).output().refused();
        assert!(!bundle.rootfs("tmp/ran").exists(), "{kind}");
        case.assert_nothing_left();
    }
}

/// runtime.md, Lifecycle 7: startContainer likewise, at start.
#[test]
fn a_failing_start_container_hook_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hooks/startContainer", json!([hook("exit 3")]));
    bundle.shell("echo ran >/tmp/ran");
    case.running(&bundle, &[]).output().refused();
    assert!(!bundle.rootfs("tmp/ran").exists());
    case.assert_nothing_left();
}

/// runtime.md, Lifecycle 9: a poststart hook that fails is an error, stops and destroys
/// the container; then the poststop hooks run.
#[test]
fn a_failing_poststart_hook_destroys_the_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let mark = case.path("mark");
    bundle.set("/hooks/poststart", json!([hook("exit 3")]));
    bundle.set("/hooks/poststop", json!([hook(&format!("echo x >{}", mark.display()))]));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.create(&bundle);
    case.on("start", container.id()).output().refused();
    container.process().wait();
    case.on("state", container.id()).output().refused();
    assert!(mark.exists(), "the poststop hook did not run");
    case.assert_nothing_left();
}

/// runtime.md, Lifecycle 13: a poststop hook that fails is a warning, and the
/// others still run.
#[test]
fn a_failing_poststop_hook_is_a_warning() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let mark = case.path("mark");
    let second = hook(&format!("echo x >{}", mark.display()));
    bundle.set("/hooks/poststop", json!([hook("exit 3"), second]));
    let container = case.create(&bundle);
    container.stop();
    let delete = case.on("delete", container.id()).ok();
    assert!(mark.exists(), "the second hook did not run");
    assert!(!delete.stderr.is_empty(), "no warning");
    case.assert_nothing_left();
}

/// config.md, hooks.timeout: a hook that takes longer is ended, and that is an
/// error.
#[test]
fn a_hook_is_ended_after_its_timeout() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/hooks/createRuntime",
        json!([{
            "path": "/bin/sh",
            "args": ["sh", "-c", format!("exec sleep 1000 # {}", bundle.id())],
            "timeout": 1,
        }]),
    );
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, hooks.timeout: also where it leaves a state unread that no pipe holds.
#[test]
fn a_hook_that_does_not_read_is_ended_after_its_timeout() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/annotations", json!({ "org.example.large": "x".repeat(100_000) }));
    let sleeps = json!({ "path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1 });
    bundle.set("/hooks/createRuntime", json!([sleeps]));
    let run = case.run(&bundle);
    assert!(run.stderr.contains("timeout of 1 s"), "{}", run.stderr);
    run.refused();
    case.assert_nothing_left();
}

/// config.md, hooks.timeout: greater than zero.
#[test]
fn a_timeout_of_zero_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hooks/createRuntime", json!([{ "path": "/bin/true", "timeout": 0 }]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, hooks.path: absolute.
#[test]
fn a_relative_hook_path_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hooks/createRuntime", json!([{ "path": "true" }]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, hooks.path: one that does not exist.
#[test]
fn a_missing_hook_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hooks/createRuntime", json!([{ "path": "/no/such/hook" }]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}
