//! config-linux.md, Namespaces: new ones, joined ones, and what goes with them.

use std::fs;

use husk_tests::case::Case;
use serde_json::json;

/// The name in the configuration and in /proc/PID/ns.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).unwrap().to_str().unwrap().to_owned()
}

/// config-linux.md, namespaces.type: without a path, a new one.
fn is_new(kind: &str, file: &str) {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace(kind, None);
    assert_ne!(case.report(&bundle)["namespaces"][file], own(file));
}

/// config-linux.md, namespaces: one that is not listed is the runtime's.
fn is_inherited(kind: &str, file: &str) {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.without_namespace(kind);
    // What needs a namespace of its own is left out with it.
    bundle.config["mounts"].as_array_mut().unwrap().retain(|m| {
        let target = m["destination"].as_str().unwrap();
        !(kind == "network" && target == "/sys" || kind == "ipc" && target == "/dev/mqueue")
    });
    assert_eq!(case.report(&bundle)["namespaces"][file], own(file));
}

/// config-linux.md, namespaces.path: that one is joined.
fn is_joined(kind: &str, file: &str) {
    let case = Case::new();
    let mut first = case.bundle();
    first.namespace(kind, None);
    // A time namespace is entered by execve(2): wait until that was.
    let said = case.fifo(&first, "said");
    first.shell("echo ready >/said; exec sleep 1000");
    let container = case.start(&first);
    assert_eq!(said.line(), "ready");
    let path = format!("/proc/{}/ns/{file}", container.pid());
    let mut second = case.bundle();
    second.namespace(kind, Some(&path));
    let seen = case.report(&second)["namespaces"][file].clone();
    assert_eq!(seen, fs::read_link(&path).unwrap().to_str().unwrap());
}

macro_rules! each_namespace {
    ($($kind:ident $file:literal),*) => {$(
        mod $kind {
            /// config-linux.md, namespaces.type: without a path, a new one.
            #[test]
            fn is_new() {
                super::is_new(stringify!($kind), $file);
            }

            /// config-linux.md, namespaces.path: that one is joined.
            #[test]
            fn is_joined() {
                super::is_joined(stringify!($kind), $file);
            }
        }
    )*};
}

each_namespace!(pid "pid", network "net", ipc "ipc", uts "uts", cgroup "cgroup", time "time");

/// config-linux.md, namespaces: those not listed are the runtime's own.
#[test]
fn what_is_not_listed_is_inherited() {
    for (kind, file) in KINDS.into_iter().filter(|(kind, _)| !["mount", "time"].contains(kind)) {
        is_inherited(kind, file);
    }
}

/// config-linux.md, namespaces `mount`.
#[test]
fn mount_is_new() {
    is_new("mount", "mnt");
}

/// config-linux.md, namespaces `mount` with a path: the container sees what is
/// mounted there.
#[test]
fn mount_is_joined() {
    let case = Case::new();
    let (first, container) = case.sleeper();
    let path = format!("/proc/{}/ns/mnt", container.pid());
    let mut second = case.bundle();
    second.namespace("mount", Some(&path));
    // In that namespace the first container's rootfs is "/" already.
    second.set("/root/path", "/").set("/mounts", json!([]));
    second.args(["/bin/true"]);
    fs::write(first.rootfs("tmp/mark"), "").unwrap();
    let run = case.run(&second);
    if run.status.success() {
        return;
    }
    // A runtime may refuse to join one, but then it must say so.
    run.refused();
}

/// pid_namespaces(7): the program is process 1 and sees no others.
#[test]
fn the_program_is_process_one() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo $$; for p in /proc/[0-9]*; do echo $p; done");
    assert_eq!(case.print(&bundle), "1\n/proc/1\n");
}

/// config-linux.md, namespaces.path of another type is an error.
#[test]
fn a_namespace_of_another_type_is_an_error() {
    let case = Case::new();
    for (kind, file) in [("network", "uts"), ("pid", "net"), ("ipc", "mnt"), ("uts", "ipc")] {
        let mut bundle = case.bundle();
        bundle.namespace(kind, Some(&format!("/proc/self/ns/{file}")));
        case.run(&bundle).refused();
    }
    case.assert_nothing_left();
}

/// config-linux.md, namespaces.path: a missing file is an error.
#[test]
fn a_missing_namespace_path_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("network", Some("/run/netns/husk-no-such"));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, namespaces.path: a file that is no namespace is an error.
#[test]
fn a_path_that_is_no_namespace_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(case.path("file"), "").unwrap();
    bundle.namespace("network", Some(case.path("file").to_str().unwrap()));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, namespaces: a type that is listed twice is an error.
#[test]
fn a_duplicate_namespace_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/namespaces/-", json!({ "type": "uts" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, namespaces.type: any other word is an error.
#[test]
fn an_unknown_namespace_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/namespaces/-", json!({ "type": "banana" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, timeOffsets: both clocks.
#[test]
fn time_offsets_are_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("time", None);
    bundle.set(
        "/linux/timeOffsets",
        json!({
            "monotonic": { "secs": 172_800, "nanosecs": 5 },
            "boottime": { "secs": 604_800 },
        }),
    );
    let offsets = case.report(&bundle)["timeOffsets"].to_string();
    let words: Vec<&str> = offsets.trim_matches('"').split([' ', 'n']).collect();
    assert!(offsets.contains("172800") && offsets.contains("604800"), "{words:?}");
    bundle.args(["/bin/cat", "/proc/uptime"]);
    let uptime: f64 = case.print(&bundle).split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 604_800.0, "{uptime}");
}

/// setns(2), CLONE_NEWTIME: `exec` has the container's clocks too.
#[test]
fn exec_joins_the_time_namespace() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("time", None);
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 604_800 } }));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let uptime = container.exec(&[], &["/bin/cat", "/proc/uptime"]).ok();
    let uptime: f64 = uptime.text().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 604_800.0, "{uptime}");
}

/// config-linux.md, timeOffsets: without a time namespace they mean nothing.
#[test]
fn time_offsets_without_a_time_namespace_are_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 604_800 } }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// cgroup_namespaces(7): inside, the container's cgroup is the root.
#[test]
fn a_cgroup_namespace_hides_the_path() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("cgroup", None);
    let cgroup = case.report(&bundle)["cgroup"].to_string();
    assert!(!cgroup.contains(bundle.id()), "{cgroup}");
}

/// A new network namespace has its loopback interface up.
#[test]
fn loopback_is_up() {
    let case = Case::new();
    let report = case.report(&case.bundle());
    // IFF_UP and IFF_LOOPBACK.
    assert_eq!(report["interfaces"], json!({ "lo": "0x9" }));
}

/// A network namespace that is joined is taken as it is.
#[test]
fn a_joined_network_namespace_is_not_touched() {
    let case = Case::without_user_namespace(
        "the sysfs of a joined network namespace, which the test reads, is for its owner",
    );
    let holder = case.program("unshare").args(["-n", "sleep", "1000"]).spawn();
    // Until unshare(1) has made it, its namespace is this one.
    let path = format!("/proc/{}/ns/net", holder.pid());
    husk_tests::event::until("a network namespace", || {
        fs::read_link(&path).unwrap().to_str().unwrap() != own("net")
    });
    let mut bundle = case.bundle();
    bundle.namespace("network", Some(&path));
    assert_eq!(case.report(&bundle)["interfaces"], json!({ "lo": "0x8" }));
}
