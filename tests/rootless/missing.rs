//! What an ordinary user's container needs, taken away: one line that names it
//! and the remedy, and nothing left.

use husk_tests::case::Case;
use husk_tests::user::{FIRST, NAME, User};
use serde_json::json;

use crate::user::many_ranges;
use crate::{HELPERS, installed};

/// The runtime's arguments that leave the cgroup, and its warning, out.
const QUIET: [&str; 3] = ["--cgroup-manager", "disabled", "run"];

#[test]
fn ranges_that_are_not_the_users() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    for (property, helper, file) in
        [("gidMappings", "newgidmap", "/etc/subgid"), ("uidMappings", "newuidmap", "/etc/subuid")]
    {
        bundle.set(&format!("/linux/{property}/1/hostID"), FIRST - 1);
        bundle.write();
        let run = user.runtime().args(QUIET).arg("--bundle").arg(bundle.dir()).arg(bundle.id());
        let own = format!("{FIRST}-");
        run.output().refused_in_one_line(&[&format!("linux.{property}"), helper, file, NAME, &own]);
    }
    assert!(user.runtime().args(["list", "--quiet"]).ok().stdout.is_empty());
}

#[test]
fn no_ranges_at_all() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let user = User::with_ranges(&case, "");
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    bundle.write();
    let run = user.runtime().args(QUIET).arg("--bundle").arg(bundle.dir()).arg(bundle.id());
    run.output().refused_in_one_line(&["/etc/subuid", "usermod --add-subuids", NAME]);
}

#[test]
fn newuidmap_is_not_installed() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    bundle.write();
    let empty = case.directory("empty");
    let run = user.program("/usr/bin/env").arg(format!("PATH={}", empty.display()));
    let run = run.arg(husk_tests::runtime::path()).args(QUIET).arg("--bundle").arg(bundle.dir());
    run.arg(bundle.id()).output().refused_in_one_line(&[
        "linux.uidMappings",
        "newuidmap",
        "uidmap",
    ]);
}

/// Under no_new_privs, as in a container, its set-id bit is without effect.
#[test]
fn newuidmap_has_no_privilege() {
    if !installed(&HELPERS) {
        return;
    }
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/linux/uidMappings", many_ranges()).set("/linux/gidMappings", many_ranges());
    bundle.write();
    let run = user.program("setpriv").arg("--no-new-privs").arg(husk_tests::runtime::path());
    let run = run.args(QUIET).arg("--bundle").arg(bundle.dir()).arg(bundle.id());
    run.output().refused_in_one_line(&["linux.uidMappings", "newuidmap", "no_new_privs"]);
}

/// The sysctl of a user namespace of the test's own, where it is 0.
#[test]
fn user_namespaces_are_switched_off() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.set("/linux/uidMappings/0/hostID", 0).set("/linux/gidMappings/0/hostID", 0);
    bundle.write();
    let run = user.program("unshare").args([
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"",
        "sh",
    ]);
    let run = run.arg(husk_tests::runtime::path()).args(QUIET).arg("--bundle").arg(bundle.dir());
    run.arg(bundle.id())
        .output()
        .refused_in_one_line(&["linux.namespaces", "sysctl user.max_user_namespaces=15000"]);
}

#[test]
fn no_user_namespace_is_asked_for() {
    let case = Case::new();
    let user = User::new(&case);
    let mut bundle = user.bundle();
    bundle.args(["/bin/true"]);
    bundle.without_namespace("user");
    bundle.set("/process/capabilities", json!({}));
    for property in ["uidMappings", "gidMappings"] {
        bundle.config["linux"].as_object_mut().unwrap().remove(property);
    }
    bundle.write();
    let run = user.runtime().args(QUIET).arg("--bundle").arg(bundle.dir()).arg(bundle.id());
    run.output().refused_in_one_line(&["linux.namespaces", "spec --rootless"]);
}

/// What the kernel would call EINVAL is told apart before.
#[test]
fn bad_maps() {
    let case = Case::new();
    let user = User::new(&case);
    for (maps, words) in [
        (json!([]), ["linux.uidMappings", "missing"]),
        (
            json!([{ "containerID": 0, "hostID": 5, "size": 0 }]),
            ["linux.uidMappings[0]", "empty range"],
        ),
        (
            json!([
                { "containerID": 0, "hostID": 5, "size": 10 },
                { "containerID": 9, "hostID": 50, "size": 10 },
            ]),
            ["linux.uidMappings[1]", "overlaps with [0]"],
        ),
        (
            (0..341).map(|i| json!({ "containerID": i, "hostID": i, "size": 1 })).collect(),
            ["linux.uidMappings", "341 ranges"],
        ),
    ] {
        let mut bundle = user.bundle();
        bundle.set("/linux/uidMappings", maps);
        bundle.write();
        user.running(&bundle, &[]).output().refused_in_one_line(&words);
    }
}
