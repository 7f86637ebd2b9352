//! From a running container to files and back.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use husk_tests::case::path_text;
use husk_tests::console::{DescriptorSocket, Master};
use husk_tests::event::until;
use husk_tests::runtime;
use serde_json::json;

use super::{Kit, count, counter, until_above};

/// The program goes on from where it was, and the container is one as any other.
#[test]
fn a_counter_goes_on() {
    let Some(kit) = Kit::new() else { return };
    let bundle = counter(&kit.case);
    let container = kit.case.start(&bundle);
    until_above(&bundle, 3);
    kit.checkpoint(bundle.id());
    assert!(container.process().exited());
    assert!(kit.case.kept_ids().is_empty(), "checkpoint deletes the container");
    let stopped = count(&bundle);
    assert!(stopped > 3);
    let restored = kit.restore(&bundle, &[]);
    until_above(&bundle, stopped);
    assert!(count(&bundle) < stopped + 1000, "it has begun anew");
    assert_eq!(restored.status(), "running");
    let seen = restored.exec(&[], &["/bin/cat", "/tmp/n", "/proc/1/cmdline"]).ok();
    assert!(seen.stdout.contains("while"), "{}", seen.stdout);
    // Its clocks go on as well: exec is under the same ones.
    let clock = restored.exec(&[], &["/bin/readlink", "/proc/self/ns/time"]).ok();
    let first = fs::read_link(format!("/proc/{}/ns/time", restored.pid())).unwrap();
    assert_eq!(clock.text(), path_text(&first));
    let paused = kit.case.on("pause", bundle.id());
    paused.ok();
    assert_eq!(restored.status(), "paused");
    kit.case.on("resume", bundle.id()).ok();
    restored.stop();
    assert_eq!(restored.status(), "stopped");
    restored.delete();
}

/// `HUSK_CHECKPOINT_ROUNDS` times in a row.
#[test]
fn back_and_forth() {
    let Some(kit) = Kit::new() else { return };
    let rounds = std::env::var("HUSK_CHECKPOINT_ROUNDS");
    let rounds: usize = rounds.map_or(3, |rounds| rounds.parse().unwrap());
    let bundle = counter(&kit.case);
    let mut container = kit.case.start(&bundle);
    for _ in 0..rounds {
        let before = count(&bundle);
        until_above(&bundle, before);
        kit.checkpoint(bundle.id());
        container = kit.restore(&bundle, &[]);
        fs::remove_dir_all(kit.images()).unwrap();
    }
    let before = count(&bundle);
    until_above(&bundle, before);
    container.stop();
    container.delete();
}

/// A child that nobody has waited for is restored as one, and is in no cgroup's list.
#[test]
fn a_zombie_is_no_process_outside_the_cgroup() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    bundle.shell("exec >/dev/null 2>&1; /bin/true & exec /bin/sleep 1000");
    let container = kit.case.start(&bundle);
    let zombie = |pid: i32| {
        let child = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = child.unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    until("the child is a zombie", || zombie(container.pid()));
    kit.checkpoint(bundle.id());
    let restored = kit.restore(&bundle, &[]);
    assert_eq!(restored.status(), "running");
    assert!(zombie(restored.pid()));
    restored.stop();
    restored.delete();
}

/// `--leave-running`, also of a paused container, and `--work-path`.
#[test]
fn a_container_may_go_on() {
    let Some(kit) = Kit::new() else { return };
    let bundle = counter(&kit.case);
    let container = kit.case.start(&bundle);
    until_above(&bundle, 1);
    let work = kit.case.path("work");
    kit.checkpointing(bundle.id(), &["--leave-running", "--work-path", path_text(&work)]).ok();
    assert!(work.join("dump.log").exists());
    assert_eq!(container.status(), "running");
    let before = count(&bundle);
    until_above(&bundle, before);
    kit.case.on("pause", bundle.id()).ok();
    fs::remove_dir_all(kit.images()).unwrap();
    kit.checkpointing(bundle.id(), &["--leave-running"]).ok();
    assert_eq!(container.status(), "paused");
    container.stop();
    container.delete();
    let restored = kit.restore(&bundle, &[]);
    let before = count(&bundle);
    until_above(&bundle, before);
    restored.stop();
    restored.delete();
}

/// Limits, id and hooks are those of the configuration at restore.
#[test]
fn restore_makes_the_container_anew() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = counter(&kit.case);
    kit.case.start(&bundle);
    until_above(&bundle, 1);
    kit.checkpoint(bundle.id());
    let log = kit.case.path("hooks");
    let hook = |kind: &str| {
        let script = format!("cat >/dev/null; echo {kind} >>{}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle.set(&format!("/hooks/{kind}"), hook(kind));
    }
    bundle.set("/linux/resources/pids/limit", 77);
    bundle.write();
    let restored = kit.restore(&bundle, &[]);
    let cgroup = restored.proc("cgroup");
    assert!(
        cgroup.lines().all(|line| line.starts_with("0:") || line.contains(bundle.id())),
        "{cgroup}"
    );
    let limit = husk_tests::host::cgroup_hierarchies()
        .iter()
        .map(|mount| mount.join(bundle.id()).join("pids.max"))
        .find_map(|path| fs::read_to_string(path).ok());
    assert_eq!(limit.as_deref(), Some("77\n"));
    restored.stop();
    restored.delete();
    assert_eq!(fs::read_to_string(log).unwrap(), "prestart\ncreateRuntime\npoststart\npoststop\n");
}

