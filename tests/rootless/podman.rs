//! podman as an ordinary user, with storage of its own.

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;
use husk_tests::user::User;

use crate::{HELPERS, installed};

struct Podman<'a> {
    user: User<'a>,
    root: Bundle,
}

impl<'a> Podman<'a> {
    fn new(case: &'a Case) -> Option<Podman<'a>> {
        let needed = [("podman", "podman"), ("conmon", "conmon")];
        if !installed(&needed) || !installed(&HELPERS) {
            return None;
        }
        let user = User::new(case);
        let root = case.bundle();
        user.give(root.dir());
        Some(Podman { user, root })
    }

    fn call(&self) -> Invocation {
        self.user
            .program("podman")
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
            .args(["--events-backend", "file", "--runtime"])
            .arg(runtime::path())
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> String {
        let run = self.call().args(["run", "--log-driver", "k8s-file"]).args(flags);
        let run = run.arg("--rootfs").arg(self.root.rootfs("")).args(command);
        run.ok().text().to_owned()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // Storage belongs to subordinate ids; then the process that holds podman's
        // user namespace open.
        self.call().args(["unshare", "rm", "-rf"]).arg(self.user.home().join(".local")).output();
        self.call().args(["system", "migrate"]).output();
    }
}

#[test]
fn runs_execs_and_removes() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    for network in ["none", "host"] {
        let ids = podman.run(&["--rm", "--network", network], &["/bin/sh", "-c", "id -u; id -g"]);
        assert_eq!(ids, "0\n0", "{network}");
    }
    let ids = podman.run(&["--rm", "--network", "none", "--user", "1000"], &["/bin/id", "-u"]);
    assert_eq!(ids, "1000");
    let ids = podman.run(&["--rm", "--network", "none", "--userns", "keep-id"], &["/bin/id", "-u"]);
    assert_eq!(ids, husk_tests::user::UID.to_string());
    let name = case.marker();
    podman.run(&["--detach", "--name", name, "--network", "none"], &["/bin/sleep", "1000"]);
    let exec = podman.call().args(["exec", "--user", "33:33", name, "id", "-u"]);
    assert_eq!(exec.ok().text(), "33");
    let exec = podman.call().args(["exec", "--tty", name, "tty"]);
    assert!(exec.ok().stdout.contains("/dev/pts/0"));
    podman.call().args(["rm", "--force", "--time", "0", name]).ok();
}
