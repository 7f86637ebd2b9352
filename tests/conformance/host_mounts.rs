//! Mounts of the host's that a container has to do with: without a mount namespace of its own,
//! and with `--no-pivot`.

use std::fs;

use husk_tests::case::Case;
use husk_tests::host::mounts_below;
use husk_tests::runtime;
use serde_json::json;

fn read_link(path: &str) -> String {
    fs::read_link(path).unwrap().display().to_string()
}

/// config-linux.md, Namespaces: a type that is not listed is inherited. Mounts are made in the
/// runtime's namespace, below the root filesystem, and go with the container.
#[test]
fn without_a_mount_namespace_the_runtimes_is_inherited() {
    let case = Case::without_user_namespace("its root may not mount in the host's namespace");
    let mut bundle = case.bundle();
    bundle.without_namespace("mount");
    let said = case.fifo(&bundle, "said");
    fs::create_dir(bundle.rootfs("etc/secret")).unwrap();
    fs::write(bundle.rootfs("etc/secret/x"), "x").unwrap();
    if runtime::name() == "husk-oci" {
        bundle.set("/linux/maskedPaths", json!(["/etc/secret"]));
        bundle.set("/root/readonly", true);
    }
    bundle.shell(
        "echo $(readlink /proc/self/ns/mnt) $(ls /etc/secret) $(touch /x 2>&1) >/said
         test -c /dev/null && echo nodes >/said; exec sleep 1000",
    );
    let container = case.start(&bundle);
    let line = said.line();
    assert!(line.starts_with(&read_link("/proc/self/ns/mnt")), "{line}");
    assert_eq!(said.line(), "nodes");
    if runtime::name() == "husk-oci" {
        assert!(line.ends_with("Read-only file system"), "{line}");
        // A process that joins has the same root.
        let exec = container.exec(&[], &["/bin/sh", "-c", "ls /bin/probe; pwd; ls /etc/secret"]);
        assert_eq!(exec.ok().stdout, "/bin/probe\n/\n");
        assert!(!mounts_below(case.dir()).is_empty());
        container.stop();
        container.delete();
        assert_eq!(mounts_below(case.dir()), Vec::<std::path::PathBuf>::new());
        // Nothing was left in the bundle.
        assert_eq!(fs::read_dir(bundle.rootfs("dev")).unwrap().count(), 0);
        // One that fails takes back its own, and what was mounted there stays.
        let program = ["mount", "--bind"].map(str::to_owned);
        let rootfs = bundle.rootfs("");
        case.program(&program[0]).arg(&program[1]).arg(&rootfs).arg(&rootfs).ok();
        bundle.args(["/no/such/program"]);
        case.run(&bundle).refused();
        assert_eq!(mounts_below(case.dir()).len(), 1);
        case.program("umount").arg(&rootfs).ok();
    }
}

/// Nothing to mount, no namespace: the directory as it is.
#[test]
fn without_mounts_and_namespace_the_root_is_the_directory() {
    let case = Case::without_user_namespace("its root may not mount in the host's namespace");
    let mut bundle = case.bundle();
    bundle.without_namespace("mount").set("/mounts", json!([])).shell("pwd; echo x >/tmp/made");
    assert_eq!(case.print(&bundle), "/\n");
    assert!(bundle.rootfs("tmp/made").exists());
    assert_eq!(fs::read_dir(bundle.rootfs("dev")).unwrap().count(), 0);
}

/// mount_too_revealing() of the kernel: a nested user namespace mounts a procfs only where one is
/// in full view, and that of the host, over which the root was moved, is none.
#[test]
fn no_pivot_reveals_no_procfs() {
    let case = Case::without_user_namespace("the procfs of the container is its own there");
    let mut bundle = case.bundle();
    let all = json!(["CAP_SETFCAP", "CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"]);
    for set in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{set}"), all.clone());
    }
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/sys"]));
    let unshare = "unshare -mrpf sh -c 'mount -t proc none /proc 2>&1 && ls /proc/sys'";
    bundle.shell(&format!("busybox {unshare}; busybox {}", unshare.replace("proc", "sysfs")));
    for flags in [&[][..], &["--no-pivot"]] {
        let run = case.running(&bundle, flags).output();
        assert!(run.stdout.contains("ermission"), "{flags:?}: {}{}", run.stdout, run.stderr);
        assert!(!run.stdout.contains("kernel"), "{flags:?}: {}", run.stdout);
    }
}
