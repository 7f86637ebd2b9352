//! config.md, Linux mount options: each word of the table.

use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use serde_json::{Value, json};

use crate::root::{has, mount_at};

fn tmpfs(bundle: &mut Bundle, destination: &str, options: &[&str]) {
    bundle.mount(json!({
        "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options,
    }));
}

/// What mountinfo shows, of the mount and of its superblock.
fn shown(report: &Value, target: &str) -> Vec<String> {
    let mount = mount_at(report, target);
    ["options", "superOptions"]
        .iter()
        .flat_map(|list| mount[*list].as_array().expect("a list"))
        .map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

/// config.md, Linux mount options: those that mountinfo shows as themselves.
#[test]
fn plain_options_are_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let options =
        ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "sync", "dirsync"];
    for option in options {
        tmpfs(&mut bundle, &format!("/m-{option}"), &[option]);
    }
    let report = case.report(&bundle);
    for option in options {
        let words = shown(&report, &format!("/m-{option}"));
        assert!(words.iter().any(|w| w == option), "{option} is not in {words:?}");
    }
}

/// config.md, Linux mount options: `lazytime`, `nosymfollow`, `strictatime`.
#[test]
fn newer_plain_options_are_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    tmpfs(&mut bundle, "/m-lazytime", &["lazytime"]);
    tmpfs(&mut bundle, "/m-nosymfollow", &["nosymfollow"]);
    tmpfs(&mut bundle, "/m-strictatime", &["strictatime"]);
    let report = case.report(&bundle);
    for option in ["lazytime", "nosymfollow"] {
        let words = shown(&report, &format!("/m-{option}"));
        assert!(words.iter().any(|w| w == option), "{option} is not in {words:?}");
    }
    // Strict is what is left when neither of the others is shown.
    let strict = shown(&report, "/m-strictatime");
    assert!(!strict.iter().any(|w| w == "relatime" || w == "noatime"), "{strict:?}");
}

/// config.md, Linux mount options: the later of two opposites counts.
#[test]
fn opposites_undo_each_other() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let pairs = [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("sync", "async"),
    ];
    for (off, on) in pairs {
        tmpfs(&mut bundle, &format!("/m-{on}"), &[off, on]);
        tmpfs(&mut bundle, &format!("/m-{off}"), &[on, off]);
    }
    let report = case.report(&bundle);
    for (off, on) in pairs {
        let words = shown(&report, &format!("/m-{on}"));
        assert!(!words.iter().any(|w| w == off), "{off},{on}: {words:?}");
        let words = shown(&report, &format!("/m-{off}"));
        assert!(words.iter().any(|w| w == off), "{on},{off}: {words:?}");
    }
}

/// config.md, Linux mount options: every MUST of the table is recognized.
#[test]
fn every_required_option_is_recognized() {
    let case = Case::new();
    for option in [
        "async",
        "atime",
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
        "relatime",
        "ro",
        "rw",
        "silent",
        "strictatime",
        "suid",
        "sync",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ] {
        let mut bundle = case.bundle();
        tmpfs(&mut bundle, "/mnt", &[option]);
        bundle.args(["/bin/true"]);
        let run = case.run(&bundle);
        assert!(run.status.success(), "{option}: {}", run.stderr);
    }
}

/// config.md, Linux mount options: on a bind they hold for the bind, not for
/// its source.
#[test]
fn options_of_a_bind_are_its_own() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let source = case.directory("source");
    bundle.bind(&source, "/mnt", &["rbind", "ro", "nosuid", "nodev", "noexec", "noatime"]);
    let report = case.report(&bundle);
    let options = &mount_at(&report, "/mnt")["options"];
    for option in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(has(options, option), "{option} is not in {options}");
    }
    fs::write(source.join("file"), "still writable").unwrap();
}

/// mount(2), MS_REMOUNT of a bind: flags the source's mount has stay.
#[test]
fn a_bind_keeps_the_flags_of_its_source() {
    let case = Case::new();
    let source = case.directory("source");
    case.program("mount")
        .args(["-t", "tmpfs", "-o", "nosuid,nodev,noexec", "none"])
        .arg(&source)
        .ok();
    let mut bundle = case.bundle();
    bundle.bind(&source, "/mnt", &["rbind", "ro"]);
    let report = case.report(&bundle);
    let options = &mount_at(&report, "/mnt")["options"];
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(options, option), "{option} is not in {options}");
    }
    case.program("umount").arg(&source).ok();
}

/// A source with a mount below it, and the container's view of both.
fn recursive(options: &[&str]) -> (Value, Value) {
    let case = Case::new();
    let source = case.directory("source");
    fs::create_dir(source.join("sub")).unwrap();
    let sub = source.join("sub");
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(&sub).ok();
    let mut bundle = case.bundle();
    bundle.bind(&source, "/mnt", options);
    let report = case.report(&bundle);
    case.program("umount").arg(&sub).ok();
    let options = |target| mount_at(&report, target)["options"].clone();
    (options("/mnt"), options("/mnt/sub"))
}

