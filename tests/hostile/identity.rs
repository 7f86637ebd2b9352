//! Whom a process runs as, and what it may do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use husk_tests::case::{Case, Container};
use husk_tests::console::Master;
use husk_tests::runtime;
use serde_json::Value;

fn exec_ids(container: &Container<'_>, user: &str) -> Option<String> {
    let run =
        container.exec(&["--user", user], &["/bin/sh", "-c", "echo $(id -u):$(id -g)"]).output();
    (run.code() == 0).then(|| run.text().to_owned())
}

/// CVE-2016-3697 (runc), CVE-2026-30892 (crun): digits are an id and never a
/// name; what is no id is an error and never another id.
#[test]
fn digits_are_ids_and_nothing_else_is() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(
        bundle.rootfs("etc/passwd"),
        "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n",
    )
    .unwrap();
    fs::write(bundle.rootfs("etc/group"), "2:x:0:\n1000:x:0:\n").unwrap();
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    for (user, uid) in [("1000", "1000"), ("1", "1"), ("1:2", "1"), ("2147483647", "2147483647")] {
        // An image's group for the user is as good as none; its uid is what counts.
        let ids = exec_ids(&container, user).unwrap_or_else(|| panic!("{user}: an error"));
        assert_eq!(ids.split(':').next(), Some(uid), "{user}: {ids}");
    }
    for user in ["4294967295", "4294967296", "8589934592", "-1", "99999999999999999999", "1:-1"] {
        assert_eq!(exec_ids(&container, user), None, "{user} is no id");
    }
    for user in [":2", "1:"] {
        let ids = exec_ids(&container, user);
        let harmless = [None, Some("1:0".to_owned()), Some("0:2".to_owned())];
        assert!(harmless.contains(&ids), "{user}: {ids:?}");
    }
}

/// CVE-2024-9676 (class: image files): /etc/passwd is a FIFO, a directory, a
/// link to a device, or far too large: no hang, no other user.
#[test]
fn a_hostile_passwd_neither_hangs_nor_maps() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let passwd = bundle.rootfs("etc/passwd");
    assert_eq!(exec_ids(&container, "web"), None, "no passwd");
    let _fifo = case.fifo(&bundle, "etc/passwd");
    assert_eq!(exec_ids(&container, "web"), None, "a FIFO");
    fs::remove_file(&passwd).unwrap();
    fs::create_dir(&passwd).unwrap();
    assert_eq!(exec_ids(&container, "web"), None, "a directory");
    fs::remove_dir(&passwd).unwrap();
    for target in ["/dev/zero", "/etc/passwd", "/proc/self/fd/0"] {
        std::os::unix::fs::symlink(target, &passwd).unwrap();
        assert_eq!(exec_ids(&container, "web"), None, "{target}");
        fs::remove_file(&passwd).unwrap();
    }
    let mut text = "x".repeat(8 << 20);
    text.push_str("\nweb:x:0:0::/:/bin/sh\n");
    fs::write(&passwd, text).unwrap();
    container.exec(&["--user", "web"], &["/bin/true"]).output();
}

/// CVE-2024-21626's neighbour, CVE-2022-4318 (class: HOME from an image): no
/// line of a passwd file adds a variable.
#[test]
fn home_from_an_image_is_one_variable() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::write(
        bundle.rootfs("etc/passwd"),
        "root:x:0:0::/home\nEVIL=1:/bin/sh\nroot:x:0:0::/home\0EVIL=1:/bin/sh\n",
    )
    .unwrap();
    bundle.args(["/bin/env"]);
    let run = case.run(&bundle);
    assert!(!run.lines().iter().any(|line| line.starts_with("EVIL")), "{run:?}");
}

fn inheritable(report: &Value) -> &str {
    report["status"]["CapInh"].as_str().unwrap()
}

/// CVE-2022-24769 (moby), 27649 (podman), 27650 (crun), 27651 (buildah), 29162
/// (runc `exec --cap`), CVE-2025-27612 (youki): the inheritable set is empty.
#[test]
fn no_capability_is_inheritable() {
    let case = Case::new();
    assert_eq!(inheritable(&case.report(&case.bundle())), "0000000000000000", "run");
    let (_bundle, container) = case.sleeper();
    for flags in [&[][..], &["--cap", "CAP_NET_RAW"], &["--user", "1000", "--cap", "CAP_KILL"]] {
        let report = container.exec(flags, &["/bin/probe"]).ok().json();
        assert_eq!(inheritable(&report), "0000000000000000", "exec {flags:?}");
    }
}

