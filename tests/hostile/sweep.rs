//! The canary sweep: every name that a runtime looks for in a root filesystem,
//! and every trick that can be played with it. Each time `run`, `create` and
//! `exec` work inside or fail in one line, and what is outside stays as it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use husk_tests::invocation::Output;
use husk_tests::runtime;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::canary::Canaries;
use crate::links::{link, without_mounts};

/// What stands where the runtime expects its file or directory.
#[derive(Debug, Clone, Copy)]
enum Trick {
    LinkUp,
    LinkAbsolute,
    LinkDangling,
    LinkLoop,
    LinkOfProc,
    Fifo,
    Socket,
    File,
    Directory,
    /// A volume that is full of links out.
    Volume,
}

const TRICKS: [Trick; 10] = [
    Trick::LinkUp,
    Trick::LinkAbsolute,
    Trick::LinkDangling,
    Trick::LinkLoop,
    Trick::LinkOfProc,
    Trick::Fifo,
    Trick::Socket,
    Trick::File,
    Trick::Directory,
    Trick::Volume,
];

/// Names that a runtime uses in one of these directories.
const USED: [&str; 20] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue",
    "fd", "stdin", "self", "sys", "fs", "cgroup", "hosts", "bind", "kcore",
];

fn play(trick: Trick, name: &str, case: &Case, canaries: &Canaries, bundle: &mut Bundle) {
    let at = bundle.rootfs(name);
    let at_link = |target: &Path| link(bundle, name, target);
    let last = Path::new(name).file_name().unwrap().to_str().unwrap();
    let inner = format!("dir/{last}");
    let target = if canaries.path(&inner).exists() { inner.as_str() } else { "dir" };
    match trick {
        Trick::LinkUp => at_link(&canaries.upwards(target)),
        Trick::LinkAbsolute => at_link(&canaries.path(target)),
        Trick::LinkDangling => at_link(&canaries.upwards("new/and/more")),
        Trick::LinkLoop => at_link(Path::new(last)),
        Trick::LinkOfProc => {
            at_link(
                &Path::new("/proc/1/root").join(canaries.path(target).strip_prefix("/").unwrap()),
            );
        }
        Trick::Volume => {
            let volume = case.directory(&format!("volume-{}", bundle.id()));
            for used in USED {
                symlink(canaries.upwards(&format!("dir/{used}")), volume.join(used)).unwrap();
            }
            let bind = json!({
                "destination": format!("/{name}"), "type": "bind", "source": volume,
                "options": ["rbind", "rw"],
            });
            bundle.config["mounts"].as_array_mut().unwrap().insert(0, bind);
        }
        Trick::Fifo | Trick::Socket | Trick::File | Trick::Directory => {
            // A link first: it removes what is there and makes what leads to it.
            at_link(Path::new("x"));
            fs::remove_file(&at).unwrap();
            match trick {
                Trick::Fifo => {
                    mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
                }
                // By a short path: that of a socket has 108 bytes.
                Trick::Socket => {
                    let short = case.path("socket");
                    drop(UnixListener::bind(&short).unwrap());
                    fs::rename(short, &at).unwrap();
                }
                Trick::File => fs::write(&at, "of the image\n").unwrap(),
                _ => fs::create_dir(&at).unwrap(),
            }
        }
    }
}

/// A bundle that uses every kind of path there is; `image_dev`: /dev and /sys
/// are the image's own directories, and no mount covers them.
pub(crate) fn bundle_with_all(case: &Case, image_dev: bool) -> Bundle {
    let mut bundle = case.bundle();
    if image_dev {
        without_mounts(&mut bundle, &["/dev", "/sys"]);
        for (destination, kind) in
            [("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue")]
        {
            bundle.mount(json!({ "destination": destination, "type": kind, "source": kind }));
        }
        bundle.mount(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"],
        }));
    }
    let volume = case.directory("mounted");
    fs::write(volume.join("content"), "").unwrap();
    bundle.bind(&volume, "/mnt/bind", &["rbind"]);
    bundle.bind(&volume.join("content"), "/etc/hosts", &["bind"]);
    bundle.mount(json!({
        "destination": "/mnt/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
    }));
    fs::write(bundle.rootfs("masked"), "masked").unwrap();
    for name in ["masked-dir", "readonly", "mnt/tmp", "image"] {
        fs::create_dir_all(bundle.rootfs(name)).unwrap();
    }
    bundle.set("/linux/maskedPaths", json!(["/masked", "/masked-dir", "/proc/kcore", "/missing"]));
    bundle.set("/linux/readonlyPaths", json!(["/readonly", "/proc/sys", "/missing"]));
    bundle.set("/linux/devices", json!([{ "path": "/image/node", "type": "p", "uid": 5 }]));
    bundle.set("/process/cwd", "/work");
    bundle
}

