//! A whole Debian as root filesystem.

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::debian::debian;
use serde_json::json;

/// A bundle with Debian on it, read-only so that all tests can share it.
fn bundle(case: &Case) -> Option<Bundle> {
    let rootfs = debian()?;
    let mut bundle = case.bundle();
    bundle.set("/root", json!({ "path": rootfs, "readonly": true }));
    bundle.set("/hostname", "debian");
    bundle.set(
        "/process/env",
        json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
    );
    bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    Some(bundle)
}

#[test]
fn bash_runs() {
    let case = Case::new();
    let Some(mut bundle) = bundle(&case) else { return };
    bundle.args([
        "bash",
        "-c",
        "set -e; . /etc/os-release; echo $ID $BASHPID; hostname; echo {1..3}",
    ]);
    assert_eq!(case.print(&bundle), "debian 1\ndebian\n1 2 3\n");
}

#[test]
fn ps_sees_the_container_alone() {
    let case = Case::new();
    let Some(mut bundle) = bundle(&case) else { return };
    bundle.args(["bash", "-c", "sleep 100 & ps -eo pid,comm --no-headers; kill $!"]);
    let printed = case.print(&bundle);
    let processes: Vec<&str> = printed.lines().map(str::trim).collect();
    assert_eq!(processes.len(), 3, "{printed}");
    assert!(processes[0].ends_with("bash") && processes[0].starts_with("1 "), "{printed}");
}

#[test]
fn mount_shows_what_was_configured() {
    let case = Case::new();
    let Some(mut bundle) = bundle(&case) else { return };
    bundle.args(["bash", "-c", "mount; findmnt -n -o OPTIONS / | cut -d, -f1"]);
    let printed = case.print(&bundle);
    for line in [
        "proc on /proc type proc (",
        "tmpfs on /dev type tmpfs (rw,nosuid",
        "devpts on /dev/pts type devpts (rw,nosuid,noexec",
        "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec",
        "mqueue on /dev/mqueue type mqueue (",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec",
        "tmpfs on /tmp type tmpfs (",
    ] {
        assert!(printed.contains(line), "{line:?} is not in\n{printed}");
    }
    assert!(printed.ends_with("ro\n"), "{printed}");
}

#[test]
fn proc_self_status_is_as_asked() {
    let case = Case::new();
    let Some(mut bundle) = bundle(&case) else { return };
    bundle.set("/process/user", json!({ "uid": 1, "gid": 1, "additionalGids": [50] }));
    bundle.args(["cat", "/proc/self/status"]);
    let printed = case.print(&bundle);
    for line in [
        "Uid:\t1\t1\t1\t1",
        "Gid:\t1\t1\t1\t1",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000020000420",
        "NSpid:\t1",
    ] {
        assert!(printed.lines().any(|l| l.trim_end() == line), "{line:?} is not in\n{printed}");
    }
    let groups = printed.lines().find_map(|l| l.strip_prefix("Groups:\t")).unwrap();
    assert!(groups.split_whitespace().any(|g| g == "50"), "{groups}");
}

#[test]
fn a_login_shell_on_a_terminal() {
    let case = Case::new();
    let Some(mut bundle) = bundle(&case) else { return };
    bundle.set("/process/terminal", true).args(["bash", "--login", "-i"]);
    let socket = husk_tests::console::DescriptorSocket::listen(&case.path("console"));
    let flags = ["--console-socket", husk_tests::case::path_text(socket.path())];
    let container = case.create_with(&bundle, &flags);
    let master = husk_tests::console::Master::new(socket.receive());
    container.start();
    master.write("stty -echo; echo $((6 * 7)) $(whoami); jobs; exit 4\n");
    // A shell without job control would say so first.
    let text = master.read_until("42 root");
    assert!(!text.contains("no job control"), "{text}");
    container.process().wait();
}
