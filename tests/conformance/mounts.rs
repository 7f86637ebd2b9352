//! config.md, Mounts: what is mounted where.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::runtime;
use serde_json::json;

use crate::root::mount_at;

/// config.md, Mounts: in the listed order.
#[test]
fn mounts_are_made_in_the_listed_order() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let under = case.directory("under");
    let over = case.directory("over");
    fs::create_dir(under.join("sub")).unwrap();
    fs::write(under.join("name"), "under\n").unwrap();
    fs::write(over.join("name"), "over\n").unwrap();
    bundle.bind(&under, "/mnt", &["rbind"]);
    bundle.bind(&over, "/mnt/sub", &["rbind"]);
    bundle.shell("cat /mnt/name /mnt/sub/name");
    assert_eq!(case.print(&bundle), "under\nover\n");
}

/// config.md, Mounts: a later mount hides an earlier one at the same place.
#[test]
fn a_later_mount_hides_an_earlier_one() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for name in ["first", "second"] {
        fs::write(case.directory(name).join("name"), name).unwrap();
        bundle.bind(&case.path(name), "/mnt", &["rbind"]);
    }
    bundle.args(["/bin/cat", "/mnt/name"]);
    assert_eq!(case.print(&bundle), "second");
}

/// That one mount of a filesystem is read-only says nothing of another mount of it.
#[test]
fn a_readonly_mount_of_sysfs_leaves_others_writable() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    for (destination, option) in [("/mnt/read", "ro"), ("/mnt/write", "rw")] {
        let options = ["nosuid", option];
        bundle.mount(json!({ "destination": destination, "type": "sysfs", "source": "sysfs",
                             "options": options }));
    }
    bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
    let table = case.print(&bundle);
    let line = table.lines().find(|line| line.contains(" /mnt/write ")).unwrap();
    assert!(line.rsplit(' ').next().unwrap().starts_with("rw"), "{line}");
}

/// config.md, mounts.destination: a relative one starts at "/".
#[test]
fn a_relative_destination_starts_at_the_root() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(case.directory("source").join("name"), "found").unwrap();
    bundle.bind(&case.path("source"), "mnt/here", &["rbind"]);
    bundle.set("/process/cwd", "/tmp").args(["/bin/cat", "/mnt/here/name"]);
    assert_eq!(case.print(&bundle), "found");
}

/// Missing mount points are made inside the root filesystem.
#[test]
fn missing_mount_points_are_made() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(case.path("file"), "a file").unwrap();
    let file = case.path("file");
    bundle.bind(&case.directory("dir"), "/new/a/dir", &["rbind"]);
    bundle.bind(&file, "/new/b/file", &["bind"]);
    bundle.mount(json!({ "destination": "/new/c", "type": "tmpfs", "source": "tmpfs" }));
    bundle.shell("cat /new/b/file && test -d /new/a/dir && test -d /new/c && echo ' ok'");
    assert_eq!(case.print(&bundle), "a file ok\n");
}

/// A mount point on a read-only root that exists needs no writing.
#[test]
fn mounts_work_on_a_readonly_root() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/root/readonly", true);
    bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    bundle.mount(json!({ "destination": "/made", "type": "tmpfs", "source": "tmpfs" }));
    bundle.shell("echo x >/tmp/x && echo x >/made/x && echo written");
    assert_eq!(case.print(&bundle), "written\n");
}

/// A symlink on the way is followed inside the root, never to the host.
#[test]
fn a_destination_through_a_symlink_stays_inside() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let outside = case.directory("outside");
    symlink(&outside, bundle.rootfs("link")).unwrap();
    // Inside, the link's target is a path of the container.
    fs::create_dir_all(bundle.rootfs(outside.to_str().unwrap())).unwrap();
    bundle.mount(json!({ "destination": "/link/sub", "type": "tmpfs", "source": "tmpfs" }));
    bundle.shell("echo x >/link/sub/file; ls /link/sub");
    assert_eq!(case.print(&bundle), "file\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something came out");
}

/// A destination with `..` does not leave the root.
#[test]
fn a_destination_with_dots_stays_inside() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({
        "destination": "/../../../../husk-dots", "type": "tmpfs", "source": "tmpfs",
    }));
    bundle.shell("echo x >/husk-dots/file && ls /husk-dots");
    let run = case.run(&bundle);
    assert!(!std::path::Path::new("/husk-dots").exists(), "made on the host");
    // Refusing such a path is as good as keeping it inside.
    if run.status.success() {
        assert_eq!(run.stdout, "file\n");
    } else {
        run.refused();
    }
}

