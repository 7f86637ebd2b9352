//! Checkpoints as archives and as images, and archives that somebody else has made. CRIU is the
//! program that the variable CRIU names, or the one in PATH; where `criu check` says that it cannot
//! work here, the tests that need it say so and pass.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod support;

use std::process::Command;

use support::criu::{ok, run, search_path};
use support::{Engine, Mounted, engine, skip, wait_for};

fn refused(engine: &Engine, path: &str, arguments: &[&str], why: &str) {
    let done = run(engine, path, arguments);
    assert!(done.code != 0 && done.err.contains(why), "{arguments:?}: {}", done.err);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
}

const JOB: &str = "echo x >/data/v; echo y >/new; /bin/busybox rm /bin/wget; i=0; \
    while :; do i=$((i+1)); echo $i >/n; sleep 0.02; done";

fn count(engine: &Engine, name: &str) -> u64 {
    let done = engine.run(&["exec", name, "cat", "/n"]);
    done.out.trim().parse().unwrap_or(0)
}

fn goes_on(engine: &Engine, name: &str, from: u64) {
    wait_for("the counter goes on", || count(engine, name) > from);
    assert!(count(engine, name) < from + 3000, "it has begun anew");
}

/// An archive of one engine's becomes a container of another's, with another name.
#[test]
fn an_archive_goes_to_another_engine() {
    let (engine, other) = (engine!(with_network), engine!(with_network));
    let Some(path) = search_path() else { return skip("no criu that works here") };
    let path = path.as_str();
    // The same image: its config says when it was made.
    let image = engine.path("image.tar").display().to_string();
    engine.ok(&["save", "-o", &image, "bb"]);
    other.ok(&["load", "-i", &image]);
    engine.ok(&["run", "-d", "--name", "job", "-v", "data:/data", "bb", "sh", "-c", JOB]);
    wait_for("it runs", || count(&engine, "job") > 3);
    let archive = engine.path("job.tar").display().to_string();
    let nowhere = ["container", "checkpoint", "--export", "/nonexistent/x.tar", "job"];
    refused(&engine, path, &nowhere, "No such file or directory");
    // A file system that is full when the archive is written: the container goes on.
    let small = engine.path("small").display().to_string();
    std::fs::create_dir(&small).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=64k", "husk-small", &small];
    assert!(Command::new("mount").args(mount).status().unwrap().success());
    let mounted = Mounted(small.clone());
    let (file, before) = (format!("{small}/job.tar"), count(&engine, "job"));
    let full = ["container", "checkpoint", "-c", "none", "--export", &file, "job"];
    refused(&engine, path, &full, "No space left on device");
    assert_eq!(std::fs::read_dir(&small).unwrap().count(), 0);
    drop(mounted);
    goes_on(&engine, "job", before);
    assert_eq!(engine.inspect("job", "{{.State.Status}}"), "running");
    let before = count(&engine, "job");
    assert_eq!(ok(&engine, path, &["container", "checkpoint", "-e", &archive, "job"]), "job\n");
    assert_eq!(engine.inspect("job", "{{.State.Status}}"), "exited");
    let mode = std::fs::metadata(&archive).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    let import = ["container", "restore", "--import", &archive, "--name", "moved"];
    ok(&other, path, &import);
    goes_on(&other, "moved", before);
    assert_eq!(other.ok(&["exec", "moved", "cat", "/data/v", "/new"]), "x\ny");
    assert!(other.run(&["exec", "moved", "ls", "/bin/wget"]).code != 0, "a removed file is there");
    let again = ["container", "restore", "--import", &archive, "--name", "third"];
    refused(&other, path, &again, "volume data is there already");
    other.ok(&["rm", "-f", "moved"]);
    other.ok(&["volume", "rm", "data"]);
    let without = ["container", "restore", "--import", &archive, "--ignore-volumes"];
    refused(&other, path, &without, "no such volume: data");
    other.assert_nothing_left();
    // Bytes that are cut off.
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    assert!(run(&other, path, &import).code != 0);
    other.assert_nothing_left();
    engine.ok(&["rm", "job"]);
    engine.ok(&["volume", "rm", "data"]);
    engine.assert_nothing_left();
}

