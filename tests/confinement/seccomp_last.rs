//! After the filter is loaded nothing is called but execve(2): a profile from before a system call
//! existed, or one that allows the program's calls alone, does not stop the runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::machine_code::{sleeper, speaker};
use serde_json::{Value, json};

/// A profile that allows execve and the calls named, and has all others fail with an errno.
fn only(calls: &[&str], errno: i32) -> Value {
    let names = [&["execve"], calls].concat();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno,
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    })
}

/// Tries both errnos of a call that is refused, each with and without no_new_privs.
fn each(case: &Case, program: &str, test: impl Fn(&Bundle, &str)) {
    for errno in [1, 38] {
        for no_new_privileges in [true, false] {
            for user in [0, 1000] {
                let mut bundle = case.bundle();
                fs::create_dir(bundle.rootfs("opt")).unwrap();
                bundle.set("/linux/seccomp", only(&["write", "exit_group", "pause"], errno));
                bundle.set("/process/noNewPrivileges", no_new_privileges);
                bundle.set("/process/user", json!({ "uid": user, "gid": user }));
                bundle.args([program]);
                let what = format!("{errno}, no_new_privs {no_new_privileges}, user {user}");
                test(&bundle, &what);
            }
        }
    }
}

#[test]
fn run_needs_nothing_but_execve() {
    let case = Case::new();
    each(&case, "/opt/speaker", |bundle, what| {
        speaker(&bundle.rootfs("opt/speaker"), 1, "spoken\n", 7);
        let run = case.run(bundle);
        assert_eq!((run.stdout.as_str(), run.code()), ("spoken\n", 7), "{what}: {}", run.stderr);
        case.assert_nothing_left();
    });
}

#[test]
fn exec_needs_nothing_but_execve() {
    let case = Case::new();
    each(&case, "/opt/sleeper", |bundle, what| {
        sleeper(&bundle.rootfs("opt/sleeper"));
        speaker(&bundle.rootfs("opt/speaker"), 1, "spoken\n", 7);
        let container = case.start(bundle);
        let exec = container.exec(&[], &["/opt/speaker"]).output();
        assert_eq!((exec.stdout.as_str(), exec.code()), ("spoken\n", 7), "{what}: {}", exec.stderr);
        container.stop();
        container.delete();
    });
}

/// A startContainer hook is the container's own program and runs under its filter, which is
/// loaded in the hook's process alone: the one that waits for it makes calls of its own.
#[test]
fn hooks_in_the_container_run_under_the_filter() {
    let case = Case::new();
    each(&case, "/opt/speaker", |bundle, what| {
        speaker(&bundle.rootfs("opt/speaker"), 1, "spoken\n", 0);
        speaker(&bundle.rootfs("opt/hook"), 2, "a word of the hook", 0);
        let mut bundle = bundle.clone();
        bundle.set("/hooks/startContainer", json!([{ "path": "/opt/hook" }]));
        assert_eq!(case.print(&bundle), "spoken\n", "{what}");
        let container = case.create(&bundle);
        container.start();
        container.process().wait();
        container.delete();
        speaker(&bundle.rootfs("opt/hook"), 2, "a word of the hook", 3);
        let run = case.run(&bundle).refused();
        for word in ["startContainer[0]", "exit status 3", "a word of the hook"] {
            assert!(run.stderr.contains(word), "{what}: {}", run.stderr);
        }
        bundle.set("/hooks/startContainer", json!([{ "path": "/opt/missing" }]));
        let run = case.run(&bundle).refused();
        assert!(run.stderr.contains("No such file"), "{what}: {}", run.stderr);
    });
    for no_new_privileges in [true, false] {
        let mut bundle = case.bundle();
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
        });
        bundle.set("/linux/seccomp", profile);
        bundle.set("/process/noNewPrivileges", no_new_privileges).args(["/bin/true"]);
        let hook = json!({ "path": "/bin/mkdir", "args": ["mkdir", "/tmp/made"] });
        bundle.set("/hooks/startContainer", json!([hook]));
        let run = case.run(&bundle).refused();
        assert!(run.stderr.contains("Operation not permitted"), "{}", run.stderr);
    }
}

/// What is kept to load a filter without no_new_privs is gone when the program runs.
#[test]
fn no_capability_is_left_of_loading() {
    let case = Case::new();
    for user in [0, 1000] {
        let sets = |filtered: bool| {
            let mut bundle = case.bundle();
            bundle.set("/process/noNewPrivileges", false);
            bundle.set("/process/user", json!({ "uid": user, "gid": user }));
            if filtered {
                bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
            }
            bundle.args(["/bin/grep", "Cap", "/proc/self/status"]);
            case.print(&bundle)
        };
        assert_eq!(sets(true), sets(false), "{user}");
    }
}

/// A program that cannot be executed under a filter that lets nothing be told: the cause where it
/// can be known before, and an end in any case.
#[test]
fn a_program_that_cannot_be_executed_ends_all_the_same() {
    let case = Case::new();
    each(&case, "/opt/script", |bundle, what| {
        let script = bundle.rootfs("opt/script");
        let write = |text: &str| {
            fs::write(&script, text).unwrap();
            fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        };
        let mut bundle = bundle.clone();
        bundle.set("/linux/seccomp", only(&[], 1));
        write("#!/no/such/interpreter\n");
        let run = case.run(&bundle).refused();
        assert!(run.stderr.contains("/no/such/interpreter"), "{what}: {}", run.stderr);
        write("neither a program nor a script\n");
        let run = case.run(&bundle);
        assert!(!run.status.success(), "{what}");
        case.assert_nothing_left();
    });
}

/// What the field's old profiles lack: Docker's own before January 2021 had no close_range.
#[test]
fn profiles_from_before_a_call_existed() {
    let case = Case::new();
    for errno in [1, 38] {
        for no_new_privileges in [true, false] {
            let mut bundle = case.bundle();
            let names = ["close_range", "faccessat2", "getcwd", "openat2", "clone3", "sendto"];
            let rule = json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno });
            let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
            bundle.set("/linux/seccomp", profile);
            bundle.set("/process/noNewPrivileges", no_new_privileges).args(["true"]);
            case.run(&bundle).ok();
        }
    }
}