/// config.md, mounts: a bind of a directory.
#[test]
fn a_directory_can_be_bound() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let source = case.directory("source");
    fs::write(source.join("in"), "from the host\n").unwrap();
    case.give(&source);
    bundle.bind(&source, "/mnt", &["bind"]);
    bundle.shell("cat /mnt/in; echo back >/mnt/out");
    assert_eq!(case.print(&bundle), "from the host\n");
    assert_eq!(fs::read_to_string(source.join("out")).unwrap(), "back\n");
}

/// config.md, mounts: a bind of a file.
#[test]
fn a_file_can_be_bound() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(case.path("file"), "content\n").unwrap();
    case.give(&case.path("file"));
    bundle.bind(&case.path("file"), "/etc/resolv.conf", &["bind"]);
    bundle.shell("cat /etc/resolv.conf; echo more >>/etc/resolv.conf");
    assert_eq!(case.print(&bundle), "content\n");
    assert_eq!(fs::read_to_string(case.path("file")).unwrap(), "content\nmore\n");
}

/// config.md, mounts.source: of a bind, relative to the bundle.
#[test]
fn a_relative_bind_source_is_in_the_bundle() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.dir().join("data")).unwrap();
    fs::write(bundle.dir().join("data/name"), "found").unwrap();
    bundle.bind(std::path::Path::new("data"), "/mnt", &["rbind"]);
    bundle.args(["/bin/cat", "/mnt/name"]);
    assert_eq!(case.print(&bundle), "found");
}

/// config.md, mounts.type: with `bind` in the options it is a dummy.
#[test]
fn a_bind_needs_no_type() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(case.directory("source").join("name"), "found").unwrap();
    let source = case.path("source");
    bundle.mount(json!({ "destination": "/a", "source": source, "options": ["rbind"] }));
    bundle.mount(json!({
        "destination": "/b", "type": "none", "source": source, "options": ["bind"],
    }));
    bundle.args(["/bin/cat", "/a/name", "/b/name"]);
    assert_eq!(case.print(&bundle), "foundfound");
}

/// mount(2): `bind` takes one mount, `rbind` those below it as well.
#[test]
fn rbind_takes_the_mounts_below() {
    let case = Case::new();
    let source = case.directory("source");
    fs::create_dir(source.join("sub")).unwrap();
    let sub = source.join("sub");
    case.program("mount").args(["-t", "tmpfs", "none"]).arg(&sub).ok();
    fs::write(sub.join("name"), "below").unwrap();
    let mut bundle = case.bundle();
    bundle.bind(&source, "/plain", &["bind"]);
    bundle.bind(&source, "/recursive", &["rbind"]);
    bundle.shell("ls /plain/sub; ls /recursive/sub");
    assert_eq!(case.print(&bundle), "name\n");
    case.program("umount").arg(&sub).ok();
}

/// config.md, mounts.source: a bind of nothing is an error.
#[test]
fn a_missing_bind_source_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.bind(&case.path("missing"), "/mnt", &["rbind"]);
    case.run(&bundle).refused();
    assert!(!case.path("missing").exists());
    case.assert_nothing_left();
}

/// config.md, mounts.type: a filesystem the kernel does not have.
#[test]
fn an_unknown_filesystem_type_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({ "destination": "/mnt", "type": "bananafs", "source": "none" }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, mounts.options: unknown ones go to the filesystem, which refuses.
#[test]
fn an_option_the_filesystem_refuses_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=banana"],
    }));
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// config.md, mounts.options: data for the filesystem.
#[test]
fn filesystem_options_are_passed() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["size=64k", "mode=1750", "uid=7", "gid=8", "nr_inodes=99"],
    }));
    let report = case.report(&bundle);
    let options = mount_at(&report, "/mnt")["superOptions"].to_string();
    // mountinfo shows ids as the host numbers them.
    let ids = [format!("uid={}", case.host_id(7)), format!("gid={}", case.host_id(8))];
    let others = ["size=64k", "mode=1750", "nr_inodes=99"].map(str::to_owned);
    for option in ids.iter().chain(&others) {
        assert!(options.contains(option.as_str()), "{option} is not in {options}");
    }
}

/// config.md, mounts.source: what mountinfo shows.
#[test]
fn the_source_is_passed() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "husk-source" }));
    assert_eq!(mount_at(&case.report(&bundle), "/mnt")["source"], "husk-source");
}

/// config-linux.md, Default Filesystems, and the other types engines use.
#[test]
fn every_usual_filesystem_can_be_mounted() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.mount(json!({ "destination": "/ram", "type": "ramfs", "source": "ramfs" }));
    let report = case.report(&bundle);
    for (target, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/ram", "ramfs"),
    ] {
        assert_eq!(mount_at(&report, target)["type"], kind, "{target}");
    }
}

