//! What is to be read-only and still must be made in first.

use std::fs;

use husk_tests::case::Case;
use serde_json::json;

fn add_option(bundle: &mut husk_tests::bundle::Bundle, destination: &str, option: &str) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == destination).unwrap();
    mount["options"].as_array_mut().unwrap().push(option.into());
}

/// podman's `--read-only --read-only-tmpfs=false`: /dev read-only, with its devices, its devpts
/// and, with a terminal, /dev/console.
#[test]
fn dev_can_be_read_only() {
    for option in ["ro", "rro"] {
        let case = Case::new();
        let mut bundle = case.bundle();
        add_option(&mut bundle, "/dev", option);
        bundle.shell(
            "echo x >/dev/null && test -c /dev/zero -a -e /dev/pts/ptmx && echo there
             touch /dev/x 2>&1; touch /dev/shm/x && echo below",
        );
        let text = case.print(&bundle);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("there", "below"), "{option}: {text}");
        assert!(lines[1].contains("Read-only file system"), "{option}: {text}");
        bundle.set("/process/terminal", true).shell("test -c /dev/console && echo console");
        assert_eq!(case.print(&bundle).trim(), "console");
    }
}

/// Destinations of later mounts are made in a tmpfs that is read-only.
#[test]
fn a_read_only_tmpfs_takes_later_mounts() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let source = case.directory("source");
    fs::write(source.join("file"), "content\n").unwrap();
    case.give(&source);
    bundle.mount(json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=755"],
    }));
    bundle.bind(&source, "/data/a/b", &["bind"]);
    bundle.shell("cat /data/a/b/file; touch /data/x 2>&1; true");
    let text = case.print(&bundle);
    assert!(text.starts_with("content\n"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
}

/// Kubernetes' readOnlyRootFilesystem with a WORKDIR that no layer has: the CRI leaves it to the
/// runtime to make it.
#[test]
fn a_missing_cwd_is_made_before_the_root_is_read_only() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/root/readonly", true).set("/process/cwd", "/work/below");
    bundle.shell("pwd; touch x 2>&1; true");
    let text = case.print(&bundle);
    assert!(text.starts_with("/work/below\n"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    // Below a path that becomes read-only as well.
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("fixed")).unwrap();
    bundle.set("/linux/readonlyPaths", json!(["/fixed"])).set("/process/cwd", "/fixed/below");
    bundle.args(["/bin/pwd"]);
    assert_eq!(case.print(&bundle), "/fixed/below\n");
}

/// A path that is named twice is masked once.
#[test]
fn a_path_that_is_named_twice_is_masked_once() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/maskedPaths", json!(["/etc/a", "/etc//a", "/etc/./a", "/etc/a"]));
    bundle.set("/linux/readonlyPaths", json!(["/tmp", "/tmp/"]));
    fs::write(bundle.rootfs("etc/a"), "secret").unwrap();
    bundle
        .shell("for d in /etc/a /tmp; do grep -c \" $d \" /proc/self/mountinfo; done; cat /etc/a");
    assert_eq!(case.print(&bundle), "1\n1\n");
}

/// `linux.devices[].path` with a slash at its end, as peers take it.
#[test]
fn a_device_path_may_end_in_a_slash() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let device = json!({ "path": "/dev/nothing/", "type": "c", "major": 1, "minor": 3 });
    bundle.set("/linux/devices", json!([device]));
    bundle.shell("test -c /dev/nothing && echo there");
    let text = match husk_tests::user_namespace::is_added() {
        // There the host's own would be bound, and there is none.
        true => "there\n".to_owned(),
        false => case.print(&bundle),
    };
    assert_eq!(text, "there\n");
}
