//! The systemd driver against a real systemd: the host's, or else a user
//! manager of our own in a private mount namespace with a pure v2 layout.
#![allow(clippy::unwrap_used, reason = "a test's failure")]

mod host;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use host::{Host, Sleeper, host_of_root, skip, systemctl};
use husk_cgroup::{Error, Manager, Request, plan};

const MANAGER: &str = "/lib/systemd/systemd";
const OURS: &str = "HUSK_OWN_SYSTEMD";

/// Runs this program again beside a manager of its own.
const START: &str = r#"
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run/systemd && mkdir /run/systemd/system
home=/sys/fs/cgroup/husk-test-systemd-$$
mkdir $home && echo $$ > $home/cgroup.procs
export XDG_RUNTIME_DIR=$(mktemp -d)
unset DBUS_SESSION_BUS_ADDRESS
$MANAGER --user --log-target=null &
manager=$!
for i in $(seq 100); do [ -S $XDG_RUNTIME_DIR/systemd/private ] && break; sleep 0.1; done
"$@"
status=$?
kill $manager; wait $manager
echo $$ > /sys/fs/cgroup/cgroup.procs
echo 1 > $home/cgroup.kill
for i in $(seq 100); do
    find $home -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d $home ] || break
    sleep 0.05
done
rm -rf $XDG_RUNTIME_DIR
exit $status
"#;

/// The host, if a manager is at hand; and whether that is a user's own.
fn managed(name: &str) -> Option<(Host, bool)> {
    let host = Host::new(name);
    if std::env::var_os(OURS).is_some() {
        return Some((host, true));
    }
    let root = rustix::process::geteuid().is_root();
    let socket = match root {
        true => "/run/systemd/private".to_owned(),
        false => format!("{}/systemd/private", std::env::var("XDG_RUNTIME_DIR").ok()?),
    };
    if !Path::new(&socket).exists() {
        skip(&format!("no manager at {socket}"));
        return None;
    }
    Some((host, !root))
}

fn show(user: bool, unit: &str, property: &str) -> String {
    let output =
        systemctl(user).args(["show", "--value", "--property", property, unit]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn own_manager() {
    if std::env::var_os(OURS).is_some() || host_of_root("systemd").is_none() {
        return;
    }
    if Path::new("/run/systemd/private").exists() {
        return skip("the host's own systemd is asked");
    }
    if !Path::new(MANAGER).exists() {
        return skip("systemd is not installed");
    }
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", START, "systemd"])
        .arg(std::env::current_exe().unwrap())
        .env(OURS, "1")
        .env("MANAGER", MANAGER)
        .status()
        .unwrap();
    assert!(status.success(), "the tests fail with a manager of our own");
}

#[test]
fn a_scope_lives_with_its_container() {
    let Some((host, user)) = managed("scope") else { return };
    let annotations = BTreeMap::from([(
        "org.systemd.property.Description".to_owned(),
        "'of our own choice'".to_owned(),
    )]);
    let request = Request {
        manager: Manager::Systemd,
        cgroups_path: Some("husktest-a.slice:husktest:scope"),
        annotations: &annotations,
        rootless: user,
        ..host.request()
    };
    let unit = "husktest-scope.scope";
    let mut cgroup = plan(&request, &host.layout).unwrap().create().unwrap();
    let v2 = cgroup.v2.clone().unwrap_or_else(|| cgroup.v1[0].path.clone());
    assert!(v2.ends_with("husktest.slice/husktest-a.slice/husktest-scope.scope"), "{v2:?}");
    assert_eq!(show(user, unit, "ActiveState"), "active");
    assert_eq!(show(user, unit, "Description"), "of our own choice");
    assert_eq!(show(user, unit, "Delegate"), "yes");

    let again = plan(&request, &host.layout).unwrap().create().unwrap_err();
    assert!(matches!(&again, Error::Systemd { .. }), "{again}");
    assert!(again.to_string().contains("already"), "{again}");
    assert_eq!(show(user, unit, "ActiveState"), "active", "the failure took the first one away");

    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    // What keeps the scope alive is in the hierarchies alone that systemd has.
    let all = if host.layout.v2.is_some() { 2 } else { 1 };
    assert_eq!(cgroup.processes().unwrap().len(), all);
    cgroup.entered();
    assert_eq!(cgroup.processes().unwrap(), [sleeper.pid()]);
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert_eq!(sleeper.signal(), Some(9));
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
    assert_eq!(show(user, unit, "ActiveState"), "inactive");
    cgroup.remove().unwrap();
    assert!(systemctl(user).args(["stop", "husktest.slice"]).status().unwrap().success());
}

#[test]
fn limits_are_systemds_too() {
    let Some((host, user)) = managed("scope-limits") else { return };
    let json = r#"{"pids":{"limit":50},"memory":{"limit":33554432},"cpu":{"shares":2000}}"#;
    let Some(resources) = host.resources(json) else {
        return skip(&host.layout.describe());
    };
    let request = Request {
        manager: Manager::Systemd,
        resources: Some(&resources),
        rootless: user,
        ..host.request()
    };
    let mut cgroup = plan(&request, &host.layout).unwrap().create().unwrap();
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    cgroup.entered();
    let unit = cgroup.unit.clone().unwrap().name;
    assert_eq!(show(user, &unit, "TasksMax"), "50");
    assert_eq!(host::file(&cgroup, ("pids", "pids.max"), "pids.max"), "50");
    let update = serde_json::from_str(r#"{"pids":{"limit":60}}"#).unwrap();
    cgroup.update(&update).unwrap();
    assert_eq!(show(user, &unit, "TasksMax"), "60");
    assert_eq!(host::file(&cgroup, ("pids", "pids.max"), "pids.max"), "60");
    if host.layout.v1.is_empty() {
        assert_eq!(show(user, &unit, "MemoryMax"), "33554432");
        assert_eq!(show(user, &unit, "CPUWeight"), "170");
        let wrong = r#"{"pids":{"limit":70},"cpu":{"cpus":"4000"}}"#;
        cgroup.update(&serde_json::from_str(wrong).unwrap()).unwrap_err();
        assert_eq!(show(user, &unit, "TasksMax"), "60");
    }
    cgroup.kill_all().unwrap();
    drop(sleeper);
    cgroup.remove().unwrap();
    assert_eq!(show(user, &unit, "ActiveState"), "inactive");
}

#[test]
fn an_unknown_property_is_refused_and_leaves_nothing() {
    let Some((host, user)) = managed("scope-unknown") else { return };
    let annotations =
        BTreeMap::from([("org.systemd.property.NoSuchThing".to_owned(), "true".to_owned())]);
    let request = Request {
        manager: Manager::Systemd,
        annotations: &annotations,
        rootless: user,
        ..host.request()
    };
    let error = plan(&request, &host.layout).unwrap().create().unwrap_err().to_string();
    assert!(error.contains("NoSuchThing") && error.contains("StartTransientUnit"), "{error}");
    let unit = "husk-test-scope-unknown.scope";
    assert_eq!(show(user, unit, "ActiveState"), "inactive");
}