/// overlay, kernel documentation: lower, upper and work directories.
#[test]
fn an_overlay_can_be_mounted() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|d| case.directory(d));
    fs::write(lower.join("low"), "low").unwrap();
    [&lower, &upper, &work].into_iter().for_each(|dir| case.give(dir));
    bundle.mount(json!({
        "destination": "/mnt", "type": "overlay", "source": "overlay",
        "options": [
            format!("lowerdir={}", lower.display()),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ],
    }));
    bundle.shell("cat /mnt/low; echo up >/mnt/up");
    assert_eq!(case.print(&bundle), "low");
    assert!(upper.join("up").exists());
    assert!(!lower.join("up").exists());
}

/// config.md, mounts.type `cgroup`: the container's own cgroups, read-only
/// when asked.
#[test]
fn the_cgroup_filesystem_can_be_mounted() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("cgroup", None);
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }));
    bundle.shell(
        "find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | while read -r f; do
             test \"$(head -n 1 $f)\" && echo procs; done
         find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -exec sh -c 'echo 1 >{}' \\;",
    );
    let run = case.run(&bundle);
    assert!(run.stdout.contains("procs"), "{run:?}");
    assert!(run.stderr.contains("Read-only file system"), "{}", run.stderr);
}

/// config.md, Linux mount options: those for all mounts below, and propagation, hold for a
/// mount of type `cgroup` too, which is several on v1.
#[test]
fn the_cgroup_filesystem_heeds_recursive_options_and_propagation() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("cgroup", None);
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "rro", "rnoexec", "rshared"],
    }));
    bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
    let printed = case.print(&bundle);
    let mounts: Vec<&str> =
        printed.lines().filter(|line| line.contains(" /sys/fs/cgroup")).collect();
    assert!(!mounts.is_empty(), "{printed}");
    for line in mounts {
        let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
        assert!(options.contains(&"ro") && options.contains(&"noexec"), "{line}");
        assert!(line.contains(" shared:"), "{line}");
    }
}

/// `tmpcopyup`: a tmpfs that starts with what was there.
#[test]
fn tmpcopyup_copies_what_was_there() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let dir = bundle.rootfs("data");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), "content\n").unwrap();
    fs::set_permissions(dir.join("sub/file"), PermissionsExt::from_mode(0o604)).unwrap();
    std::os::unix::fs::chown(dir.join("sub/file"), Some(12), Some(34)).unwrap();
    fs::write(dir.join("own"), "content\n").unwrap();
    symlink("sub/file", dir.join("link")).unwrap();
    bundle.mount(json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
    }));
    bundle.shell(
        "cat /data/link; stat -c '%a %u %g' /data/sub/file; readlink /data/link
         echo changed >/data/own; stat -f -c %T /data",
    );
    assert_eq!(case.print(&bundle), "content\n604 12 34\nsub/file\ntmpfs\n");
    assert_eq!(fs::read_to_string(dir.join("own")).unwrap(), "content\n");
    assert_eq!(fs::metadata(dir.join("sub/file")).unwrap().uid(), case.host_id(12));
}

/// tmpfs(5): mode 1777 unless something says otherwise; a mount point that the
/// runtime had to make says nothing.
#[test]
fn a_tmpfs_on_a_new_mount_point_is_open_to_all() {
    let case = Case::new();
    let mut bundle = case.bundle();
    for (target, options) in [("/plain", json!([])), ("/copied", json!(["tmpcopyup", "nosuid"]))] {
        bundle.mount(json!({
            "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options,
        }));
    }
    bundle.args(["/bin/stat", "-c", "%n %a", "/plain", "/copied"]);
    assert_eq!(case.print(&bundle), "/plain 1777\n/copied 1777\n");
}

/// A mount over a file of /proc could hide what security rests on: refused.
#[test]
fn a_mount_inside_proc_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.bind(&case.directory("fake"), "/proc/fake", &["rbind"]);
    case.run(&bundle).refused();
    case.assert_nothing_left();
}

/// Which of the two is a file, and which a directory.
#[test]
fn a_file_over_a_directory_and_the_other_way_round() {
    let case = Case::new();
    let source = case.directory("source");
    fs::write(source.join("file"), "").unwrap();
    let refused = |bundle: &Bundle, words: &[&str]| {
        let run = case.run(bundle).refused();
        if runtime::name() == "husk-oci" {
            run.refused_in_one_line(words);
        }
        case.assert_nothing_left();
    };
    let mut bundle = case.bundle();
    bundle.bind(&source.join("file"), "/etc", &["bind"]);
    refused(&bundle, &["mounts[6]", "source is a file", "destination is a directory"]);
    let mut bundle = case.bundle();
    fs::write(bundle.rootfs("etc/file"), "").unwrap();
    bundle.bind(&source, "/etc/file", &["bind"]);
    refused(&bundle, &["mounts[6]", "source is a directory", "destination is a file"]);
}
