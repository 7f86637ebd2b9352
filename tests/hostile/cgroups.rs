//! The host's cgroup hierarchies, as a container without a cgroup namespace
//! sees them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use husk_tests::case::Case;
use husk_tests::runtime;
use serde_json::{Value, json};

/// A user that has nothing on this host.
const NOBODY: u32 = 64_321;

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

/// CVE-2023-25809 (runc): without privilege and without a cgroup namespace, a
/// mount of cgroups shows what is not the container's: read-only, whatever its
/// options say.
#[test]
fn a_hierarchy_that_is_not_the_containers_is_read_only() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.namespace("user", None);
    bundle.without_namespace("network");
    for kind in ["uid", "gid"] {
        let map = json!([{ "containerID": 0, "hostID": NOBODY, "size": 1 }]);
        bundle.set(&format!("/linux/{kind}Mappings"), map);
    }
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] == "/proc");
    fs::create_dir_all(bundle.rootfs("sys/fs/cgroup")).unwrap();
    bundle.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"],
    }));
    // A path that is asked for and cannot be made is an error; this is about none.
    bundle.set("/root/readonly", true).remove("/linux/cgroupsPath");
    bundle.write();
    own(bundle.dir());
    // Copies that this user may execute, wherever the build is.
    let program = case.path("runtime");
    fs::copy(runtime::path(), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let state = case.directory("state-of-the-user");
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    let user = NOBODY.to_string();
    let run = case
        .program("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(&program)
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .env_remove("XDG_RUNTIME_DIR")
        .output();
    if run.code() != 0 {
        // It may refuse such a mount; then in words.
        eprintln!("{}", run.refused().stderr);
        return;
    }
    let report = run.json();
    let has = |mount: &Value, word| mount["options"].as_array().unwrap().iter().any(|o| o == word);
    let mut seen = 0;
    for mount in report["mounts"].as_array().unwrap() {
        let target = mount["target"].as_str().unwrap();
        if !target.starts_with("/sys/fs/cgroup") || mount["type"] == "tmpfs" {
            continue;
        }
        seen += 1;
        let its_own = mount["root"].as_str().unwrap().contains(case.marker());
        assert!(its_own || has(mount, "ro"), "writable and not its own: {mount}");
    }
    assert!(seen > 0, "no hierarchy is mounted: {}", report["mounts"]);
}

/// A hierarchy that another mount hides for a while is not one that has no cgroups: `delete` fails
/// and can be repeated.
#[test]
fn a_hidden_hierarchy_is_not_an_empty_one() {
    let case = Case::without_user_namespace("cgroups are the host's");
    let mut bundle = case.bundle();
    bundle.args(["/bin/sh", "-c", "read line < /never"]);
    let container = case.start(&bundle);
    let made = husk_tests::host::cgroups_named(bundle.id());
    assert!(!made.is_empty());
    let script = "mount -t tmpfs none \"$1\" && shift && exec \"$@\"";
    let hierarchies = husk_tests::host::cgroup_hierarchies().into_iter();
    for hierarchy in hierarchies.filter(|all| made.iter().any(|one| one.starts_with(all))) {
        let hidden = case
            .program("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(&hierarchy)
            .arg(runtime::path())
            .arg("--root")
            .arg(case.state_root())
            .args(["delete", "--force", bundle.id()])
            .output();
        hidden.refused_in_one_line(&["cannot be looked for", &hierarchy.display().to_string()]);
    }
    container.delete();
    case.assert_nothing_left();
}
