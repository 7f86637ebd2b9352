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
        if bundle.config["process"]["noNewPrivileges"] == true {
            let result = (exec.stdout.as_str(), exec.code());
            assert_eq!(result, ("spoken\n", 7), "{what}: {}", exec.stderr);
        } else {
            // The container's processes see it: what loads the filter must be gone before.
            let words = ["linux.seccomp", "capset", "process.noNewPrivileges"];
            assert!(words.iter().all(|word| exec.stderr.contains(word)), "{what}: {}", exec.stderr);
            assert_eq!(exec.code(), 255, "{what}");
        }
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

/// Adds the capability that a process needs to take another one over.
fn add_ptrace(bundle: &mut Bundle) {
    for set in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_SYS_PTRACE");
    }
}

/// While it waits for `start`, others may be in the container: they see what they may have
/// themselves, under the same filter.
#[test]
fn a_created_container_holds_no_more_than_its_configuration_says() {
    let case = Case::new();
    for traces in [true, false] {
        for (user, hooks) in [(0, false), (1000, false), (0, true)] {
            if hooks && !traces {
                // Nothing in it can reach the process, and hooks are confined one by one.
                continue;
            }
            let mut bundle = case.bundle();
            bundle.set("/process/noNewPrivileges", false);
            bundle.set("/process/user", json!({ "uid": user, "gid": user }));
            let rules = json!([{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }]);
            let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
            bundle.set("/linux/seccomp", profile);
            if traces {
                add_ptrace(&mut bundle);
            }
            if hooks {
                bundle.set("/hooks/startContainer", json!([{ "path": "/bin/true" }]));
            }
            bundle.args(["/bin/true"]);
            let container = case.create(&bundle);
            let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
            let field = |name: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                value.trim().to_owned()
            };
            let permitted = u64::from_str_radix(&field("CapPrm:"), 16).unwrap();
            assert_eq!(permitted >> 21 & 1, 0, "CAP_SYS_ADMIN: {status}");
            assert_eq!(permitted >> 19 & 1 == 1, traces, "CAP_SYS_PTRACE: {status}");
            assert_eq!(field("Seccomp:"), "2", "{status}");
            container.start();
            container.process().wait();
            container.delete();
        }
    }
}

/// With a filter under which `start` cannot be awaited, that takes a container in which nothing
/// can take the process over that loads it later.
#[test]
fn a_filter_under_which_nobody_can_wait() {
    let case = Case::new();
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("opt")).unwrap();
    speaker(&bundle.rootfs("opt/speaker"), 1, "spoken\n", 7);
    bundle.set("/process/noNewPrivileges", false).args(["/opt/speaker"]);
    bundle.set("/linux/seccomp", only(&["write", "exit_group", "capset", "sendto", "recvmsg"], 1));
    add_ptrace(&mut bundle);
    let words = ["linux.seccomp", "close", "wait for `start`", "process.noNewPrivileges"];
    case.creating(&bundle, &[]).output().refused_in_one_line(&words);
    case.assert_nothing_left();
    assert_eq!(case.run(&bundle).code(), 7);
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

/// A created container keeps what loads its filter where the filter refuses the wait for `start`.
/// Nobody who could take it over is let in before it runs its program.
#[test]
fn nobody_who_traces_joins_one_that_waits_with_a_privilege() {
    let case = Case::without_user_namespace("the privilege is that of the host's root");
    let mut bundle = case.bundle();
    fs::create_dir(bundle.rootfs("opt")).unwrap();
    sleeper(&bundle.rootfs("opt/sleeper"));
    bundle.set("/linux/seccomp", only(&["write", "exit_group", "pause"], 1));
    bundle.set("/process/noNewPrivileges", false).args(["/opt/sleeper"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
    }
    let container = case.create(&bundle);
    let words = ["CAP_SYS_PTRACE", "start that container first"];
    let exec = container.exec(&["--cap", "CAP_SYS_PTRACE"], &["/bin/true"]).output().refused();
    assert!(words.iter().all(|word| exec.stderr.contains(word)), "{}", exec.stderr);
    let joining = |capability: &str| {
        let mut joining = case.bundle();
        let path = format!("/proc/{}/ns/pid", container.pid());
        joining.namespace("pid", Some(&path));
        joining.args(["/bin/true"]);
        for set in ["bounding", "effective", "permitted"] {
            joining.set(&format!("/process/capabilities/{set}"), json!([capability]));
        }
        case.run(&joining)
    };
    joining("CAP_SYS_PTRACE").refused_in_one_line(&words);
    joining("CAP_KILL").ok();
    container.start();
    joining("CAP_SYS_PTRACE").ok();
    container.stop();
    container.delete();
}