/// Bind mounts come from where the configuration has them now.
#[test]
fn bind_mounts_come_from_the_configuration() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    let (old, new) = (kit.case.directory("old"), kit.case.directory("new"));
    bundle.shell("exec >/dev/null 2>&1; while :; do cat /data/in >/tmp/seen; sleep 0.02; done");
    let index = bundle.bind(&old, "/data", &["rbind", "ro"]);
    fs::write(old.join("in"), "old\n").unwrap();
    fs::write(new.join("in"), "new\n").unwrap();
    kit.case.start(&bundle);
    let seen = |what: &str| {
        until("the file is seen", || {
            fs::read_to_string(bundle.rootfs("tmp/seen")).is_ok_and(|text| text == what)
        });
    };
    seen("old\n");
    kit.checkpoint(bundle.id());
    let mut moved = bundle.clone();
    moved.set(&format!("/mounts/{index}/source"), path_text(&new));
    moved.write();
    let restored = kit.restore(&moved, &[]);
    seen("new\n");
    restored.exec(&[], &["/bin/touch", "/data/x"]).output().refused();
    restored.stop();
    restored.delete();
}

/// A network namespace that is joined by its path outlives the container.
#[test]
fn a_network_namespace_by_its_path() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = counter(&kit.case);
    let mut holder =
        Command::new("unshare").args(["-n", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    until("a network namespace", || fs::read_link(&path).is_ok_and(|link| link != own));
    bundle.namespace("network", Some(&path));
    kit.case.start(&bundle);
    until_above(&bundle, 1);
    kit.checkpoint(bundle.id());
    let restored = kit.restore(&bundle, &[]);
    let joined = fs::read_link(format!("/proc/{}/ns/net", restored.pid())).unwrap();
    assert_eq!(joined, fs::read_link(&path).unwrap());
    let before = count(&bundle);
    until_above(&bundle, before);
    restored.stop();
    restored.delete();
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// Standard streams that are pipes are those of `restore`.
#[test]
fn streams_that_are_pipes() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    bundle.shell("while read line; do echo got $line; done");
    bundle.write();
    let spawn = |command: &str, flags: &[&str]| {
        let mut program = Command::new(runtime::path());
        program.arg("--root").arg(kit.case.state_root()).arg("--criu").arg(&kit.criu);
        program.arg(command).args(flags).args(["--bundle", path_text(bundle.dir()), bundle.id()]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        program.spawn().unwrap()
    };
    let mut first = spawn("run", &[]);
    let mut input = first.stdin.take().unwrap();
    let mut output = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    input.write_all(b"one\n").unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "got one\n");
    kit.checkpoint(bundle.id());
    first.wait().unwrap();
    let images = kit.images();
    let mut second = spawn("restore", &["--image-path", path_text(&images)]);
    let mut input = second.stdin.take().unwrap();
    let mut output = BufReader::new(second.stdout.take().unwrap());
    input.write_all(b"two\n").unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "got two\n");
    drop(input);
    // In the foreground, restore ends with the program, and as it does.
    assert_eq!(second.wait().unwrap().code(), Some(0));
}

/// The terminal goes to the console socket, and works both ways.
#[test]
fn a_program_with_a_terminal() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    bundle.set("/process/terminal", true);
    bundle.shell("while read line; do echo got $line; done");
    let socket = DescriptorSocket::listen(&kit.case.path("console"));
    let container = kit.case.create_with(&bundle, &["--console-socket", path_text(socket.path())]);
    let master = Master::new(socket.receive());
    container.start();
    master.write("one\r");
    master.read_until("got one");
    kit.checkpoint(bundle.id());
    drop(master);
    let socket = DescriptorSocket::listen(&kit.case.path("again"));
    let flags = ["--console-socket", path_text(socket.path())];
    let restored = kit.restore(&bundle, &flags);
    let master = Master::new(socket.receive());
    master.write("two\r");
    master.read_until("got two");
    restored.stop();
    restored.delete();
}

/// What this kernel or this host cannot do is named.
#[test]
fn what_cannot_be_done_is_named() {
    let Some(kit) = Kit::new() else { return };
    let bundle = counter(&kit.case);
    let container = kit.case.start(&bundle);
    until_above(&bundle, 1);
    let missing = kit.case.runtime().args(["--criu", "/nonexistent/criu", "checkpoint"]);
    missing.arg(bundle.id()).output().refused_in_one_line(&[
        "/nonexistent/criu",
        "package criu",
        "3.16",
    ]);
    let predump = kit.checkpointing(bundle.id(), &["--pre-dump"]).output();
    if predump.status.success() {
        fs::remove_dir_all(kit.images()).unwrap();
    } else {
        predump.refused_in_one_line(&["--pre-dump", "CONFIG_MEM_SOFT_DIRTY"]);
    }
    for (flags, words) in [
        (&["--parent-path", "/abs"][..], &["--parent-path"][..]),
        (&["--manage-cgroups-mode", "some"], &["--manage-cgroups-mode", "soft, full, strict"]),
        (&["--page-server", "nowhere"], &["--page-server", "ADDRESS:PORT"]),
        (&["--empty-ns", "mount"], &["--empty-ns", "only network"]),
        (&["--status-fd", "99"], &["--status-fd"]),
        (&["--pre-dump", "--lazy-pages"], &["--pre-dump"]),
    ] {
        kit.checkpointing(bundle.id(), flags).output().refused_in_one_line(words);
        assert!(!kit.images().exists(), "{flags:?}");
    }
    assert_eq!(container.status(), "running");
    container.stop();
    kit.checkpointing(bundle.id(), &[])
        .output()
        .refused_in_one_line(&["only a running", "stopped"]);
    container.delete();
}
