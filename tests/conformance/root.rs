//! config.md, Root, and config-linux.md: the root filesystem, how it is
//! entered, and what of it is hidden.

use std::fs;

use husk_tests::case::Case;
use serde_json::{Value, json};

/// The entry of mountinfo that is on top at `target`.
pub(crate) fn mount_at<'a>(report: &'a Value, target: &str) -> &'a Value {
    report["mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .rev()
        .find(|m| m["target"] == target)
        .unwrap_or_else(|| panic!("nothing is mounted on {target}: {}", report["mounts"]))
}

/// Whether a list of a mount's entry has `word`.
pub(crate) fn has(list: &Value, word: &str) -> bool {
    list.as_array().expect("a list").iter().any(|w| w == word)
}

/// config.md, root.path: relative to the bundle.
#[test]
fn root_path_may_be_relative_to_the_bundle() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::rename(bundle.dir().join("rootfs"), bundle.dir().join("other")).unwrap();
    bundle.set("/root/path", "./other").args(["/bin/echo", "found"]);
    assert_eq!(case.print(&bundle), "found\n");
}

/// config.md, root.path: or absolute.
#[test]
fn root_path_may_be_absolute() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::rename(bundle.dir().join("rootfs"), case.path("elsewhere")).unwrap();
    bundle.set("/root/path", case.path("elsewhere").to_str().unwrap());
    bundle.args(["/bin/echo", "found"]);
    assert_eq!(case.print(&bundle), "found\n");
}

/// config.md, root.path: a directory must be there.
#[test]
fn a_missing_rootfs_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/root/path", "missing");
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, root.path: a file is not a directory.
#[test]
fn a_rootfs_that_is_a_file_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(bundle.dir().join("file"), "").unwrap();
    bundle.set("/root/path", "file");
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, root.readonly: writes fail, mounts inside stay writable.
#[test]
fn a_readonly_root_refuses_writes() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/root/readonly", true);
    bundle.shell("echo x >/file; echo x >/tmp/file; echo x >/dev/shm/file && echo shm");
    let run = case.run(&bundle).ok();
    assert_eq!(run.stdout, "shm\n");
    assert_eq!(run.stderr.matches("Read-only file system").count(), 2, "{}", run.stderr);
    assert!(!bundle.rootfs("file").exists());

    bundle.args(["/bin/probe"]);
    assert!(has(&mount_at(&case.report(&bundle), "/")["options"], "ro"));
}

/// config.md, root.readonly: false by default.
#[test]
fn a_root_is_writable_by_default() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/touch", "/file"]);
    case.run(&bundle).ok();
    assert!(bundle.rootfs("file").exists());
}

/// pivot_root(2): nothing of the host's mounts is visible inside.
#[test]
fn the_hosts_mounts_are_gone() {
    let case = Case::without_user_namespace("in one each device is a mount of its own");
    let bundle = case.bundle();
    let report = case.report(&bundle);
    let targets: Vec<&str> = report["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["target"].as_str().unwrap())
        .collect();
    let allowed =
        ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/dev/console"];
    for target in &targets {
        assert!(allowed.contains(target), "{target} is mounted: {targets:?}");
    }
    assert_eq!(targets.iter().filter(|t| **t == "/").count(), 1, "{targets:?}");
}

/// `--no-pivot`: where pivot_root(2) cannot work, the root is moved instead.
#[test]
fn no_pivot_enters_the_root_all_the_same() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("ls /; readlink /proc/self/root; echo x >/file");
    let run = case.running(&bundle, &["--no-pivot"]).ok();
    let lines = run.lines();
    assert!(lines.contains(&"bin") && lines.contains(&"proc"), "{lines:?}");
    assert!(!lines.contains(&"boot") && !lines.contains(&"usr"), "{lines:?}");
    assert!(bundle.rootfs("file").exists());
    case.assert_nothing_left();
}

/// config-linux.md, rootfsPropagation: each of the four.
#[test]
fn rootfs_propagation_is_set() {
    let case = Case::new();
    for value in ["private", "slave", "shared", "unbindable"] {
        let mut bundle = case.bundle();
        bundle.set("/linux/rootfsPropagation", value);
        let report = case.report(&bundle);
        let propagation = mount_at(&report, "/")["propagation"].to_string();
        assert_eq!(propagation.contains("shared:"), value == "shared", "{value}: {propagation}");
        let unbindable = propagation.contains("unbindable");
        assert_eq!(unbindable, value == "unbindable", "{value}: {propagation}");
    }
    case.assert_nothing_left();
}

