//! Symbolic links in the root filesystem where the runtime makes or mounts
//! something.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use serde_json::json;

use crate::canary::Canaries;

/// Takes the mounts at and below these destinations out, so that the image's
/// own files are what the runtime finds there.
pub(crate) fn without_mounts(bundle: &mut Bundle, below: &[&str]) {
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| {
        let destination = Path::new(mount["destination"].as_str().unwrap());
        !below.iter().any(|prefix| destination.starts_with(prefix))
    });
}

/// Puts a link where something else may be.
pub(crate) fn link(bundle: &Bundle, path: &str, target: &Path) {
    let at = bundle.rootfs(path);
    if fs::symlink_metadata(&at).is_ok_and(|status| status.is_dir()) {
        fs::remove_dir_all(&at).unwrap();
    } else {
        let _ = fs::remove_file(&at);
    }
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    symlink(target, at).unwrap();
}

/// CVE-2019-18837 (crun): a mount's destination is a link that leads out.
#[test]
fn a_link_as_destination_stays_inside() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for (kind, target) in [("absolute", canaries.path("dir")), ("up", canaries.upwards("dir"))] {
        let mut bundle = case.bundle();
        link(&bundle, "/mnt", &target);
        bundle.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
        bundle.shell("touch /mnt/inside && grep -c ' - tmpfs tmpfs' /proc/self/mountinfo");
        let run = case.run(&bundle);
        canaries.assert_untouched(&case, kind);
        if run.code() == 0 {
            // /dev, and the one that was asked for.
            assert_eq!(run.text(), "2", "{kind}: the mount is not inside");
        }
    }
}

/// CVE-2021-30465 (runc): the same through a directory on the way, for a bind
/// mount, whose destination the runtime makes.
#[test]
fn a_link_on_the_way_to_a_destination_stays_inside() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let volume = case.directory("volume");
    fs::write(volume.join("of-the-volume"), "").unwrap();
    for target in [canaries.path("dir"), canaries.upwards("dir")] {
        let mut bundle = case.bundle();
        link(&bundle, "/mnt", &target);
        bundle.bind(&volume, "/mnt/made/below", &["rbind", "rw"]);
        bundle.args(["/bin/ls", "/mnt/made/below"]);
        let run = case.run(&bundle);
        canaries.assert_untouched(&case, &target.display().to_string());
        if run.code() == 0 {
            assert_eq!(run.text(), "of-the-volume");
        }
    }
}

/// CVE-2024-45310 (runc): a dangling link as the destination of a file: the
/// empty file is made inside, if at all.
#[test]
fn a_dangling_link_makes_no_file_outside() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let file = case.path("file");
    fs::write(&file, "bound\n").unwrap();
    for target in [canaries.path("new"), canaries.upwards("new"), canaries.upwards("a/b/new")] {
        let mut bundle = case.bundle();
        link(&bundle, "/etc/resolv.conf", &target);
        bundle.bind(&file, "/etc/resolv.conf", &["bind"]);
        bundle.args(["/bin/cat", "/etc/resolv.conf"]);
        let run = case.run(&bundle);
        canaries.assert_untouched(&case, &target.display().to_string());
        if run.code() == 0 {
            assert_eq!(run.text(), "bound");
        }
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642 (runc), CVE-2025-54867
/// (youki): /proc or /sys is a link to a directory of the image's making.
#[test]
fn a_link_in_place_of_proc_or_sys_is_refused() {
    let case = Case::new();
    for name in ["proc", "sys"] {
        let mut bundle = case.bundle();
        let elsewhere = format!("bad-{name}");
        fs::create_dir(bundle.rootfs(&elsewhere)).unwrap();
        link(&bundle, name, Path::new(&format!("/{elsewhere}")));
        bundle.args(["/bin/true"]);
        case.run(&bundle).refused();
    }
}

/// CVE-2026-41579 (runc), CVE-2026-47766 (crun): /dev is a link to a directory
/// outside, where nodes and links would be made and `ptmx` removed.
#[test]
fn nothing_is_made_or_removed_through_a_link_at_dev() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for target in [canaries.path("dir"), canaries.upwards("dir")] {
        for with_mounts in [true, false] {
            let mut bundle = case.bundle();
            link(&bundle, "/dev", &target);
            if !with_mounts {
                without_mounts(&mut bundle, &["/dev"]);
            }
            bundle.args(["/bin/true"]);
            case.run(&bundle);
            canaries.assert_untouched(&case, &format!("mounts: {with_mounts}"));
        }
    }
}

