//! `--seccomp-explain` of `run` and `exec`, docs/seccomp-explain.md: what the
//! filter refused is told, and the container behaves as without it.

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::invocation::Output;
use serde_json::{Value, json};

const FLAG: &str = "--seccomp-explain";

/// What the allowed part of a profile must have for busybox and our own steps.
fn allow_but(denied: &[(&[&str], &str)]) -> Value {
    let rules: Vec<Value> =
        denied.iter().map(|(names, action)| json!({ "names": names, "action": action })).collect();
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

fn bundle(case: &Case, profile: Value, script: &str) -> Bundle {
    let mut bundle = case.bundle();
    bundle.set("/linux/seccomp", profile).shell(script);
    bundle
}

/// Runs it with and without the flag: the same output and status. What is told
/// with it comes back.
fn explained(case: &Case, bundle: &Bundle) -> Output {
    let plain = case.run(bundle);
    let explained = case.running(bundle, &[FLAG]).output();
    assert_eq!(explained.code(), plain.code(), "{}", explained.stderr);
    assert_eq!(explained.stdout, plain.stdout, "{}", explained.stderr);
    assert!(!plain.stderr.contains("seccomp:"), "{}", plain.stderr);
    explained
}

fn told(run: &Output, words: &[&str]) {
    let line = run.stderr.lines().find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some(), "{words:?} are not in a line of: {}", run.stderr);
}

/// A call that fails: with its errno, its rule, and what would allow it; with
/// no_new_privs and without, in the first process and in others.
#[test]
fn a_call_that_fails() {
    let case = Case::new();
    let profile =
        allow_but(&[(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"), (&["mount"], "SCMP_ACT_ERRNO")]);
    for no_new_privileges in [true, false] {
        let mut bundle = bundle(
            &case,
            profile.clone(),
            "mkdir /tmp/a; mkdir /tmp/a; mount -t tmpfs x /tmp; echo $?",
        );
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let run = explained(&case, &bundle);
        told(&run, &["seccomp: mkdir", "by mkdir (pid ", "Operation not permitted"]);
        told(&run, &["by linux.seccomp.syscalls[0]", "(2 times)"]);
        told(&run, &["seccomp: mount(0x", "by linux.seccomp.syscalls[1]", "CAP_SYS_ADMIN"]);
    }
}

/// defaultAction with an errno of its own; what only the profile's author knows
/// to be missing is named.
#[test]
fn a_call_that_no_rule_names() {
    let case = Case::new();
    // Everything that this busybox and the last steps of a runtime may call.
    let names: &[&str] = &[
        "read",
        "write",
        "writev",
        "open",
        "openat",
        "openat2",
        "close",
        "fstat",
        "stat",
        "lstat",
        "newfstatat",
        "statx",
        "mmap",
        "mprotect",
        "munmap",
        "brk",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "ioctl",
        "access",
        "faccessat",
        "faccessat2",
        "execve",
        "exit",
        "exit_group",
        "wait4",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "getrandom",
        "readlink",
        "readlinkat",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getpid",
        "getppid",
        "gettid",
        "dup",
        "dup2",
        "dup3",
        "fcntl",
        "prctl",
        "getcwd",
        "sendmsg",
        "recvmsg",
        "recvfrom",
        "chdir",
        "fchdir",
        "poll",
        "futex",
        "close_range",
        "sigaltstack",
        "uname",
        "sysinfo",
    ];
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 95,
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            {
                "names": ["sethostname"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 1, "value": 1, "op": "SCMP_CMP_EQ" }],
            },
        ],
    });
    let run = explained(&case, &bundle(&case, profile, "hostname abc; echo $?"));
    told(&run, &["seccomp: sethostname(0x", ", 0x3, ", "by linux.seccomp.defaultAction"]);
    told(&run, &["syscalls[1] allows it with other arguments", "CAP_SYS_ADMIN"]);
}

/// A call that kills: the first process of a pid namespace, and a later one.
#[test]
fn a_call_that_kills() {
    let case = Case::new();
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL"] {
        let profile = allow_but(&[(&["mkdir", "mkdirat"], action)]);
        let mut first = bundle(&case, profile.clone(), "");
        first.args(["/bin/mkdir", "/tmp/a"]);
        let run = explained(&case, &first);
        assert_eq!(run.code(), 128 + 31, "{}", run.stderr);
        told(&run, &["seccomp: mkdir", "by mkdir (pid 1): killed, by linux.seccomp.syscalls[0]"]);
        let later = bundle(&case, profile, "mkdir /tmp/a; echo $?");
        let run = explained(&case, &later);
        assert_eq!(run.stdout, "159\n");
        told(&run, &["seccomp: mkdir", "killed"]);
    }
}