/// mount_namespaces(7): letting go of the host's mounts must not unmount them on a host where
/// they are shared, as with systemd; whatever the container's root is to be.
#[test]
fn a_shared_hosts_mounts_stay() {
    let case = Case::new();
    for value in ["", "private", "slave", "shared", "rshared", "unbindable"] {
        let mut bundle = case.bundle();
        bundle.args(["/bin/true"]);
        if !value.is_empty() {
            bundle.set("/linux/rootfsPropagation", value);
        }
        bundle.write();
        // What other tests have mounted goes in every namespace when they remove its directory.
        let script = "count() { grep -vc \" ${0%/*/*}/\" /proc/self/mountinfo; }
            mount --make-rshared / && mkdir -p \"$0\" && mount -t tmpfs none \"$0\" &&
            before=$(count) && \"$@\" &&
            [ $(count) = $before ] && mountpoint -q \"$0\" && echo same";
        let host =
            case.program("unshare").args(["--mount", "--propagation", "private", "sh", "-c"]);
        let host = host.arg(script).arg(case.path("mounted")).arg(husk_tests::runtime::path());
        let host = host.arg("--root").arg(case.state_root()).args(["run", "--bundle"]);
        let run = host.arg(bundle.dir()).arg(bundle.id()).output();
        assert_eq!(run.stdout, "same\n", "{value}: {}", run.stderr);
    }
}

/// config-linux.md, rootfsPropagation: any other word is an error.
#[test]
fn an_unknown_rootfs_propagation_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/linux/rootfsPropagation", "banana");
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// mount_namespaces(7): what is mounted inside does not come out.
#[test]
fn mounts_made_inside_do_not_reach_the_host() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("mnt")).unwrap();
    for kind in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{kind}/-"), "CAP_SYS_ADMIN");
    }
    let said = case.fifo(&bundle, "said");
    bundle.shell("mount -t tmpfs none /mnt && echo mounted >/said; exec sleep 1000");
    let _container = case.start(&bundle);
    assert_eq!(said.line(), "mounted");
    assert_eq!(husk_tests::host::mounts_below(case.dir()), Vec::<std::path::PathBuf>::new());
}

/// config-linux.md, maskedPaths: files read empty, directories are empty and
/// cannot be written, and what is missing is left out.
#[test]
fn masked_paths_cannot_be_read() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("secrets")).unwrap();
    fs::write(bundle.rootfs("secrets/key"), "secret").unwrap();
    fs::write(bundle.rootfs("secret"), "secret").unwrap();
    bundle.set("/linux/maskedPaths", json!(["/secrets", "/secret", "/missing", "/proc/kcore"]));
    bundle.shell(
        "cat /secret /proc/kcore; ls -A /secrets; echo x >/secrets/file; test -e /missing || echo -",
    );
    let run = case.run(&bundle).ok();
    assert_eq!(run.stdout, "-\n");
    assert!(run.stderr.contains("Read-only file system"), "{}", run.stderr);
    assert!(!bundle.rootfs("missing").exists(), "a mask makes nothing");
}

/// config-linux.md, maskedPaths: several directories, each masked.
#[test]
fn several_directories_can_be_masked() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let mut paths = Vec::new();
    for number in 0..8 {
        fs::create_dir(bundle.rootfs(&format!("dir{number}"))).unwrap();
        fs::write(bundle.rootfs(&format!("dir{number}/key")), "secret").unwrap();
        paths.push(Value::from(format!("/dir{number}")));
    }
    bundle.set("/linux/maskedPaths", paths).shell("cat /dir*/key; echo $?");
    assert_eq!(case.print(&bundle), "1\n");
}

/// config-linux.md, readonlyPaths: read, not written; below them neither.
#[test]
fn readonly_paths_cannot_be_written() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir_all(bundle.rootfs("dir/below")).unwrap();
    fs::write(bundle.rootfs("file"), "readable").unwrap();
    bundle.set("/linux/readonlyPaths", json!(["/dir", "/file", "/missing", "/proc/sys"]));
    bundle.shell(
        "cat /file; echo x >/file; echo x >/dir/new; echo x >/dir/below/new;
         echo 1 >/proc/sys/net/ipv4/ip_forward; test -e /missing || echo -",
    );
    let run = case.run(&bundle).ok();
    assert_eq!(run.stdout, "readable-\n");
    assert_eq!(run.stderr.matches("Read-only file system").count(), 4, "{}", run.stderr);
    assert!(!bundle.rootfs("missing").exists());
}

/// mount_setattr(2): a read-only path keeps the flags it had.
#[test]
fn readonly_paths_keep_their_flags() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec"],
    }));
    bundle.set("/linux/readonlyPaths", json!(["/mnt"]));
    let report = case.report(&bundle);
    let options = &mount_at(&report, "/mnt")["options"];
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(options, option), "{option} is not in {options}");
    }
}
