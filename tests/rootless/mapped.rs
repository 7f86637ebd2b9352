//! A user namespace of many ids, made by root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use husk_tests::case::Case;
use serde_json::json;

use crate::joined::add_user_namespace;

const ROOT: u32 = 1_000_000;

/// A directory on the way to the source is closed to the container's root: the
/// runtime opens the source.
#[test]
fn a_source_that_the_containers_root_cannot_reach() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    let closed = case.directory("closed");
    fs::create_dir(closed.join("open")).unwrap();
    fs::write(closed.join("open/file"), "reached\n").unwrap();
    fs::write(closed.join("single"), "alone\n").unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    bundle.bind(&closed.join("open"), "/mnt", &["rbind", "ro"]);
    bundle.bind(&closed.join("single"), "/single", &["bind"]);
    bundle.args(["/bin/cat", "/mnt/file", "/single"]);
    assert_eq!(case.print(&bundle), "reached\nalone\n");
}

#[test]
fn devices_are_the_hosts() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    bundle.set(
        "/linux/devices",
        json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 3, "gid": 4 },
        ]),
    );
    bundle
        .shell("stat -c '%F %t:%T' /dev/fuse; stat -c '%F %a %u %g' /dev/pipe; echo x >/dev/null");
    assert_eq!(case.print(&bundle), "character special file a:e5\nfifo 622 3 4\n");
    bundle.set("/linux/devices/0/path", "/dev/husk-none");
    case.run(&bundle).refused_in_one_line(&["linux.devices[0] (/dev/husk-none)", "is bound"]);
    bundle.set("/linux/devices/0/path", "/dev/fuse").set("/linux/devices/0/minor", 230);
    case.run(&bundle).refused_in_one_line(&["linux.devices[0] (/dev/fuse)"]);
}

/// The mode and the owner of the host's node are not the container's to change.
#[test]
fn a_mode_that_cannot_be_given_is_a_warning() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    bundle.args(["/bin/true"]);
    bundle.set(
        "/linux/devices",
        json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600 }]),
    );
    let stderr = case.run(&bundle).ok().stderr;
    assert!(stderr.contains("warning: linux.devices[0].fileMode"), "{stderr:?}");
}

#[test]
fn limits_score_clocks_and_streams() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    bundle.namespace("time", None);
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100_000, "nanosecs": 0 } }));
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.set("/process/oomScoreAdj", 321);
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]));
    let said = case.fifo(&bundle, "said");
    bundle.shell(
        "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; stat -Lc %u /proc/self/fd/1 >&2
         read up rest </proc/uptime; [ ${up%.*} -gt 100000 ] && echo later",
    );
    let container = case.start(&{
        let mut sleeper = bundle.clone();
        sleeper.args(["/bin/sleep", "1000"]);
        sleeper
    });
    let exec = container.exec(&["--user", "1000:1000"], &["sh", "-c", "cat /proc/self/oom_score_adj; read up rest </proc/uptime; [ ${up%.*} -gt 100000 ] && echo later"]);
    assert!(exec.ok().stdout.ends_with("later\n"));
    container.stop();
    container.delete();
    drop(said);
    assert_eq!(case.print(&bundle), "100\n200\n321\nlater\n");
}

/// The terminal is the container user's, inside and outside.
#[test]
fn hooks_and_terminal() {
    let case = Case::without_user_namespace("the test adds its own");
    let mut bundle = case.bundle();
    add_user_namespace(&mut bundle);
    // Of the container's root, who runs createContainer hooks.
    let out = case.directory("out");
    husk_tests::user_namespace::give(&out);
    let hook = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("id -u >{}/{name}", out.display())] }]);
    bundle.set("/hooks/createRuntime", hook("runtime"));
    bundle.set("/hooks/createContainer", hook("container"));
    bundle.set("/process/terminal", true).set("/process/user", json!({ "uid": 7, "gid": 8 }));
    bundle.shell("stat -c %u $(tty); tty");
    bundle.write();
    let run = format!(
        "{} --root {} run --bundle {} {}",
        husk_tests::runtime::path().display(),
        case.state_root().display(),
        bundle.dir().display(),
        bundle.id()
    );
    let typed = case.program("script").args(["-qec", &run, "/dev/null"]).ok().stdout;
    let lines: Vec<&str> = typed.split_whitespace().collect();
    assert!(lines.iter().any(|l| l.ends_with('7')) && typed.contains("/dev/pts/0"), "{typed:?}");
    for name in ["runtime", "container"] {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), "0\n", "{name}");
    }
    assert_eq!(fs::metadata(out.join("container")).unwrap().uid(), ROOT);
    assert_eq!(fs::metadata(out.join("runtime")).unwrap().uid(), 0);
}