pub(crate) fn works_or_says_why(run: &Output, what: &str) -> bool {
    if run.status.success() {
        return true;
    }
    // A death by a signal fails the test.
    assert_ne!(run.code(), 0);
    assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    if runtime::name() == "husk-oci" {
        let lines = run.stderr.trim_end().lines().count();
        assert_eq!(lines, 1, "{what}: not one line:\n{}", run.stderr);
    }
    false
}

/// One trick on one name; true where the container could be created.
fn once(case: &Case, canaries: &Canaries, name: &str, trick: Trick, image_dev: bool) -> bool {
    let what = format!("/{name}, {trick:?}, image's own /dev: {image_dev}");
    let mut bundle = bundle_with_all(case, image_dev);
    play(trick, name, case, canaries, &mut bundle);
    bundle.args(["/bin/probe"]);
    let run = case.run(&bundle);
    canaries.assert_untouched(case, &format!("run: {what}"));
    let works = works_or_says_why(&run, &what);
    if works {
        let mounts = run.json()["mounts"].as_array().map_or(usize::MAX, Vec::len);
        let wanted = bundle.config["mounts"].as_array().unwrap().len();
        assert!(mounts > wanted, "{what}: a mount is not inside: {}", run.stdout);
    }
    // A terminal makes a difference in /dev alone.
    if !works && !name.starts_with("dev") {
        return false;
    }
    bundle.args(["/bin/sleep", "1000"]);
    bundle.set("/process/terminal", true);
    let console = DescriptorSocket::listen(&case.path("console"));
    let flags = ["--console-socket", path_text(console.path())];
    let created = case.creating(&bundle, &flags).output();
    canaries.assert_untouched(case, &format!("create: {what}"));
    fs::remove_file(console.path()).unwrap();
    if !works_or_says_why(&created, &what) {
        return false;
    }
    let process = case.path("process.json");
    let mut described = bundle.config["process"].clone();
    described["terminal"] = false.into();
    described["args"] = json!(["/bin/true"]);
    fs::write(&process, described.to_string()).unwrap();
    let exec =
        case.runtime().args(["exec", "--process", path_text(&process), bundle.id()]).output();
    works_or_says_why(&exec, &what);
    canaries.assert_untouched(case, &format!("exec: {what}"));
    case.runtime().args(["delete", "--force", bundle.id()]).output();
    canaries.assert_untouched(case, &format!("delete: {what}"));
    true
}

/// All tricks on some names, side by side: most of the time is the kernel's
/// waiting while it removes cgroups and namespaces.
fn sweep(names: &[&str], image_dev: bool) {
    let worked: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|name| {
                scope.spawn(move || {
                    let case = Case::new();
                    let canaries = Canaries::new(&case);
                    let once = |trick: &&Trick| once(&case, &canaries, name, **trick, image_dev);
                    TRICKS.iter().filter(once).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Else the bundle itself would not work, and the tricks prove nothing.
    assert!(worked > 0, "no container of {names:?} was created");
}

/// Names in /dev, where no tmpfs covers them.
#[test]
fn names_in_the_images_dev() {
    sweep(&["dev", "dev/null", "dev/console", "dev/pts", "dev/ptmx"], true);
}

/// The other mount points in /dev and /sys, and what leads to them.
#[test]
fn mount_points_in_the_images_dev_and_sys() {
    sweep(&["dev/shm", "dev/mqueue", "sys", "sys/fs", "sys/fs/cgroup"], true);
}

/// What the usual mounts cover.
#[test]
fn names_that_mounts_cover() {
    sweep(&["dev", "proc", "sys", "dev/null", "dev/console"], false);
}

/// Destinations of other mounts, and the directories on the way to them.
#[test]
fn destinations_of_mounts() {
    sweep(&["etc", "etc/hosts", "mnt", "mnt/bind", "mnt/tmp"], false);
}

/// What is masked, read-only or made, and the working directory.
#[test]
fn masked_and_read_only_paths_devices_and_cwd() {
    sweep(&["masked", "masked-dir", "readonly", "image", "image/node", "work"], false);
}
