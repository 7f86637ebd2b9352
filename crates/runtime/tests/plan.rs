//! What the plan makes of each property of a configuration alone, of the documents that `spec`
//! writes, and what it refuses: compared with `plan.golden`, without root and without a kernel.
//!
//! A case is a line `> PATCH`, a JSON merge patch (RFC 7396) for the smallest bundle, or `> @root`
//! and `> @rootless`; `! WORDS` before it says what the host has. What follows is how the plan
//! differs from that of the smallest bundle, or the refusal. `GOLDEN=write` writes the file anew,
//! to be read before it is committed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's failure")]

use std::fmt::{Debug, Write};

use husk_cgroup::{Hierarchy, Layout, Unified};
use husk_runtime::plan::{Host, LaunchPlan, Process, Request};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan.golden");
/// How `MountAttr::default()` is shown, which most mounts have twice.
const NO_ATTRIBUTES: &str = "MountAttr { set: 0, clear: 0, propagation: 0, userns_fd: 0 }";
const ROOT: &str = include_str!("../src/cli/spec/root.json");
const ROOTLESS: &str = include_str!("../src/cli/spec/rootless.json");

fn smallest() -> Value {
    let kinds = ["pid", "network", "ipc", "uts", "mount"];
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["/bin/true"] },
        "linux": { "namespaces": kinds.map(|kind| json!({ "type": kind })) },
    })
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            value => merge(target.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// A host of cgroup v2 with all that can be had; `words` take away or change.
fn host(words: &str) -> Host {
    let has = |word: &str| words.split_whitespace().any(|one| one == word);
    let unified = Unified { mount: "/sys/fs/cgroup".into(), ..Unified::default() };
    let hierarchy = |name: &str| Hierarchy {
        controllers: vec![name.to_owned()],
        mount: format!("/sys/fs/cgroup/{name}").into(),
        ..Hierarchy::default()
    };
    let layout = match (has("v1"), has("no-cgroup")) {
        (_, true) => Layout::default(),
        (true, _) => Layout { v1: ["cpu", "memory"].map(hierarchy).to_vec(), v2: None },
        _ => Layout { v1: Vec::new(), v2: Some(unified) },
    };
    Host {
        euid: if has("user") { 1000 } else { 0 },
        in_user_namespace: has("user-namespace"),
        selinux: has("selinux"),
        apparmor: has("apparmor"),
        layout,
        landlock_abi: if has("no-landlock") { 0 } else { 7 },
    }
}

fn request(words: &str) -> Request {
    let has = |word: &str| words.split_whitespace().any(|one| one == word);
    Request {
        id: "c1".to_owned(),
        bundle: "/bundle".to_owned(),
        no_pivot: has("no-pivot"),
        no_new_keyring: has("no-new-keyring"),
        foreground: has("foreground"),
        preserve_fds: if has("preserve-fds") { 2 } else { 0 },
        listen_fds: if has("listen-fds") { 1 } else { 0 },
        notify_directory: has("notify").then(|| "/run/c1/notify".to_owned()),
    }
}

macro_rules! describe {
    ($text:expr, $prefix:expr, $of:expr, $($field:ident)*) => {
        $(line($text, concat!($prefix, stringify!($field)), &$of.$field);)*
    };
}

fn line(text: &mut String, name: &str, value: &dyn Debug) {
    writeln!(text, "{name}: {value:?}").unwrap();
}

fn describe(plan: &LaunchPlan) -> String {
    let text = &mut String::new();
    describe!(text, "", plan, namespaces user_namespace root populate_dev masked_paths
        readonly_paths sysctls hostname domainname hooks net_devices keyring warnings);
    for (index, mount) in plan.mounts.iter().enumerate() {
        let shown = format!("{mount:?}").replace(NO_ATTRIBUTES, "none");
        writeln!(text, "mounts[{index}]: {shown}").unwrap();
    }
    for device in &plan.devices {
        line(text, "device", device);
    }
    describe_process(text, &plan.process);
    text.clone()
}

fn describe_process(text: &mut String, process: &Process) {
    line(text, "process.arguments", &process.arguments.strings());
    describe!(text, "process.", process, environment needs_home search cwd uid gid groups umask
        capabilities no_new_privileges rlimits oom_score_adj scheduler io_priority
        initial_affinity final_affinity personality memory_policy terminal apparmor selinux
        landlock core_scheduling preserve_fds);
    if let Some(filter) = &process.seccomp {
        let (program, silences) = (&filter.program, filter.silences);
        let (flags, notifies) = (program.flags, program.notifies);
        line(text, "process.seccomp", &(flags, notifies, silences, &filter.listener_path));
    }
}

fn planned(document: &Value, words: &str) -> Result<String, String> {
    let spec = husk_spec::parse(document.to_string().as_bytes()).map_err(|e| e.to_string())?;
    let plan = LaunchPlan::new(&spec, &request(words), &host(words)).map_err(|e| e.to_string())?;
    Ok(describe(&plan))
}

/// How a case's plan differs from the smallest one's.
fn outcome(case: &str, words: &str) -> String {
    let mut document = smallest();
    let before = planned(&document, "").unwrap();
    match case {
        "@root" => document = serde_json::from_str(ROOT).unwrap(),
        "@rootless" => {
            let text = ROOTLESS.replace("UID", "1000").replace("GID", "1000");
            document = serde_json::from_str(&text).unwrap();
        }
        patch => {
            let patch = serde_json::from_str(patch).unwrap_or_else(|e| panic!("{patch}: {e}"));
            merge(&mut document, &patch);
        }
    }
    match planned(&document, words) {
        Err(refusal) => format!("refused: {refusal}\n"),
        Ok(plan) => {
            let new = plan.lines().filter(|line| !before.lines().any(|old| old == *line));
            new.map(|line| format!("{line}\n")).collect()
        }
    }
}

#[test]
fn each_property_alone() {
    let golden = std::fs::read_to_string(FILE).unwrap();
    let (mut written, mut words) = (String::new(), "");
    for line in golden.lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(written, "{line}").unwrap();
        } else if let Some(given) = line.strip_prefix("! ") {
            writeln!(written, "{line}").unwrap();
            words = given;
        } else if let Some(case) = line.strip_prefix("> ") {
            write!(written, "{line}\n{}", outcome(case, words)).unwrap();
            words = "";
        }
    }
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(FILE, &written).unwrap();
        return;
    }
    for (number, (old, new)) in golden.lines().zip(written.lines()).enumerate() {
        assert_eq!(old, new, "plan.golden, line {}", number + 1);
    }
    assert_eq!(golden, written);
}
