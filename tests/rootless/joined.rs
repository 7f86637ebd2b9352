//! A user namespace that exists, and namespaces of the host beside a new one.

use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use serde_json::json;

const ROOT: u32 = 1_000_000;

pub(crate) fn add_user_namespace(bundle: &mut Bundle) {
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let maps = json!([{ "containerID": 0, "hostID": ROOT, "size": 65536 }]);
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    husk_tests::user_namespace::give(&bundle.rootfs(""));
}

/// All of the other container's namespaces, as for the containers of a pod.
#[test]
fn a_joined_user_namespace() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut first = case.bundle();
    add_user_namespace(&mut first);
    first.args(["/bin/sleep", "1000"]);
    let holder = case.start(&first);
    let mut second = case.bundle();
    husk_tests::user_namespace::give(&second.rootfs(""));
    for kind in ["user", "ipc", "uts", "network"] {
        let file = if kind == "network" { "net" } else { kind };
        second.namespace(kind, Some(&format!("/proc/{}/ns/{file}", holder.pid())));
    }
    second.set("/hostname", "joined");
    second.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4096" }));
    second.shell(
        "readlink /proc/self/ns/user; id -u; hostname; touch /made; echo >/dev/null
         cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
    );
    let expected = format!(
        "{}\n0\njoined\n1\n4096\n",
        fs::read_link(format!("/proc/{}/ns/user", holder.pid())).unwrap().display()
    );
    assert_eq!(case.print(&second), expected);
}

/// A joined user namespace beside namespaces that belong to the host's: they are
/// joined while the runtime still has its privilege.
#[test]
fn a_joined_user_namespace_beside_the_hosts() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut first = case.bundle();
    add_user_namespace(&mut first);
    first.args(["/bin/sleep", "1000"]);
    let holder = case.start(&first);
    let (_bundle, plain) = case.sleeper();
    let mut second = case.bundle();
    husk_tests::user_namespace::give(&second.rootfs(""));
    second.namespace("user", Some(&format!("/proc/{}/ns/user", holder.pid())));
    second.namespace("uts", Some(&format!("/proc/{}/ns/uts", plain.pid())));
    second.args(["/bin/readlink", "/proc/self/ns/uts"]);
    let uts = fs::read_link(format!("/proc/{}/ns/uts", plain.pid())).unwrap();
    assert_eq!(case.print(&second).trim(), uts.to_string_lossy());
}

/// As an engine does it that makes the network before the container.
#[test]
fn a_new_user_namespace_beside_joined_ones() {
    let case = Case::without_user_namespace("the test adds its own");
    let (_bundle, holder) = case.sleeper();
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    let mut expected = String::new();
    for (kind, file) in [("uts", "uts"), ("network", "net")] {
        let path = format!("/proc/{}/ns/{file}", holder.pid());
        bundle.namespace(kind, Some(&path));
        expected += &format!("{}\n", fs::read_link(&path).unwrap().display());
    }
    let sysfs =
        bundle.config["mounts"].as_array().unwrap().iter().position(|m| m["type"] == "sysfs");
    bundle.config["mounts"].as_array_mut().unwrap().remove(sysfs.unwrap());
    bundle.shell("readlink /proc/self/ns/uts; readlink /proc/self/ns/net; id -u; echo $$");
    expected += "0\n1\n";
    assert_eq!(case.print(&bundle), expected);
    bundle.set("/linux/namespaces/0/path", "/proc/self/ns/uts");
    case.run(&bundle).refused_in_one_line(&["linux.namespaces[0].path", "a namespace of type uts"]);
}

/// A pod with one user namespace and one pid namespace: the procfs is that of the joined one, and
/// what is made belongs to the joined user namespace. Hooks see all but the pid namespace, which
/// is entered after them.
#[test]
fn a_joined_user_namespace_with_its_pid_namespace() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut first = case.bundle();
    add_user_namespace(&mut first);
    first.args(["/bin/sleep", "1000"]);
    let holder = case.start(&first);
    let mut second = case.bundle();
    husk_tests::user_namespace::give(&second.rootfs(""));
    for kind in ["user", "pid", "ipc", "uts", "network"] {
        let file = if kind == "network" { "net" } else { kind };
        second.namespace(kind, Some(&format!("/proc/{}/ns/{file}", holder.pid())));
    }
    let log = case.path("hook");
    fs::write(&log, "").unwrap();
    std::os::unix::fs::chown(&log, Some(ROOT), Some(ROOT)).unwrap();
    let hook = format!("readlink /proc/self/ns/uts >{}", log.display());
    let args = json!(["sh", "-c", hook]);
    second.set("/hooks/createContainer", json!([{ "path": "/bin/sh", "args": args }]));
    second.shell(
        "readlink /proc/self/ns/user; readlink /proc/self/ns/pid; id -u; cat /proc/1/comm; touch /made
         read stat </proc/self/stat; set -- $stat; [ $1 = $$ ] && echo own",
    );
    let link = |kind| fs::read_link(format!("/proc/{}/ns/{kind}", holder.pid())).unwrap();
    let expected =
        format!("{}\n{}\n0\nsleep\nown\n", link("user").display(), link("pid").display());
    assert_eq!(case.print(&second), expected);
    assert_eq!(fs::read_to_string(&log).unwrap().trim(), link("uts").to_string_lossy());
    // It joined: it has not ended with the namespace's first process.
    assert_eq!(holder.status(), "running");
}

/// A pid namespace of the host's beside a new user namespace, and beside a joined one. Hooks would
/// be in it with the host's root, so there can be none.
#[test]
fn a_pid_namespace_of_the_hosts_beside_a_user_namespace() {
    let case = Case::without_user_namespace("the test adds its own");
    let (_bundle, plain) = case.sleeper();
    let mut other = case.bundle();
    add_user_namespace(&mut other);
    other.args(["/bin/sleep", "1000"]);
    let holder = case.start(&other);
    for joins in [false, true] {
        let mut bundle = case.bundle();
        match joins {
            false => add_user_namespace(&mut bundle),
            true => {
                husk_tests::user_namespace::give(&bundle.rootfs(""));
                bundle.namespace("user", Some(&format!("/proc/{}/ns/user", holder.pid())));
            }
        }
        bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", plain.pid())));
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "proc");
        bundle.bind(std::path::Path::new("/proc"), "/proc", &["rbind"]);
        bundle.shell("readlink /proc/self/ns/pid; id -u");
        let pid = fs::read_link(format!("/proc/{}/ns/pid", plain.pid())).unwrap();
        assert_eq!(case.print(&bundle), format!("{}\n0\n", pid.display()), "joins: {joins}");
        bundle.set("/hooks/createContainer", json!([{ "path": "/bin/true" }]));
        case.run(&bundle).refused_in_one_line(&["hooks.createContainer[0]", "pid namespace"]);
    }
}

/// A new sysfs is its network namespace's owner's: the message says so.
#[test]
fn a_sysfs_of_another_network_namespace() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    bundle.without_namespace("network");
    case.run(&bundle).refused_in_one_line(&["sysfs on /sys", "bind /sys"]);
}
