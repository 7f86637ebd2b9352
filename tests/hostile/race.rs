//! The race sweep: while containers are made, a neighbour in a shared volume
//! exchanges names (rename(2), `RENAME_EXCHANGE`). Bounded in rounds and in
//! time; `HUSK_RACE_ROUNDS` asks for more rounds and takes the time they need.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use husk_tests::invocation::Output;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::json;

use crate::canary::Canaries;
use crate::links::without_mounts;
use crate::sweep::works_or_says_why;

/// What a scenario may take where nobody asks for more.
const ROUNDS: u64 = 60;
const TIME: Duration = Duration::from_secs(6);

/// Exchanges two names without a pause while `make` makes containers.
fn race(pairs: &[(PathBuf, PathBuf)], mut make: impl FnMut(u64)) {
    let asked = std::env::var("HUSK_RACE_ROUNDS").ok();
    let asked: Option<u64> = asked.map(|rounds| rounds.parse().expect("HUSK_RACE_ROUNDS"));
    let stop = AtomicBool::new(false);
    let exchanged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (a, b) in pairs {
                    // Busy while a mount is on it; then the next time.
                    if renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok() {
                        exchanged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        // Also when a round fails the test, or the scope would wait for ever.
        let _ended = Ended(&stop);
        let begin = Instant::now();
        for round in 0..asked.unwrap_or(ROUNDS) {
            if asked.is_none() && begin.elapsed() > TIME {
                break;
            }
            make(round);
        }
    });
    assert!(exchanged.into_inner() > 100, "there was no race");
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pair(dir: &Path, a: &str, b: &str) -> (PathBuf, PathBuf) {
    (dir.join(a), dir.join(b))
}

/// A volume in which `target` is a directory and `link` leads out.
fn volume(case: &Case, canaries: &Canaries) -> PathBuf {
    let volume = case.directory("volume");
    fs::create_dir(volume.join("target")).unwrap();
    symlink(canaries.upwards("dir"), volume.join("link")).unwrap();
    volume
}

fn run(case: &Case, bundle: &Bundle, what: &str) -> Option<Output> {
    let run = case.run(bundle);
    works_or_says_why(&run, what).then_some(run)
}

/// CVE-2021-30465 (runc): a destination is exchanged for a link during set-up.
#[test]
fn a_destination_that_is_exchanged() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let volume = volume(&case, &canaries);
    let mut bundle = case.bundle();
    bundle.bind(&volume, "/vol", &["rbind", "rw"]);
    for _ in 0..4 {
        bundle.mount(json!({ "destination": "/vol/target", "type": "tmpfs", "source": "racing" }));
    }
    race(&[pair(&volume, "target", "link")], |round| {
        if let Some(run) = run(&case, &bundle, "tmpfs") {
            let report = run.json();
            let mounts = report["mounts"].as_array().unwrap();
            let racing = mounts.iter().filter(|mount| mount["source"] == "racing").count();
            assert_eq!(racing, 4, "round {round}: a mount is not inside");
        }
    });
    canaries.assert_untouched(&case, "race");
}

/// CVE-2024-45310 (runc): what is made on the way to a destination.
#[test]
fn a_way_to_a_destination_that_is_exchanged() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let volume = volume(&case, &canaries);
    fs::write(case.path("file"), "").unwrap();
    let mut bundle = case.bundle();
    bundle.bind(&volume, "/vol", &["rbind", "rw"]);
    bundle.args(["/bin/true"]);
    let mounts = bundle.config["mounts"].clone();
    race(&[pair(&volume, "target", "link")], |round| {
        bundle.config["mounts"] = mounts.clone();
        bundle.bind(&case.path("file"), &format!("/vol/target/a{round}/b/file"), &["bind"]);
        bundle.mount(json!({
            "destination": format!("/vol/target/c{round}/d"), "type": "tmpfs", "source": "x",
        }));
        bundle.set("/process/cwd", format!("/vol/target/cwd{round}/e"));
        run(&case, &bundle, "made");
    });
    canaries.assert_untouched(&case, "race");
}