/// CVE-2026-88264 (crun): /dev/console is a link to a file that is not there
/// yet, or is.
#[test]
fn no_console_is_made_through_a_link() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for name in ["new", "file", "dir/console"] {
        for target in [canaries.path(name), canaries.upwards(name)] {
            let mut bundle = case.bundle();
            without_mounts(&mut bundle, &["/dev"]);
            fs::create_dir_all(bundle.rootfs("dev/pts")).unwrap();
            bundle.mount(json!({
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"],
            }));
            link(&bundle, "/dev/console", &target);
            bundle.set("/process/terminal", true).args(["/bin/true"]);
            let socket = DescriptorSocket::listen(&case.path("console"));
            case.creating(&bundle, &["--console-socket", path_text(socket.path())]).output();
            canaries.assert_untouched(&case, &target.display().to_string());
            case.runtime().args(["delete", "--force", bundle.id()]).output();
            fs::remove_file(socket.path()).unwrap();
        }
    }
}

/// CVE-2025-52565 (runc): what is in /dev/pts is not what the devpts made.
#[test]
fn a_terminal_comes_from_a_devpts_only() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for name in ["pts/ptmx", "pts/0", "ptmx", "pts"] {
        let mut bundle = case.bundle();
        without_mounts(&mut bundle, &["/dev"]);
        fs::create_dir_all(bundle.rootfs("dev/pts")).unwrap();
        link(&bundle, &format!("/dev/{name}"), &canaries.upwards(&format!("dir/{name}")));
        bundle.set("/process/terminal", true).args(["/bin/true"]);
        let socket = DescriptorSocket::listen(&case.path("console"));
        case.creating(&bundle, &["--console-socket", path_text(socket.path())]).output().refused();
        canaries.assert_untouched(&case, name);
        fs::remove_file(socket.path()).unwrap();
    }
}

/// CVE-2025-31133 (runc), CVE-2025-62161 (youki): masked files are covered
/// with the container's own /dev/null, which is a link to something else.
#[test]
fn a_mask_is_the_null_device_and_nothing_else() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for target in [canaries.path("file"), canaries.upwards("file"), "/secret".into()] {
        let mut bundle = case.bundle();
        without_mounts(&mut bundle, &["/dev"]);
        link(&bundle, "/dev/null", &target);
        fs::write(bundle.rootfs("secret"), "secret\n").unwrap();
        fs::write(bundle.rootfs("masked"), "masked\n").unwrap();
        bundle.set("/linux/maskedPaths", json!(["/masked"]));
        bundle.args(["/bin/cat", "/masked"]);
        let run = case.run(&bundle);
        canaries.assert_untouched(&case, &target.display().to_string());
        assert_eq!(run.stdout, "", "the mask is not empty");
    }
}

/// CVE-2026-88265 (crun): /dev/null is a link to a file that is bound into the
/// container; standard streams are pipes. Its owner stays, and what it holds.
#[test]
fn standard_streams_are_not_reopened_from_dev() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let mut bundle = case.bundle();
    without_mounts(&mut bundle, &["/dev"]);
    bundle.bind(&canaries.path("file"), "/bound", &["bind", "ro"]);
    link(&bundle, "/dev/null", Path::new("/bound"));
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(["/bin/true"]);
    bundle.write();
    let dir = case.dir().display();
    let script = format!("echo | \"$@\" 2>&1 | cat >{dir}/said");
    case.program("/bin/sh")
        .args(["-c", &script, "sh"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .output();
    canaries.assert_untouched(&case, "run with pipes");
}

/// CVE-2026-115521 (crun): the root is made read-only by way of something in
/// the container's own /proc/self/fd, which the image can provide.
#[test]
fn a_read_only_root_does_not_depend_on_the_containers_proc() {
    let case = Case::new();
    let mut bundle = case.bundle();
    without_mounts(&mut bundle, &["/proc"]);
    fs::create_dir_all(bundle.rootfs("proc/self/fd")).unwrap();
    for fd in 0..32 {
        symlink("/tmp", bundle.rootfs(&format!("proc/self/fd/{fd}"))).unwrap();
    }
    bundle.set("/root/readonly", true).shell("touch /new && echo WRITABLE; true");
    let run = case.run(&bundle);
    assert_eq!(run.stdout, "");
    assert!(!bundle.rootfs("new").exists());
}