/// A process that ignores SIGSYS does not get away, nor one in the host's pid
/// namespace or in a user namespace.
#[test]
fn a_call_that_kills_whoever_makes_it() {
    let case = Case::new();
    let profile = allow_but(&[(&["mkdir", "mkdirat"], "SCMP_ACT_KILL_PROCESS")]);
    let stubborn = bundle(&case, profile.clone(), "trap '' SYS; mkdir /tmp/a; echo $?");
    let run = case.running(&stubborn, &[FLAG]).ok();
    assert_eq!(run.stdout, "137\n");
    told(&run, &["seccomp: mkdir", "killed"]);
    let mut shared = bundle(&case, profile.clone(), "mkdir /tmp/a; echo $?");
    shared.without_namespace("pid");
    told(&explained(&case, &shared), &["seccomp: mkdir", "killed"]);
    let mut user = bundle(&case, profile, "mkdir /tmp/a; echo $?");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    user.namespace("user", None);
    user.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    told(&explained(&case, &user), &["seccomp: mkdir", "killed"]);
}

/// SCMP_ACT_TRAP stays the kernel's; that it may have been one is said.
#[test]
fn a_call_that_traps() {
    let case = Case::new();
    let profile = allow_but(&[(&["mkdir", "mkdirat"], "SCMP_ACT_TRAP")]);
    let mut bundle = bundle(&case, profile, "");
    bundle.args(["/bin/mkdir", "/tmp/a"]);
    let run = explained(&case, &bundle);
    assert_eq!(run.code(), 128 + 31);
    told(&run, &["SIGSYS", "linux.seccomp.syscalls[0]"]);
}

/// The program itself cannot be executed.
#[test]
fn a_refused_execve() {
    let case = Case::new();
    for no_new_privileges in [true, false] {
        let profile = allow_but(&[(&["execve", "execveat"], "SCMP_ACT_ERRNO")]);
        let mut bundle = bundle(&case, profile, "echo");
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let run = explained(&case, &bundle);
        told(&run, &["seccomp: execve(", "by linux.seccomp.syscalls[0]"]);
        told(&run, &["process.args[0] (/bin/sh)"]);
    }
    case.assert_nothing_left();
}

/// What our own last steps call is no concern of a filter that comes after
/// them: not even that which talks to the runtime.
#[test]
fn a_filter_that_refuses_the_runtimes_own_calls() {
    let case = Case::new();
    let ours = ["sendmsg", "sendto", "recvmsg", "recvfrom", "poll", "ppoll", "rt_sigprocmask"];
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let mut bundle = bundle(&case, allow_but(&[(&ours, action)]), "");
        bundle.args(["/bin/true"]);
        let run = explained(&case, &bundle);
        assert_eq!(run.code(), 0, "{}", run.stderr);
    }
}

/// Nothing refused, nothing told; and no profile is worth a warning.
#[test]
fn nothing_to_explain() {
    let case = Case::new();
    let run =
        explained(&case, &bundle(&case, allow_but(&[(&["reboot"], "SCMP_ACT_ERRNO")]), "echo a"));
    assert_eq!(run.stderr, "");
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    let run = case.running(&bundle, &[FLAG]).ok();
    assert!(run.stderr.contains("linux.seccomp is missing"), "{}", run.stderr);
}

/// `exec` has it too.
#[test]
fn exec_explains() {
    let case = Case::new();
    let profile =
        allow_but(&[(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"), (&["rmdir"], "SCMP_ACT_KILL")]);
    let mut bundle = bundle(&case, profile, "");
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let run = container.exec(&[FLAG], &["/bin/mkdir", "/tmp/a"]).output();
    assert_eq!(run.code(), 1);
    told(&run, &["seccomp: mkdir", "Operation not permitted", "linux.seccomp.syscalls[0]"]);
    let run = container.exec(&[FLAG], &["/bin/rmdir", "/tmp"]).output();
    assert_eq!(run.code(), 128 + 31);
    told(&run, &["seccomp: rmdir", "killed", "linux.seccomp.syscalls[1]"]);
}

/// Where it cannot be had it is refused.
#[test]
fn where_it_does_not_go() {
    let case = Case::new();
    let profile = allow_but(&[(&["mkdir"], "SCMP_ACT_ERRNO")]);
    let run = case.running(&bundle(&case, profile, "echo"), &[FLAG, "--detach"]).output();
    run.refused_in_one_line(&["--seccomp-explain", "--detach"]);
    let mut profile = allow_but(&[(&["mkdir"], "SCMP_ACT_NOTIFY")]);
    profile["listenerPath"] = "/run/no-such-agent".into();
    let run = case.running(&bundle(&case, profile, "echo"), &[FLAG]).output();
    run.refused_in_one_line(&["--seccomp-explain", "SCMP_ACT_NOTIFY"]);
    case.assert_nothing_left();
}
