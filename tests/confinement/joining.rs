//! What confines a container and the process that joins it: limits and filters that have no
//! place for the clone by which it enters the pid namespace.

use husk_tests::case::Case;
use serde_json::json;

/// A filter that refuses clone(2): with no_new_privs it is loaded after that, without it has to be
/// loaded before, and the message says so.
#[test]
fn a_filter_without_clone() {
    let case = Case::new();
    for no_new_privileges in [true, false] {
        let mut bundle = case.bundle();
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let rules = json!([{ "names": ["clone", "clone3", "fork"], "action": "SCMP_ACT_ERRNO" }]);
        bundle
            .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        bundle.args(["/bin/sleep", "1000"]);
        let container = case.start(&bundle);
        let exec = container.exec(&[], &["/bin/true"]);
        match no_new_privileges {
            true => drop(exec.ok()),
            false => {
                let words = ["linux.seccomp", "clone", "process.noNewPrivileges"];
                let exec = exec.output().refused();
                assert!(words.iter().all(|word| exec.stderr.contains(word)), "{}", exec.stderr);
            }
        }
        assert_eq!(container.status(), "running");
    }
}

/// A limit on processes counts two for a moment.
#[test]
fn a_limit_on_processes() {
    let case = Case::new();
    for (limit, works) in [(3, true), (2, false), (1, false)] {
        let mut bundle = case.bundle();
        bundle.set("/linux/resources", json!({ "pids": { "limit": limit } }));
        bundle.args(["/bin/sleep", "1000"]);
        let container = case.start(&bundle);
        let exec = container.exec(&[], &["/bin/true"]);
        match works {
            true => drop(exec.ok()),
            false => drop(exec.output().refused()),
        }
        assert_eq!(container.status(), "running");
    }
}

/// An rlimit on processes, which counts all of a user's, holds for the program and not for what
/// comes before it.
#[test]
fn an_rlimit_on_processes() {
    let case = Case::without_user_namespace("the limit is one of the host's user");
    let mut bundle = case.bundle();
    // An id that no other test uses.
    bundle.set("/process/user", json!({ "uid": 471_777, "gid": 471_777 }));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NPROC", "soft": 2, "hard": 2 }]));
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let report = container.exec(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["limits"]["Max processes"], json!(["2", "2"]));
}
