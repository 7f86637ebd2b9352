//! Networks at the command line: whose names and files a container has, and what lasts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::{Done, Engine, engine};

fn run(engine: &Engine, network: &[&str], rest: &[&str]) -> Done {
    engine.run(&[&["run", "--rm"], network, &["bb"], rest].concat())
}

#[test]
fn files_follow_whose_network_it_is() {
    let engine = engine!(with_network);
    // The host's file and nothing else.
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let shown = run(&engine, &["--network", "host"], &["cat", "/etc/hosts"]);
    assert_eq!((shown.code, &shown.out), (0, &hosts), "{shown:?}");
    let added =
        run(&engine, &["--network", "host", "--add-host", "db:10.9.8.7"], &["cat", "/etc/hosts"]);
    assert_eq!(added.out.strip_prefix(&*hosts).unwrap().trim(), "10.9.8.7\tdb", "{added:?}");
    // Another container's.
    engine.ok(&["run", "-d", "--name", "web", "--hostname", "front", "bb", "sleep", "600"]);
    let files = ["cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    let own = engine.ok(&[&["exec", "web"], &files[..]].concat());
    let joined = run(&engine, &["--network", "container:web"], &files);
    assert_eq!(joined.out.trim(), own.trim(), "{joined:?}");
    let name = run(&engine, &["--network", "container:web"], &["hostname"]);
    assert_eq!(name.out.trim(), "front", "{name:?}");
    for flag in [["--hostname", "x"], ["--add-host", "a:10.0.0.1"], ["--dns", "10.0.0.1"]] {
        let flags = [&["--network", "container:web"][..], &flag].concat();
        let refused = run(&engine, &flags, &["true"]);
        assert_eq!(refused.code, 125, "{refused:?}");
        assert!(
            refused.err.contains("cannot be combined with --network container:"),
            "{refused:?}"
        );
    }
    engine.ok(&["rm", "-f", "web"]);
    engine.assert_nothing_left();
}

#[test]
fn ports_without_a_network_of_its_own_are_discarded() {
    let engine = engine!(with_network);
    for mode in ["host", "none"] {
        let done = run(&engine, &["--network", mode, "-p", "8080:80"], &["echo", "ran"]);
        assert_eq!((done.code, done.out.trim()), (0, "ran"), "{done:?}");
        let warning = format!("Published ports are discarded when using {mode} network mode");
        assert!(done.err.contains(&warning), "{done:?}");
    }
    engine.assert_nothing_left();
}

#[test]
fn stopped_containers_are_connected_and_disconnected() {
    let engine = engine!(with_network);
    engine.ok(&["network", "create", "--subnet", "10.77.0.0/24", "app"]);
    engine.ok(&["create", "--name", "st", "bb", "sleep", "600"]);
    engine.ok(&["network", "connect", "--ip", "10.77.0.9", "app", "st"]);
    let again = engine.run(&["network", "connect", "app", "st"]);
    assert!(again.err.contains("is already connected to network app"), "{again:?}");
    let wrong = engine.run(&["network", "connect", "--ip", "10.1.1.1", "app", "st"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    engine.ok(&["network", "disconnect", "bridge", "st"]);
    for _ in 0..2 {
        engine.ok(&["start", "st"]);
        let addresses = engine.ok(&["exec", "st", "ip", "-4", "-o", "addr"]);
        assert!(addresses.contains("10.77.0.9/24"), "{addresses}");
        assert!(!addresses.contains("eth1"), "{addresses}");
        engine.ok(&["stop", "-t", "0", "st"]);
    }
    // What a running one is connected to lasts, too.
    engine.ok(&["start", "st"]);
    engine.ok(&["network", "connect", "bridge", "st"]);
    engine.ok(&["restart", "-t", "0", "st"]);
    let addresses = engine.ok(&["exec", "st", "ip", "-4", "-o", "addr"]);
    assert!(addresses.contains("eth1"), "{addresses}");
    let used = engine.run(&["network", "rm", "app"]);
    assert!(used.err.contains("network app is used by st"), "{used:?}");
    engine.ok(&["rm", "-f", "st"]);
    engine.ok(&["network", "rm", "app"]);
    let names = engine.ok(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"]);
    assert_eq!(names, "bridge bridge\nhost host\nnone null");
    let inspected = engine.ok(&["network", "inspect", "-f", "{{.Driver}}", "host", "none"]);
    assert_eq!(inspected, "host\nnull");
    assert_eq!(engine.run(&["network", "rm", "host"]).code, 1);
    engine.assert_nothing_left();
}

#[test]
fn containers_find_each_other_by_name() {
    let engine = engine!(with_network);
    engine.ok(&["network", "create", "app"]);
    let db = ["run", "-d", "--name", "db", "--network", "app", "--network-alias", "sql"];
    engine.ok(&[&db[..], &["--hostname", "dbhost", "bb", "sleep", "600"]].concat());
    let address = engine.inspect("db", "{{(index .NetworkSettings.Networks \"app\").IPAddress}}");
    for name in ["db", "sql", "dbhost", "SQL", "db.app"] {
        let found = run(&engine, &["--network", "app"], &["busybox", "nslookup", name]);
        assert!(found.out.contains(&address), "{name}: {found:?}");
    }
    engine.ok(&["rm", "-f", "db"]);
    engine.ok(&["network", "rm", "app"]);
    engine.assert_nothing_left();
}

#[test]
fn a_start_that_fails_leaves_the_hosts_settings() {
    let engine = engine!(with_network);
    let setting = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";
    let before = engine.beside(setting).out;
    assert_eq!(engine.run(&["run", "--rm", "bb", "/nowhere"]).code, 127);
    assert_eq!(engine.beside(setting).out, before);
    engine.assert_nothing_left();
}
