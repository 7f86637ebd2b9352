//! Names and files that others have chosen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use husk_tests::bundle::Bundle;
use serde_json::json;

use super::{COUNTER, Kit, count, counter, until_above};

/// CVE-2026-119614: a destination that an image leads to a directory whose name says more to
/// CRIU than a name.
#[test]
fn names_that_speak_to_criu_are_refused() {
    let Some(kit) = Kit::new() else { return };
    for name in ["a]:", "a[b", "a]", "a:b", "a\nb"] {
        let mut bundle = counter(&kit.case);
        let there = bundle.rootfs("tmp").join(name).join("etc");
        fs::create_dir_all(&there).unwrap();
        symlink(format!("tmp/{name}/etc"), bundle.rootfs("data")).unwrap();
        bundle.bind(&kit.case.directory("source"), "/data", &["bind"]);
        let container = kit.case.start(&bundle);
        until_above(&bundle, 1);
        kit.checkpointing(bundle.id(), &[])
            .output()
            .refused_in_one_line(&["mounts[6].destination", "must not have"]);
        assert!(!kit.images().exists(), "{name}");
        assert_eq!(container.status(), "running");
        let before = count(&bundle);
        until_above(&bundle, before);
        container.stop();
        container.delete();
    }
}

/// A checkpoint of a counter, and its bundle.
fn checkpointed(kit: &Kit) -> Bundle {
    let bundle = counter(&kit.case);
    kit.case.start(&bundle);
    until_above(&bundle, 1);
    kit.checkpoint(bundle.id());
    bundle
}

/// At restore the configuration may not say more to CRIU than it says to people, either.
#[test]
fn names_of_a_configuration_are_refused() {
    let Some(kit) = Kit::new() else { return };
    let bundle = checkpointed(&kit);
    for (source, destination) in [("plain", "/x]:/etc"), ("so:urce", "/x"), ("so]urce", "/x")] {
        let mut other = bundle.clone();
        other.bind(&kit.case.directory(source), destination, &["bind"]);
        other.write();
        kit.restore_refused(&other, &["mounts[6].destination", "must not have"]);
    }
}

/// A directory that is no checkpoint, or that holds what leads CRIU elsewhere.
#[test]
fn image_directories_are_looked_at() {
    let Some(kit) = Kit::new() else { return };
    let bundle = checkpointed(&kit);
    let images = kit.images();
    let victim = kit.case.path("victim");
    fs::write(&victim, "untouched").unwrap();
    let with_link = |name: &str, target: &Path, words: &[&str]| {
        let saved = fs::read(images.join(name)).ok();
        let _ = fs::remove_file(images.join(name));
        symlink(target, images.join(name)).unwrap();
        kit.restore_refused(&bundle, words);
        fs::remove_file(images.join(name)).unwrap();
        if let Some(saved) = saved {
            fs::write(images.join(name), saved).unwrap();
        }
    };
    with_link("restore.log", &victim, &["restore.log", "symbolic link"]);
    with_link("pages-1.img", &victim, &["pages-1.img", "symbolic link"]);
    with_link("parent", Path::new("/etc"), &["parent"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    // A log that somebody has put into --work-path as a link.
    let work = kit.case.directory("work");
    symlink(&victim, work.join("restore.log")).unwrap();
    let restored = kit.restore(&bundle, &["--work-path", work.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    restored.stop();
    restored.delete();
    fs::remove_file(kit.case.path("restored")).unwrap();
    for cut in ["core-1.img", "pages-1.img", "mountpoints-", "inventory.img", "descriptors.json"] {
        let names = fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().file_name());
        let name = names.map(|n| n.into_string().unwrap()).find(|n| n.starts_with(cut)).unwrap();
        let whole = fs::read(images.join(&name)).unwrap();
        fs::write(images.join(&name), &whole[..whole.len() / 2]).unwrap();
        kit.restore_refused(&bundle, if cut == "pages-1.img" { &["was cut"] } else { &[] });
        fs::write(images.join(&name), whole).unwrap();
    }
    fs::remove_file(images.join("inventory.img")).unwrap();
    kit.restore_refused(&bundle, &["not a checkpoint", "inventory.img"]);
}

/// What was restored is compared with the configuration before it runs.
#[test]
fn what_exceeds_the_configuration_is_refused() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    let source = kit.case.directory("source");
    let index = bundle.bind(&source, "/data", &["bind"]);
    bundle.shell(COUNTER).set("/process/noNewPrivileges", false);
    kit.case.start(&bundle);
    until_above(&bundle, 1);
    kit.checkpoint(bundle.id());
    let stopped = count(&bundle);
    let none = json!([]);
    for (pointer, value, words) in [
        ("/process/noNewPrivileges", json!(true), "process.noNewPrivileges"),
        ("/process/capabilities", json!({ "bounding": none }), "process.capabilities.bounding"),
        ("/process/user/uid", json!(1000), "process.user.uid"),
        ("/root/readonly", json!(true), "root.readonly"),
        ("/linux/maskedPaths", json!(["/proc/version"]), "linux.maskedPaths[0]"),
        ("/linux/readonlyPaths", json!(["/proc/sys"]), "linux.readonlyPaths[0]"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["acct"], "action": "SCMP_ACT_ERRNO" }] }),
            "linux.seccomp",
        ),
        (&format!("/mounts/{index}/options"), json!(["bind", "ro"]), "mounts[6].options (ro)"),
    ] {
        let mut narrower = bundle.clone();
        narrower.set(pointer, value).write();
        kit.restore_refused(&narrower, &["differs from the configuration", words]);
        assert!(count(&bundle) <= stopped + 1, "{pointer}: the program has run");
    }
    // An annotation that would name a file of options for CRIU.
    let mut annotated = bundle.clone();
    annotated.set("/annotations/org.criu.config", "/tmp/x").write();
    kit.restore_refused(&annotated, &["org.criu.config", "not read"]);
    bundle.write();
    let restored = kit.restore(&bundle, &[]);
    restored.stop();
    restored.delete();
}

/// A stream that is a file of the host's cannot be checkpointed, and the container goes on.
#[test]
fn a_file_of_the_host_as_a_stream() {
    let Some(kit) = Kit::new() else { return };
    let mut bundle = kit.case.bundle();
    bundle.shell(&COUNTER.replace("exec >/dev/null 2>&1;", ""));
    let container = kit.case.start(&bundle);
    until_above(&bundle, 1);
    kit.checkpointing(bundle.id(), &[])
        .output()
        .refused_in_one_line(&[bundle.id(), "standard streams must be pipes"]);
    assert!(!kit.images().exists());
    assert_eq!(container.status(), "running");
    let before = count(&bundle);
    until_above(&bundle, before);
    container.stop();
    container.delete();
}