/// config.md, Linux mount options: `ro` of an rbind is of the top mount alone.
#[test]
fn plain_options_of_an_rbind_are_not_recursive() {
    let (top, below) = recursive(&["rbind", "ro"]);
    assert!(has(&top, "ro") && !has(&below, "ro"), "{top} {below}");
}

/// mount_setattr(2), AT_RECURSIVE: the words with an r in front.
#[test]
fn recursive_options_reach_the_mounts_below() {
    for option in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"] {
        let word = format!("r{option}");
        let (top, below) = recursive(&["rbind", &word]);
        assert!(has(&top, option) && has(&below, option), "{word}: {top} {below}");
    }
}

/// mount_setattr(2), AT_RECURSIVE: the opposites take a flag away, from the
/// mounts below as well.
#[test]
fn recursive_opposites_reach_the_mounts_below() {
    let case = Case::new();
    let source = case.directory("source");
    let flags = "ro,nosuid,nodev,noexec,noatime,nodiratime";
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(&source).ok();
    let sub = source.join("sub");
    fs::create_dir(&sub).unwrap();
    case.program("mount").args(["-t", "tmpfs", "-o", flags, "none"]).arg(&sub).ok();
    case.program("mount").args(["-o", &format!("remount,bind,{flags}")]).arg(&source).ok();
    let mut bundle = case.bundle();
    let pairs = [("rrw", "ro"), ("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec")];
    let times = [("ratime", "noatime"), ("rdiratime", "nodiratime"), ("rrelatime", "noatime")];
    for (word, _) in pairs.iter().chain(&times) {
        bundle.bind(&source, &format!("/m-{word}"), &["rbind", word]);
    }
    let report = case.report(&bundle);
    for (word, flag) in pairs.iter().chain(&times) {
        for target in [format!("/m-{word}"), format!("/m-{word}/sub")] {
            let options = &mount_at(&report, &target)["options"];
            assert!(!has(options, flag), "{word}: {target} has {options}");
        }
    }
    case.program("umount").args(["--recursive"]).arg(&source).ok();
}

/// mount_namespaces(7): what a word does to a bind of a shared source.
#[test]
fn propagation_of_a_bind_is_set() {
    let case = Case::new();
    let source = case.directory("source");
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(&source).ok();
    case.program("mount").arg("--make-shared").arg(&source).ok();
    for (option, shared, slave, unbindable) in [
        ("private", false, false, false),
        ("rprivate", false, false, false),
        ("shared", true, false, false),
        ("rshared", true, false, false),
        ("slave", false, true, false),
        ("rslave", false, true, false),
        ("unbindable", false, false, true),
        ("runbindable", false, false, true),
    ] {
        let mut bundle = case.bundle();
        bundle.bind(&source, "/mnt", &["rbind", option]);
        let report = case.report(&bundle);
        let seen = mount_at(&report, "/mnt")["propagation"].to_string();
        assert_eq!(seen.contains("shared:"), shared, "{option}: {seen}");
        assert_eq!(seen.contains("unbindable"), unbindable, "{option}: {seen}");
        // runc and crun cut the master off first, or keep it: only that a
        // slave is no peer matters to it, and that the others have no master.
        assert!(slave || !seen.contains("master:") || shared, "{option}: {seen}");
    }
    case.program("umount").arg(&source).ok();
}

/// mount_namespaces(7): a mount made on the host later comes into a slave.
#[test]
fn a_slave_receives_the_hosts_mounts() {
    let case = Case::new();
    let source = case.directory("source");
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(&source).ok();
    case.program("mount").arg("--make-shared").arg(&source).ok();
    fs::create_dir(source.join("later")).unwrap();
    let mut bundle = case.bundle();
    bundle.set("/linux/rootfsPropagation", "rslave");
    bundle.bind(&source, "/mnt", &["rbind", "rslave"]);
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(source.join("later")).ok();
    let seen = container.proc("mountinfo");
    case.program("umount").arg(source.join("later")).ok();
    case.program("umount").args(["-l"]).arg(&source).ok();
    assert!(seen.contains(" /mnt/later "), "{seen}");
}

/// mount(8), `remount`: changes what is mounted there already.
#[test]
fn remount_changes_a_mount() {
    let case = Case::new();
    let mut bundle = case.bundle();
    tmpfs(&mut bundle, "/mnt", &["nosuid"]);
    tmpfs(&mut bundle, "/mnt", &["remount", "ro", "nosuid", "nodev"]);
    let report = case.report(&bundle);
    let options = &mount_at(&report, "/mnt")["options"];
    assert!(has(options, "ro") && has(options, "nodev"), "{options}");
    let count =
        report["mounts"].as_array().unwrap().iter().filter(|m| m["target"] == "/mnt").count();
    assert_eq!(count, 1, "a remount is no second mount");
}
