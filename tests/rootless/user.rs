//! The runtime as an ordinary user calls it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use husk_tests::case::Case;
use husk_tests::user::{COUNT, FIRST, UID, User};
use serde_json::{Value, json};

use crate::{HELPERS, installed};

/// All subordinate ids after the own one, as engines map them.
pub(crate) fn many_ranges() -> Value {
    json!([
        { "containerID": 0, "hostID": UID, "size": 1 },
        { "containerID": 1, "hostID": FIRST, "size": COUNT },
    ])
}

#[test]
fn spec_rootless_maps_the_own_id_and_runs() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.shell("id -u; id -g; cat /proc/self/uid_map; touch /made; echo x >/dev/null");
    let run = user.running(&bundle, &[]).ok();
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "0", &UID.to_string(), "1"]);
    assert_eq!(fs::metadata(bundle.rootfs("made")).unwrap().uid(), UID);
}

#[test]
fn the_state_is_kept_in_the_runtime_directory() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    user.with_bundle("create", &bundle, &[]).ok();
    assert!(user.runtime_dir().join("husk-oci").join(bundle.id()).exists());
    user.on("delete", bundle.id()).arg("--force").ok();
    assert!(!user.runtime_dir().join("husk-oci").join(bundle.id()).exists());
    let none = user.runtime().env_remove("XDG_RUNTIME_DIR").arg("list").output();
    none.refused_in_one_line(&["--root", "XDG_RUNTIME_DIR"]);
}

#[test]
fn the_whole_life_of_a_container() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    // An exec takes it over, too.
    bundle.set("/process/oomScoreAdj", 1000);
    let id = bundle.id().to_owned();
    let status = || user.on("state", &id).ok().json()["status"].as_str().unwrap().to_owned();
    user.with_bundle("create", &bundle, &[]).ok();
    assert_eq!(status(), "created");
    user.on("start", &id).ok();
    assert_eq!(status(), "running");
    let list = user.runtime().args(["list", "--format", "json"]).ok().json();
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(list[0]["owner"], husk_tests::user::NAME);
    assert_eq!(user.on("exec", &id).args(["id", "-u"]).ok().text(), "0");
    let score = user.on("exec", &id).args(["cat", "/proc/self/oom_score_adj"]).ok();
    assert_eq!(score.text(), "1000");
    // The new process must not be heard before the one between: a race once.
    for _ in 0..20 {
        user.on("exec", &id).arg("true").ok();
    }
    // A second process, so that there is something to tell apart.
    user.runtime().args(["exec", "--detach", &id, "sleep", "1000"]).ok();
    let pids = user.runtime().args(["ps", "--format", "json", &id]).ok().json();
    assert_eq!(pids.as_array().unwrap().len(), 2, "{pids}");
    user.on("kill", &id).arg("KILL").ok();
    let delete = user.on("delete", &id).arg("--force");
    delete.ok();
    user.on("state", &id).output().refused_in_one_line(&[&id]);
}

/// Without a cgroup the pid namespace tells whom a signal is for.
#[test]
fn kill_all_reaches_every_process() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    let said = case.fifo(&bundle, "said");
    user.give(bundle.dir());
    bundle.shell(
        "sh -c 'trap \"echo got >/said; exit\" USR1; echo ready >/said; while :; do sleep 0.05; done' &
         trap '' USR1; while :; do sleep 1000; done",
    );
    user.running(&bundle, &["--detach"]).ok();
    assert_eq!(said.line(), "ready");
    user.runtime().args(["kill", "--all", bundle.id(), "USR1"]).ok();
    assert_eq!(said.line(), "got");
    user.on("delete", bundle.id()).arg("--force").ok();
}

