//! features.md and features-linux.md: the document is right, and what it says
//! is recognized.

use husk_tests::case::Case;
use serde_json::{Value, json};

fn features(case: &Case) -> Value {
    case.runtime().arg("features").ok().json()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|w| w.as_str().expect("a word")).collect()
}

/// features.md, Specification version: the two required properties.
#[test]
fn the_versions_are_there() {
    let case = Case::new();
    let features = features(&case);
    let number = |key: &str| -> Vec<u32> {
        let text = features[key].as_str().unwrap();
        text.split(['-', '+']).next().unwrap().split('.').map(|n| n.parse().unwrap()).collect()
    };
    assert!(number("ociVersionMin") <= number("ociVersionMax"));
}

/// features.md, ociVersionMin and ociVersionMax: the runtime accepts both.
#[test]
fn both_versions_are_accepted() {
    let case = Case::new();
    let features = features(&case);
    for key in ["ociVersionMin", "ociVersionMax"] {
        let mut bundle = case.bundle();
        bundle.set("/ociVersion", features[key].clone()).args(["/bin/true"]);
        case.run(&bundle).ok();
    }
}

/// features.md, Hooks: all six kinds of the spec.
#[test]
fn every_hook_is_named() {
    let case = Case::new();
    let features = features(&case);
    let hooks = words(&features["hooks"]);
    for kind in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        assert!(hooks.contains(&kind), "{kind} is not in {hooks:?}");
    }
}

/// features.md, Mount Options: those every runtime must implement.
#[test]
fn every_required_mount_option_is_named() {
    let case = Case::new();
    let features = features(&case);
    let options = words(&features["mountOptions"]);
    for option in [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "private",
        "rbind",
        "relatime",
        "remount",
        "ro",
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "sync",
        "unbindable",
    ] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    let mut sorted = options.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), options.len(), "an option is named twice");
}

/// features.md, Mount Options: what is named must be recognized. Recognized
/// means that it does not reach the filesystem, which would refuse it.
#[test]
fn every_named_mount_option_is_recognized() {
    let case = Case::new();
    let features = features(&case);
    for option in words(&features["mountOptions"]) {
        // These want another mount than a bind, or mappings to go with them.
        if ["idmap", "ridmap", "remount", "tmpcopyup"].contains(&option) {
            continue;
        }
        let mut bundle = case.bundle();
        bundle.bind(&case.directory("source"), "/mnt", &["rbind", option]);
        bundle.args(["/bin/true"]);
        let run = case.run(&bundle);
        assert!(run.status.success(), "{option}: {}", run.stderr);
    }
}

/// features-linux.md, Namespaces.
#[test]
fn every_namespace_is_named() {
    let case = Case::new();
    let features = features(&case);
    let namespaces = words(&features["linux"]["namespaces"]);
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(namespaces.contains(&kind), "{kind} is not in {namespaces:?}");
    }
}

/// features-linux.md, Capabilities: all 41 of Linux 5.9 and later.
#[test]
fn every_capability_is_named() {
    let case = Case::new();
    let features = features(&case);
    let capabilities = words(&features["linux"]["capabilities"]);
    assert!(capabilities.iter().all(|c| c.starts_with("CAP_")), "{capabilities:?}");
    for name in ["CAP_CHOWN", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"]
    {
        assert!(capabilities.contains(&name), "{name} is not in {capabilities:?}");
    }
    assert_eq!(capabilities.len(), 41);
}

/// features-linux.md, Cgroup: booleans, true for both versions.
#[test]
fn the_cgroup_versions_are_named() {
    let case = Case::new();
    let cgroup = features(&case)["linux"]["cgroup"].clone();
    assert_eq!(cgroup["v1"], true);
    assert_eq!(cgroup["v2"], true);
}

/// features-linux.md, MemoryPolicy and NetDevices, new in 1.3.
#[test]
fn what_is_new_in_1_3_is_named() {
    let case = Case::new();
    let features = features(&case);
    let policy = &features["linux"]["memoryPolicy"];
    assert!(words(&policy["modes"]).contains(&"MPOL_BIND"), "{policy}");
    assert!(words(&policy["flags"]).contains(&"MPOL_F_STATIC_NODES"), "{policy}");
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
}

/// features-linux.md, MountExtensions: a boolean, if it is there.
#[test]
fn mount_extensions_are_an_object() {
    let case = Case::new();
    let idmap = features(&case)["linux"]["mountExtensions"]["idmap"]["enabled"].clone();
    assert!(idmap.is_boolean(), "{idmap}");
}

/// features.md: an absent value is left out or null, not an empty one.
#[test]
fn no_list_is_empty() {
    let case = Case::new();
    let features = features(&case);
    for pointer in ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities"] {
        assert_ne!(features.pointer(pointer), Some(&json!([])), "{pointer}");
    }
}