/// CVE-2025-31133, CVE-2025-52565 (runc), CVE-2025-62161 (youki): null, console
/// and pts of a shared /dev are exchanged for links.
#[test]
fn names_in_dev_that_are_exchanged() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let dev = case.directory("volume");
    let mut pairs = Vec::new();
    for name in ["console", "ptmx", "tty"] {
        fs::write(dev.join(name), "").unwrap();
        symlink(canaries.upwards(&format!("dir/{name}")), dev.join(format!("{name}.link")))
            .unwrap();
        pairs.push(pair(&dev, name, &format!("{name}.link")));
    }
    // The node itself, exchanged for a link: it is there already, so it is checked.
    fs::remove_file(dev.join("tty")).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, dev.join("tty"), FileType::CharacterDevice, mode, makedev(5, 0)).unwrap();
    fs::create_dir(dev.join("pts")).unwrap();
    symlink(canaries.upwards("dir/pts"), dev.join("pts.link")).unwrap();
    pairs.push(pair(&dev, "pts", "pts.link"));
    let mut bundle = case.bundle();
    without_mounts(&mut bundle, &["/dev"]);
    // Bound below its name in the root, so that nodes are made in it.
    let rootfs_dev = bundle.rootfs("dev");
    fs::remove_dir(&rootfs_dev).unwrap();
    symlink("/vol", &rootfs_dev).unwrap();
    bundle.bind(&dev, "/vol", &["rbind", "rw"]);
    bundle.mount(json!({
        "destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666"],
    }));
    fs::write(bundle.rootfs("masked"), "masked").unwrap();
    bundle.set("/linux/maskedPaths", json!(["/masked", "/vol/console"]));
    bundle.set("/process/terminal", true).args(["/bin/sleep", "1000"]);
    race(&pairs, |_| {
        let console = DescriptorSocket::listen(&case.path("console"));
        let flags = ["--console-socket", path_text(console.path())];
        let created = case.creating(&bundle, &flags).output();
        fs::remove_file(console.path()).unwrap();
        if works_or_says_why(&created, "dev") {
            case.runtime().args(["delete", "--force", bundle.id()]).ok();
        }
    });
    canaries.assert_untouched(&case, "race");
}

/// CVE-2019-19921, CVE-2023-27561 (runc): /proc of a root filesystem that is
/// shared with a running container.
#[test]
fn a_proc_that_is_exchanged() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let mut bundle = case.bundle();
    let root = bundle.rootfs("");
    symlink(canaries.upwards("dir"), root.join("bad-proc")).unwrap();
    symlink(canaries.upwards("dir"), root.join("bad-sys")).unwrap();
    bundle.set("/linux/sysctl", json!({ "kernel.domainname": "written" }));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]));
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/sys/firmware"]));
    bundle.args(["/bin/true"]);
    race(&[pair(&root, "proc", "bad-proc"), pair(&root, "sys", "bad-sys")], |_| {
        run(&case, &bundle, "proc");
    });
    canaries.assert_untouched(&case, "race");
}

/// GHSA-3q8j-pf29-vwv8 (youki): a read-only path is looked up once, so that
/// what is bound is what is read-only.
#[test]
fn a_read_only_path_that_is_exchanged() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let volume = volume(&case, &canaries);
    fs::create_dir(volume.join("other")).unwrap();
    let mut bundle = case.bundle();
    bundle.bind(&volume, "/vol", &["rbind", "rw"]);
    bundle.set("/linux/readonlyPaths", json!(["/vol/target"]));
    race(&[pair(&volume, "target", "other"), pair(&volume, "other", "link")], |round| {
        let Some(run) = run(&case, &bundle, "read-only") else { return };
        let report = run.json();
        let bound = report["mounts"].as_array().unwrap().iter().filter(|mount| {
            let root = mount["root"].as_str().unwrap();
            ["target", "other"].iter().any(|name| root.ends_with(&format!("/volume/{name}")))
        });
        for mount in bound {
            let options = mount["options"].as_array().unwrap();
            assert!(options.iter().any(|option| option == "ro"), "round {round}: {mount}");
        }
    });
    canaries.assert_untouched(&case, "race");
}
