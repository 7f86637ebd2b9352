//! config-linux.md, Network Devices: `linux.netDevices`.

use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::invocation::{Invocation, Output};
use serde_json::json;

/// A network namespace with `husk0`, which is up and has addresses, and `husk2`,
/// which is down.
const DEVICES: &str = "ip link add husk0 type veth peer name husk1 && \
    ip link add husk2 type veth peer name husk3 && \
    ip addr add 192.0.2.7/24 brd 192.0.2.255 dev husk0 && \
    ip addr add 192.0.2.8/32 scope host dev husk0 && \
    ip addr add 2001:db8::7/64 dev husk0 && \
    ip addr add 192.0.2.9/24 dev husk0 valid_lft 100 preferred_lft 100 && \
    ip link set husk0 mtu 1400 address 02:00:00:00:00:07 && \
    ip link set husk0 up && ip link set husk1 up";

/// A script that has that namespace to itself, and the runtime's `run` as `$@`.
fn script(case: &Case, bundle: &Bundle, script: &str) -> Invocation {
    bundle.write();
    case.program("unshare")
        .args(["-n", "sh", "-c", &format!("{DEVICES} && {script}"), "sh"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
}

fn run(case: &Case, bundle: &Bundle) -> Output {
    script(case, bundle, "exec \"$@\"").output()
}

/// The interface moves in and is up, with its MTU, its hardware address and its
/// lasting addresses of global scope; the others stay behind.
#[test]
fn they_move_in_with_their_attributes() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/netDevices", json!({ "husk0": {}, "husk2": {} }));
    bundle.shell("ip addr show husk0; ip addr show husk2");
    let run = run(&case, &bundle).ok();
    let (husk0, husk2) = run.stdout.split_once("husk2").expect("both");
    for there in
        ["192.0.2.7/24 brd 192.0.2.255", "2001:db8::7/64", "mtu 1400", "02:00:00:00:00:07", ",UP"]
    {
        assert!(husk0.contains(there), "{there}: {}", run.stdout);
    }
    for gone in ["192.0.2.8", "192.0.2.9"] {
        assert!(!husk0.contains(gone), "{gone}: {}", run.stdout);
    }
    // It was down on the host.
    assert!(husk2.contains(",UP"), "{}", run.stdout);
}

/// netDevices.name: its name inside.
#[test]
fn they_can_be_renamed() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/netDevices", json!({ "husk0": { "name": "eth0" } }));
    let report = run(&case, &bundle).ok().json();
    assert!(report["interfaces"]["eth0"].is_string(), "{}", report["interfaces"]);
    assert!(report["interfaces"]["husk0"].is_null(), "{}", report["interfaces"]);
}

/// netDevices.name with `%d`: the kernel finds a free name.
#[test]
fn a_template_gives_names_that_are_free() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/linux/netDevices",
        json!({ "husk0": { "name": "net%d" }, "husk2": { "name": "net%d" } }),
    );
    bundle.shell("ip addr show net0; ip link show net1");
    let run = run(&case, &bundle).ok();
    assert!(run.stdout.contains("192.0.2.7/24"), "{}", run.stdout);
}

/// One that does not exist is an error.
#[test]
fn a_missing_one_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/netDevices", json!({ "husk-none": {} }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// Without a network namespace there is nowhere to move to.
#[test]
fn they_need_a_network_namespace() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.without_namespace("network").remove("/mounts/5");
    bundle.set("/linux/netDevices", json!({ "husk0": {} }));
    run(&case, &bundle).refused();
    case.assert_nothing_left();
}

/// netDevices.name: one that the container has is an error, and what has moved
/// by then is on the host again as it was.
#[test]
fn a_name_in_use_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle
        .set("/linux/netDevices", json!({ "husk0": { "name": "x0" }, "husk2": { "name": "lo" } }));
    let run = script(&case, &bundle, "{ \"$@\" && exit 9; ip addr show; }").output().ok();
    assert!(
        run.stdout.contains("192.0.2.7/24 brd 192.0.2.255 scope global husk0"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("husk2"), "{}", run.stdout);
    case.assert_nothing_left();
}

/// runtime.md, Errors: a create that fails leaves the host as it was: virtual
/// devices would end with the container's network namespace.
#[test]
fn they_go_back_when_create_fails() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/linux/netDevices",
        json!({ "husk0": { "name": "eth0" }, "husk2": { "name": "eth%d" } }),
    );
    bundle.args(["/no/such/program"]);
    let run = script(&case, &bundle, "{ \"$@\" && exit 9; ip addr show; }").output().ok();
    for there in
        ["192.0.2.7/24 brd 192.0.2.255 scope global husk0", "2001:db8::7/64", "mtu 1400", "husk2"]
    {
        assert!(run.stdout.contains(there), "{there}: {}", run.stdout);
    }
    let (_, husk2) = run.stdout.split_once("husk2").expect("husk2");
    assert!(!husk2.contains(",UP"), "{}", run.stdout);
    case.assert_nothing_left();
}

/// Namespace Lifecycle and Container Termination: the runtime does not move a
/// device out again; it is the namespace's.
#[test]
fn they_stay_in_a_namespace_that_outlives_the_container() {
    let case = Case::new();
    let holder = case.program("unshare").args(["-n", "sleep", "1000"]).spawn();
    let namespace = format!("/proc/{}/ns/net", holder.pid());
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    while fs::read_link(&namespace).unwrap() == own {
        std::thread::yield_now();
    }
    let mut bundle = case.bundle();
    bundle.namespace("network", Some(&namespace)).to_string();
    bundle.set("/linux/netDevices", json!({ "husk0": { "name": "eth0" } }));
    bundle.args(["/bin/true"]);
    let look = format!(
        "\"$@\" && ip link show | grep -c husk0@; nsenter --net={namespace} ip addr show eth0"
    );
    let run = script(&case, &bundle, &look).output().ok();
    assert!(run.stdout.starts_with("0\n"), "{}", run.stdout);
    assert!(run.stdout.contains("192.0.2.7/24"), "{}", run.stdout);
}

/// husk-oci's own promise: the message names the property and the device.
#[test]
fn the_error_names_the_device() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/netDevices", json!({ "lo": { "name": "lo9" } }));
    let run = run(&case, &bundle).refused();
    assert!(run.stderr.contains("linux.netDevices (lo)"), "{}", run.stderr);
    bundle.set("/linux/netDevices", json!({ "eth%9": {} }));
    let run = case.run(&bundle).refused();
    assert!(run.stderr.contains("linux.netDevices (eth%9)"), "{}", run.stderr);
}