/// CVE-2016-9962 (runc): a process of the container looks for one that is
/// about to join it, and takes what it has open.
#[test]
fn a_joining_process_cannot_be_looked_into() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    // Builtins only: a look takes microseconds. The runtime's arguments have
    // the case's name in them, the container's do not.
    bundle.shell(&format!(
        "echo ready >/said
         while [ ! -e /stop ]; do
           for p in /proc/[0-9]*; do
             read line <$p/cmdline || continue
             case \"$line\" in *{0}*)
               set -- $p/fd/*
               [ -e \"$1\" ] && echo \"LEAK $p $# $1\" >>/leaks
             esac
           done 2>/dev/null
         done
         echo over >/said",
        case.marker()
    ));
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    for _ in 0..60 {
        container.exec(&[], &["/bin/true"]).ok();
    }
    fs::write(bundle.rootfs("stop"), "").unwrap();
    assert_eq!(said.line(), "over");
    let leaks = fs::read_to_string(bundle.rootfs("leaks")).unwrap_or_default();
    assert_eq!(leaks, "");
}

/// CVE-2016-9962 once more, without luck: the process that waits for `start`
/// is the runtime's, and in reach of another container.
#[test]
fn a_waiting_process_cannot_be_looked_into() {
    let case = Case::new();
    let created = case.create(&case.bundle());
    let mut bundle = case.bundle();
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", created.pid())));
    bundle.shell(
        "cd /proc/1 || exit; for link in exe cwd root fd/0; do readlink $link; done
         set -- fd/*; [ -e $1 ] && echo fd $#; head -c 1 environ; head -c 1 maps; head -c 1 mem
         echo looked",
    );
    assert_eq!(case.run(&bundle).stdout, "looked\n");
}

/// CVE-2019-5736 (runc, lxc, crun): the runtime's executable, by way of a
/// script whose interpreter is /proc/self/exe, is as it was.
#[test]
fn the_runtimes_executable_stays_as_it_is() {
    let case = Case::new();
    let before = fs::read(runtime::path()).unwrap();
    let status = fs::metadata(runtime::path()).unwrap().modified().unwrap();
    let mut bundle = case.bundle();
    let script = bundle.rootfs("bin/trick");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    bundle.args(["/bin/trick"]);
    case.run(&bundle);
    bundle.args(["/proc/self/exe"]);
    case.run(&bundle);
    let (bundle, container) = case.sleeper();
    let script = bundle.rootfs("bin/trick");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    container.exec(&[], &["/bin/trick"]).output();
    container.exec(&[], &["/bin/sh", "-c", ": >>/proc/self/exe"]).output();
    assert!(before == fs::read(runtime::path()).unwrap(), "the runtime was changed");
    assert_eq!(status, fs::metadata(runtime::path()).unwrap().modified().unwrap());
}

/// CVE-2017-5226, CVE-2016-8659 (bubblewrap; class: TIOCSTI): a process that was
/// started from a terminal without one of its own cannot type into that.
#[cfg(target_arch = "x86_64")]
#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    let case = Case::new();
    let (_master, slave) = Master::open();
    let mut bundle = case.bundle();
    // setsid(2): a session without a terminal.
    bundle.shell("read stat </proc/self/stat; set -- ${stat##*) }; echo $5; : </dev/tty");
    let run = case.running(&bundle, &[]).stdin(slave.try_clone().unwrap()).output();
    assert_eq!(run.text(), "0", "a controlling terminal");
    assert_ne!(run.code(), 0, "/dev/tty could be opened");
    crate::machine_code::tiocsti(&bundle.rootfs("bin/type"));
    bundle.args(["/bin/type"]);
    let run = case.running(&bundle, &[]).stdin(slave).output();
    // EPERM, or ENOTTY where the caller passes a pipe on.
    assert_ne!(run.code(), 0, "TIOCSTI was allowed");
}