/// The kernel gives nobody a cgroup of his own on v1: said once, with the remedy,
/// and an error only where limits were asked for.
#[test]
fn no_cgroup_is_a_warning_and_no_limit_an_error() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    let run = user.running(&bundle, &[]).ok();
    for words in ["warning: no cgroup is made", "Delegate=cpu cpuset io memory pids"] {
        assert!(run.stderr.contains(words), "{words:?} is not in {}", run.stderr);
    }
    let run = user.runtime().args(["--cgroup-manager", "disabled", "run", "--bundle"]);
    let run = run.arg(bundle.dir()).arg(bundle.id()).ok();
    assert_eq!(run.stderr, "");
    bundle.set("/linux/resources/pids/limit", 10);
    let refused = user.running(&bundle, &[]).output();
    refused.refused_in_one_line(&["cgroup", "Delegate=cpu cpuset io memory pids"]);
}

#[test]
fn many_ranges_come_from_newuidmap() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    bundle.set("/process/capabilities/bounding", json!(["CAP_CHOWN"]));
    bundle.set("/process/capabilities/permitted", json!(["CAP_CHOWN"]));
    bundle.set("/process/capabilities/effective", json!(["CAP_CHOWN"]));
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [5, 60000] }));
    bundle.shell(
        "cat /proc/self/uid_map /proc/self/gid_map | while read a b c; do echo $a $b $c; done
         id -G; touch /made; chown 1000:65536 /made",
    );
    let expected = format!("0 {UID} 1\n1 {FIRST} {COUNT}\n").repeat(2) + "0 5 60000\n";
    assert_eq!(user.print(&bundle), expected);
    let made = fs::metadata(bundle.rootfs("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (FIRST + 999, FIRST + 65_535));
    // What belongs to subordinate ids is not the user's to remove, but root's.
    fs::remove_file(bundle.rootfs("made")).unwrap();
}

#[test]
fn exec_as_another_user_and_with_groups() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    bundle.args(["/bin/sleep", "1000"]);
    user.running(&bundle, &["--detach"]).ok();
    let exec = |flags: &[&str], command: &[&str]| {
        user.runtime().arg("exec").args(flags).arg(bundle.id()).args(command).ok().text().to_owned()
    };
    assert_eq!(exec(&["--user", "1000:2000"], &["sh", "-c", "id -u; id -g"]), "1000\n2000");
    let groups = exec(&["--additional-gids", "7", "--additional-gids", "8"], &["id", "-G"]);
    assert_eq!(groups, "0 7 8");
    // The terminal is the user's own.
    let script = format!(
        "{} exec --tty --user 1000:1000 {} sh -c 'tty; stat -c %u $(tty); echo >/dev/tty'",
        husk_tests::runtime::path().display(),
        bundle.id()
    );
    let typed = user.program("script").args(["-qec", &script, "/dev/null"]).ok().stdout;
    let lines: Vec<&str> = typed.lines().map(|l| l.trim_matches(['\r', '\0', '^', '@'])).collect();
    assert!(lines.iter().any(|l| l.ends_with("/dev/pts/0")), "{typed:?}");
    assert!(lines.iter().any(|l| l.ends_with("1000")), "{typed:?}");
    user.on("delete", bundle.id()).arg("--force").ok();
}

/// user_namespaces(7): with the own group alone, groups cannot be set.
#[test]
fn groups_need_more_than_the_own_id() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [5] }));
    let output = user.running(&bundle, &["--detach"]).output().refused();
    assert!(output.stderr.contains("process.user.additionalGids"), "{}", output.stderr);
    bundle.set("/process/user", json!({ "uid": 1, "gid": 0 }));
    let output = user.running(&bundle, &["--detach"]).output().refused();
    assert!(output.stderr.contains("process.user (1:0)"), "{}", output.stderr);
    assert!(output.stderr.contains("not mapped"), "{}", output.stderr);
}

#[test]
fn an_own_id_that_is_not_root_inside() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.set("/linux/uidMappings/0/containerID", 1234);
    bundle.set("/linux/gidMappings/0/containerID", 4321);
    bundle.set("/process/user", json!({ "uid": 1234, "gid": 4321 }));
    bundle.shell("id -u; id -g; touch /tmp/made");
    assert_eq!(user.print(&bundle), "1234\n4321\n");
    assert_eq!(fs::metadata(bundle.rootfs("tmp/made")).unwrap().uid(), UID);
}