/// New containers start from an image, as often as one likes.
#[test]
fn containers_start_from_a_checkpoint_image() {
    let engine = engine!(with_network);
    let Some(path) = search_path() else { return skip("no criu that works here") };
    let path = path.as_str();
    let job = JOB.replace("/data/v", "/v");
    engine.ok(&["run", "-d", "--name", "job", "bb", "sh", "-c", &job]);
    wait_for("it runs", || count(&engine, "job") > 3);
    ok(&engine, path, &["container", "checkpoint", "--create-image", "warm", "-R", "job"]);
    assert_eq!(engine.inspect("job", "{{.State.Status}}"), "running");
    for name in ["one", "two"] {
        ok(&engine, path, &["run", "-d", "--from-checkpoint", "--name", name, "warm"]);
        goes_on(&engine, name, 3);
    }
    let address = |name| engine.inspect(name, "{{.NetworkSettings.IPAddress}}");
    assert!(address("one") != address("two") && address("one") != address("job"));
    let from = ["run", "-d", "--from-checkpoint"];
    refused(&engine, path, &[&from[..], &["warm", "ls"]].concat(), "a command cannot be chosen");
    let user = ["--user", "1000", "warm"];
    refused(&engine, path, &[&from[..], &user[..]].concat(), "the user cannot be chosen");
    refused(&engine, path, &[&from[..], &["bb"]].concat(), "not a checkpoint");
    engine.ok(&["rm", "-f", "job", "one", "two"]);
    engine.assert_nothing_left();
}

/// Writes an archive of these members.
fn archive(engine: &Engine, members: &[(&str, &str)]) -> String {
    let tree = engine.path("tree");
    let _ = std::fs::remove_dir_all(&tree);
    for (name, content) in members {
        let path = tree.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, content).unwrap(),
        }
    }
    let tar = engine.path("hostile.tar").display().to_string();
    let made = Command::new("tar").arg("-C").arg(&tree).args(["-cf", &tar, "."]).status();
    assert!(made.unwrap().success());
    tar
}

const OWN: &str =
    r#"[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"network"}]"#;

/// What an archive may not choose is refused by name, and nothing is made or written.
#[test]
fn archives_of_others_choose_nothing() {
    let engine = engine!(with_network);
    let path = std::env::var("PATH").unwrap_or_default();
    let victim = engine.path("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let target = format!("-> {}", victim.display());
    let inventory = ("checkpoint/inventory.img", "x");
    let config = ("config.dump", r#"{"name":"job","rootfsImageName":"bb","createNetNS":true}"#);
    let spec =
        format!(r#"{{"process":{{"args":["sh"],"cwd":"/"}},"linux":{{"namespaces":{OWN}}}}}"#);
    let with = |mounts: &str| spec.replacen('{', &format!(r#"{{"mounts":[{mounts}],"#), 1);
    let bind = with(r#"{"destination":"/x","type":"bind","source":"/etc"}"#);
    let no_pid = spec.replace(r#"{"type":"pid"},"#, "");
    let privileged = config.1.replace(r#""name""#, r#""privileged":true,"name""#);
    let volume = config
        .1
        .replace(r#""name""#, r#""namedVolumes":[{"volumeName":"../x","dest":"/data"}],"name""#);
    let other = config.1.replace(r#""name""#, r#""rootfsImageID":"beef","name""#);
    for (members, why) in [
        (vec![("x", "y")], "not a checkpoint: it has no checkpoint/inventory.img"),
        (vec![inventory], "it has no config.dump"),
        (vec![inventory, config], "it has no spec.dump"),
        (vec![inventory, ("config.dump", "{"), ("spec.dump", &spec)], "config.dump"),
        (vec![inventory, ("config.dump", &target), ("spec.dump", &spec)], "config.dump"),
        (vec![("checkpoint/inventory.img", &target)], "inventory.img"),
        (vec![("checkpoint", "-> /etc"), config], "inventory.img"),
        (vec![inventory, config, ("spec.dump", &bind)], "/etc of the host at /x"),
        (vec![inventory, config, ("spec.dump", &no_pid)], "the host's pid namespace"),
        (vec![inventory, ("config.dump", &privileged), ("spec.dump", &spec)], "privileged"),
        (vec![inventory, ("config.dump", &volume), ("spec.dump", &spec)], "../x"),
        (vec![inventory, ("config.dump", &other), ("spec.dump", &spec)], "differs"),
        (
            vec![inventory, config, ("spec.dump", &spec), ("rootfs-diff.tar", &target)],
            "rootfs-diff",
        ),
        (
            vec![inventory, config, ("spec.dump", &spec), ("deleted.files", r#"["/etc/.."]"#)],
            "/etc/..",
        ),
    ] {
        let tar = archive(&engine, &members);
        refused(&engine, &path, &["container", "restore", "--import", &tar], why);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        engine.assert_nothing_left();
    }
    let directory = engine.path("tree").display().to_string();
    refused(&engine, &path, &["container", "restore", "--import", &directory], "regular file");
}
