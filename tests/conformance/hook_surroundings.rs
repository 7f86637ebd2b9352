//! What a hook finds where it runs, and what becomes of what it prints: the specification says
//! little, and hooks are written for what runc does.

use std::fs;

use husk_tests::case::{Case, path_text};
use husk_tests::event::Process;
use husk_tests::runtime;
use serde_json::{Value, json};

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

/// What each kind of hook prints of itself by `script`, which has the file as `$out`.
fn seen(case: &Case, script: &str, env: Option<Value>) -> Vec<(&'static str, String)> {
    let mut bundle = case.bundle();
    let dir = bundle.rootfs("seen");
    fs::create_dir(&dir).unwrap();
    for kind in KINDS {
        let out = match kind {
            "startContainer" => format!("/seen/{kind}"),
            _ => dir.join(kind).display().to_string(),
        };
        let mut hook = hook(&format!("out={out}; {script}"));
        if let Some(env) = &env {
            hook["env"] = env.clone();
        }
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.set("/process/env", json!(["PATH=/bin", "HOME=/inside", "INSIDE=1"]));
    bundle.set("/process/cwd", "/tmp").args(["/bin/true"]);
    case.running(&bundle, &[]).env("OUTSIDE", "1").current_dir("/usr").ok();
    let text = |kind| fs::read_to_string(dir.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
    KINDS.map(|kind| (kind, text(kind).replace(path_text(bundle.dir()), "BUNDLE"))).to_vec()
}

/// Without `env` a hook has the environment of who runs it: the runtime's own, and in the
/// container the process's. Nothing of the container's reaches a hook outside of it
/// (CVE-2025-23266).
#[test]
fn a_hook_without_env_has_that_of_where_it_runs() {
    let case = Case::new();
    for (kind, text) in seen(&case, "env >$out", None) {
        let has = |entry: &str| text.lines().any(|line| line == entry);
        let inside = kind == "startContainer";
        assert_eq!(has("INSIDE=1"), inside, "{kind}: {text}");
        assert_eq!(has("HOME=/inside"), inside, "{kind}: {text}");
        // runc gives this kind none at all.
        if kind != "createContainer" || runtime::name() != "runc" {
            assert_eq!(has("OUTSIDE=1"), !inside, "{kind}: {text}");
            assert!(text.contains("PATH="), "{kind}: {text}");
        }
    }
}

/// An empty list is an empty environment.
#[test]
fn an_empty_env_is_empty() {
    let case = Case::new();
    for (kind, text) in seen(&case, "/usr/bin/env >$out || env >$out", Some(json!([]))) {
        for name in ["OUTSIDE", "INSIDE", "HOME"] {
            assert!(!text.contains(&format!("{name}=")), "{kind}: {text}");
        }
    }
}

/// Hooks of the runtime namespace begin in the bundle, createContainer in the container's root
/// as the host names it, startContainer where the program begins.
#[test]
fn each_kind_of_hook_begins_in_its_directory() {
    let case = Case::new();
    for (kind, text) in seen(&case, "pwd >$out", None) {
        let wanted = match kind {
            "createContainer" => "BUNDLE/rootfs\n",
            "startContainer" => "/tmp\n",
            _ => "BUNDLE\n",
        };
        // crun begins all in the bundle that run before the root is entered.
        if runtime::name() != "crun" || kind != "createContainer" {
            assert_eq!(text, wanted, "{kind}");
        }
    }
}

/// What a hook prints is not the container's output, and a hook may print where the container
/// cannot: containerd gives it /dev/null, open for reading alone.
#[test]
fn a_hook_has_output_of_its_own() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for kind in KINDS {
        let hook = hook("echo noise && echo noise >&2 || exit 9");
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.args(["/bin/echo", "program"]);
    let run = case.run(&bundle).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("program\n", ""));
    bundle.args(["/bin/true"]);
    bundle.write();
    let closed = "exec \"$@\" 1</dev/null 2</dev/null";
    let shell = case.program("sh").args(["-c", closed, "sh"]).arg(runtime::path());
    let shell = shell.arg("--root").arg(case.state_root()).args(["run", "--bundle"]);
    shell.arg(bundle.dir()).arg(bundle.id()).ok();
}

/// What a hook that fails has printed is in the error, wherever that goes, with an end.
#[test]
fn what_a_failed_hook_prints_is_in_the_error() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let case = Case::new();
        let mut bundle = case.bundle();
        let script = "echo to the first; echo to the second >&2; exit 3";
        bundle.set(&format!("/hooks/{kind}"), json!([hook(script)])).args(["/bin/true"]);
        let log = case.path("log");
        bundle.write();
        let run = case.runtime().args(["--log", path_text(&log), "run", "--bundle"]);
        let run = run.arg(bundle.dir()).arg(bundle.id()).output();
        run.refused();
        let text = fs::read_to_string(&log).unwrap();
        for word in [kind, "exit status 3", "stdout: to the first", "stderr: to the second"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        case.assert_nothing_left();
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    let much = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3";
    for kind in ["createRuntime", "createContainer"] {
        bundle.set("/hooks", json!({ kind: [hook(much)] })).args(["/bin/true"]);
        let stderr = case.run(&bundle).refused().stderr;
        if runtime::name() == "husk-oci" {
            assert!(stderr.len() < 4096, "{}", stderr.len());
            assert!(stderr.contains("line 19999"), "{stderr}");
        }
    }
}

/// What a hook leaves running with its output open does not hold the container up.
#[test]
fn a_hook_need_not_take_all_it_started_with_it() {
    if runtime::name() == "runc" {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    let left = case.path("left");
    let script = format!("cd /; sleep 1000 & echo $! >{}", left.display());
    bundle.set("/hooks/createRuntime", json!([hook(&script)])).args(["/bin/echo", "ran"]);
    assert_eq!(case.print(&bundle), "ran\n");
    let pid: i32 = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    let process = Process::open(pid);
    assert!(!process.exited());
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    process.wait();
}
