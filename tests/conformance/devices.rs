//! config-linux.md, Devices and Default Devices; runtime-linux.md, symlinks.

use std::fs;

use husk_tests::case::Case;
use serde_json::json;

/// config-linux.md, Default Devices.
#[test]
fn the_default_devices_are_there() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell(
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done",
    );
    assert_eq!(
        case.print(&bundle).lines().collect::<Vec<_>>(),
        [
            "/dev/null character special file 1:3 666",
            "/dev/zero character special file 1:5 666",
            "/dev/full character special file 1:7 666",
            "/dev/random character special file 1:8 666",
            "/dev/urandom character special file 1:9 666",
            "/dev/tty character special file 5:0 666",
        ]
    );
}

/// config-linux.md, Default Devices: they work.
#[test]
fn the_default_devices_work() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell(
        "echo x >/dev/null && head -c 3 /dev/zero | od -An -tx1 && head -c 1 /dev/urandom | wc -c
         echo x 2>&1 >/dev/full",
    );
    let run = case.run(&bundle);
    assert!(run.stdout.contains("00 00 00"), "{run:?}");
    assert!(run.stdout.contains('1'), "{run:?}");
    assert_ne!(run.code(), 0, "/dev/full was not full");
}

/// config-linux.md, Default Devices: /dev/ptmx is that of the container's
/// devpts.
#[test]
fn dev_ptmx_is_the_containers_own() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("stat -L -c '%t:%T' /dev/ptmx; readlink /dev/ptmx || grep ' /dev/ptmx ' /proc/self/mountinfo");
    let printed = case.print(&bundle);
    assert!(printed.starts_with("5:2\n"), "{printed}");
    assert!(printed.contains("pts/ptmx") || printed.contains("/ptmx /dev/ptmx"), "{printed}");
}

/// The host's node where the root is the host's own and nothing is mounted on /dev.
#[test]
fn a_node_of_ptmx_stays() {
    let case = Case::without_user_namespace("mknod");
    let mut bundle = case.bundle();
    bundle.set("/mounts", json!([]));
    fs::create_dir_all(bundle.rootfs("dev")).unwrap();
    let node = bundle.rootfs("dev/ptmx");
    case.program("mknod").arg(&node).args(["c", "5", "2"]).ok();
    bundle.args(["/bin/true"]);
    let run = case.run(&bundle);
    assert_eq!(run.code(), 0, "{run:?}");
    let kind = std::os::unix::fs::FileTypeExt::is_char_device(
        &fs::symlink_metadata(&node).unwrap().file_type(),
    );
    assert!(kind, "the node was replaced");
}

/// runtime-linux.md, Dev symbolic links.
#[test]
fn the_dev_symlinks_are_there() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("for l in fd stdin stdout stderr; do readlink /dev/$l; done");
    assert_eq!(
        case.print(&bundle),
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n"
    );
}

/// config-linux.md, devices: each type, with its numbers, mode and owner.
#[test]
fn devices_are_made_as_configured() {
    let case = Case::without_user_namespace(
        "in one a device is the one of the host, bound: tests/rootless has that",
    );
    let mut bundle = case.bundle();
    bundle.set(
        "/linux/devices",
        json!([
            { "path": "/dev/char", "type": "c", "major": 10, "minor": 229,
              "fileMode": 0o640, "uid": 3, "gid": 4 },
            { "path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3, "fileMode": 0o600 },
            { "path": "/dev/block", "type": "b", "major": 7, "minor": 77, "fileMode": 0o660 },
            { "path": "/dev/fifo", "type": "p", "fileMode": 0o622 },
            { "path": "/dev/new/dir/char", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 },
        ]),
    );
    bundle.shell(
        "stat -c '%n %F %t:%T %a %u:%g' /dev/char /dev/unbuffered /dev/block /dev/new/dir/char
         stat -c '%n %F %a' /dev/fifo",
    );
    assert_eq!(
        case.print(&bundle).lines().collect::<Vec<_>>(),
        [
            "/dev/char character special file a:e5 640 3:4",
            "/dev/unbuffered character special file 1:3 600 0:0",
            "/dev/block block special file 7:4d 660 0:0",
            "/dev/new/dir/char character special file 1:5 666 0:0",
            "/dev/fifo fifo 622",
        ]
    );
}

/// config-linux.md, devices.fileMode: bits the umask would take are kept.
#[test]
fn the_umask_does_not_touch_device_modes() {
    let case = Case::without_user_namespace(
        "in one a device is the one of the host, bound, with its mode",
    );
    let mut bundle = case.bundle();
    bundle.set("/process/user/umask", 0o077);
    bundle.set(
        "/linux/devices",
        json!([{ "path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]),
    );
    bundle.args(["/bin/stat", "-c", "%a", "/dev/x", "/dev/null"]);
    assert_eq!(case.print(&bundle), "666\n666\n");
}

/// config-linux.md, devices.path: a file that is no such device is an error.
#[test]
fn a_file_in_the_place_of_a_device_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(bundle.rootfs("etc/device"), "a file").unwrap();
    bundle.set(
        "/linux/devices",
        json!([{ "path": "/etc/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]),
    );
    case.run(&bundle).refused();
    assert_eq!(fs::read_to_string(bundle.rootfs("etc/device")).unwrap(), "a file");
    case.assert_nothing_left();
}

/// config-linux.md, devices.type: c, b, u or p.
#[test]
fn an_unknown_device_type_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle
        .set("/linux/devices", json!([{ "path": "/dev/x", "type": "z", "major": 1, "minor": 3 }]));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}
