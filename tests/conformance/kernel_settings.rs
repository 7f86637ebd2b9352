//! config.md, Hostname, Domainname, Annotations; config-linux.md, Sysctl,
//! cgroupsPath.

use std::fs;

use husk_tests::case::Case;
use husk_tests::host;
use serde_json::json;

/// config.md, hostname.
#[test]
fn hostname_is_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hostname", "husk-host");
    assert_eq!(case.report(&bundle)["hostname"], "husk-host");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "husk-host");
}

/// config.md, domainname.
#[test]
fn domainname_is_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/domainname", "husk.example");
    assert_eq!(case.report(&bundle)["domainname"], "husk.example");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/domainname").unwrap().trim(), "husk.example");
}

/// config.md, hostname: without a UTS namespace it would be the host's.
#[test]
fn a_hostname_needs_a_uts_namespace() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/hostname", "husk-host").without_namespace("uts");
    case.run(&bundle).refused();
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "husk-host");
    case.assert_nothing_left();
}

/// config.md, domainname: likewise.
#[test]
fn a_domainname_needs_a_uts_namespace() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/domainname", "husk.example").without_namespace("uts");
    case.run(&bundle).refused();
    assert_ne!(fs::read_to_string("/proc/sys/kernel/domainname").unwrap().trim(), "husk.example");
    case.assert_nothing_left();
}

/// config-linux.md, sysctl: of the network and IPC namespaces.
#[test]
fn sysctls_are_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/linux/sysctl",
        json!({
            "net.ipv4.ip_forward": "1",
            "net.core.somaxconn": "256",
            "kernel.shm_rmid_forced": "1",
            "kernel.msgmax": "4242",
            "fs.mqueue.msg_max": "11",
        }),
    );
    bundle.shell(
        "cd /proc/sys; cat net/ipv4/ip_forward net/core/somaxconn kernel/shm_rmid_forced \
         kernel/msgmax fs/mqueue/msg_max",
    );
    assert_eq!(case.print(&bundle), "1\n256\n1\n4242\n11\n");
}

/// config-linux.md, sysctl: slashes may stand for the dots, so that names with
/// dots of their own can be written (sysctl(8)).
#[test]
fn sysctls_may_be_written_with_slashes() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/sysctl", json!({ "net/ipv4/conf/lo/forwarding": "1" }));
    bundle.args(["/bin/cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]);
    assert_eq!(case.print(&bundle), "1\n");
}

/// config-linux.md, sysctl: what no namespace of the container owns would
/// change the host.
#[test]
fn a_sysctl_of_the_host_is_an_error() {
    let case = Case::new();
    for (key, namespace) in [
        ("kernel.pid_max", None),
        ("vm.swappiness", None),
        ("fs.file-max", None),
        ("net.ipv4.ip_forward", Some("network")),
        ("kernel.msgmax", Some("ipc")),
        ("fs.mqueue.msg_max", Some("ipc")),
        ("kernel.domainname", Some("uts")),
    ] {
        let mut bundle = case.bundle();
        if let Some(namespace) = namespace {
            bundle.without_namespace(namespace);
        }
        bundle.remove("/mounts/5").remove("/mounts/4");
        // The value that is there already, should a runtime write it after all.
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = fs::read_to_string(&path).unwrap_or_default();
        bundle.set("/linux/sysctl", json!({ key: value.trim() }));
        let run = case.run(&bundle);
        assert!(!run.status.success(), "{key} was accepted");
    }
    case.assert_nothing_left();
}

/// config-linux.md, sysctl: one the kernel does not have is an error.
#[test]
fn an_unknown_sysctl_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/sysctl", json!({ "net.ipv4.banana": "1" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, sysctl: a value the kernel refuses is an error.
#[test]
fn a_sysctl_value_the_kernel_refuses_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "banana" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config-linux.md, cgroupsPath: in every hierarchy the runtime uses.
#[test]
fn cgroups_path_places_the_container() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let cgroup = container.proc("cgroup");
    let by_systemd = husk_tests::runtime::by_systemd();
    let wanted = match by_systemd {
        true => format!("/system.slice/husk-{}.scope", bundle.id()),
        false => format!(":/{}", bundle.id()),
    };
    // crun is tested on cgroup v2 alone, whose line has no controllers.
    let v2_only = husk_tests::runtime::name() == "crun";
    for line in cgroup.lines().filter(|line| !v2_only || line.starts_with("0::")) {
        assert!(line.ends_with(&wanted), "{line}");
    }
}

/// config-linux.md, cgroupsPath: a path of several levels.
#[test]
fn cgroups_path_may_have_several_levels() {
    let case = Case::new();
    let mut bundle = case.bundle();
    if husk_tests::runtime::by_systemd() {
        // Below the slice there is one level, the scope.
        let path = format!("/{}/a/b", bundle.id());
        bundle.set("/linux/cgroupsPath", path.as_str()).args(["/bin/true"]);
        case.run(&bundle).refused_in_one_line(&["linux.cgroupsPath", "slice:prefix"]);
        return;
    }
    let path = format!("/{}/a/b", bundle.id());
    bundle.set("/linux/cgroupsPath", path.as_str());
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    assert!(container.proc("cgroup").contains(&path));
    container.stop();
    container.delete();
    // The last level is the container's; those above may be others' too.
    for cgroup in host::cgroups_named(case.marker()) {
        assert!(!cgroup.ends_with("b"), "{} is left", cgroup.display());
        fs::remove_dir(cgroup).unwrap();
    }
}

/// config-linux.md, cgroupsPath: without one the runtime finds a place, of the
/// container's own.
#[test]
fn without_cgroups_path_the_container_still_has_its_own() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.remove("/linux/cgroupsPath").args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let cgroup = container.proc("cgroup");
    assert!(cgroup.contains(bundle.id()), "{cgroup}");
}

/// config-linux.md, cgroupsPath: `..` must not lead out of the hierarchy.
#[test]
fn a_cgroups_path_with_dots_does_not_leave_the_hierarchy() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let path = format!("/../../../tmp/{}", bundle.id());
    bundle.set("/linux/cgroupsPath", path.as_str()).args(["/bin/true"]);
    // Refused or kept inside, both are right.
    case.run(&bundle);
    let outside = fs::remove_dir(std::path::Path::new("/tmp").join(bundle.id()));
    for cgroup in host::cgroups_named(case.marker()) {
        fs::remove_dir(&cgroup).unwrap();
    }
    for hierarchy in host::cgroup_hierarchies() {
        // Only empty, hence only what this test made.
        let _ = fs::remove_dir(hierarchy.join("tmp"));
    }
    assert!(outside.is_err(), "a directory was made outside of the hierarchies");
}

/// config.md, annotations: any keys, also unknown ones, are no error.
#[test]
fn annotations_are_in_the_state() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let annotations = json!({ "com.example.a": "", "org.example/b": "ünï \"quoted\"" });
    bundle.set("/annotations", annotations.clone());
    let container = case.create(&bundle);
    assert_eq!(container.state()["annotations"], annotations);
}

/// config.md, annotations: values are strings.
#[test]
fn an_annotation_that_is_no_string_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/annotations", json!({ "key": 5 }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}
