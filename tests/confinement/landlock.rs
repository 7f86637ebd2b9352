//! The annotation `io.github.husk.landlock`, docs/annotations.md.

use std::io::Write as _;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use serde_json::{Value, json};

const POINTER: &str = "/annotations/io.github.husk.landlock";

/// The version of the kernel's ABI, as `features` tells it; 0 without Landlock.
fn abi(case: &Case) -> u32 {
    let features = case.runtime().arg("features").ok().json();
    let abi = features["annotations"]["io.github.husk.landlock.abi"].as_str().unwrap().to_owned();
    abi.parse().unwrap()
}

/// Whether the kernel has this ABI; says so where it has not.
fn has(case: &Case, wanted: u32) -> bool {
    let abi = abi(case);
    if abi < wanted {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: Landlock ABI {wanted} is needed, this kernel has {abi}"
        );
    }
    abi >= wanted
}

fn rules(bundle: &mut Bundle, rules: &Value) {
    bundle.set(POINTER, rules.to_string());
}

const SCRIPT: &str = "cat /etc/open; echo x > /tmp/new && rm /tmp/new && echo wrote; \
    cat /secret/key; echo x > /etc/new; /bin/probe notify; echo end";

fn confined(case: &Case) -> Bundle {
    let mut bundle = case.bundle();
    std::fs::write(bundle.rootfs("etc/open"), "open\n").unwrap();
    std::fs::create_dir(bundle.rootfs("secret")).unwrap();
    std::fs::write(bundle.rootfs("secret/key"), "key\n").unwrap();
    rules(
        &mut bundle,
        &json!({ "read": ["/etc"], "execute": ["/bin/busybox"], "write": ["/tmp", "/dev/null"] }),
    );
    bundle.shell(SCRIPT);
    bundle
}

fn is_confined(stdout: &str, stderr: &str) {
    assert_eq!(stdout, "open\nwrote\nend\n", "{stderr}");
    for refused in ["/secret/key", "/etc/new", "probe"] {
        let told = stderr.lines().any(|l| l.contains(refused) && l.contains("ermission denied"));
        assert!(told, "{refused}: {stderr}");
    }
}

/// What is not listed is denied, with no_new_privs and without, to root and to
/// a user.
#[test]
fn paths_that_are_not_listed_are_denied() {
    let case = Case::new();
    if !has(&case, 1) {
        return;
    }
    for (no_new_privileges, uid) in [(true, 0), (false, 0), (true, 1000), (false, 1000)] {
        let mut bundle = confined(&case);
        bundle.set("/process/noNewPrivileges", no_new_privileges).set("/process/user/uid", uid);
        if uid != 0 {
            // File permissions alone would refuse it to this user.
            let etc = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(bundle.rootfs("etc"), etc).unwrap();
        }
        let run = case.run(&bundle).ok();
        is_confined(&run.stdout, &run.stderr);
    }
}

/// `exec` adds its process under the same rules.
#[test]
fn exec_is_confined_too() {
    let case = Case::new();
    if !has(&case, 1) {
        return;
    }
    let mut bundle = confined(&case);
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    let run = container.exec(&[], &["/bin/sh", "-c", SCRIPT]).output().ok();
    is_confined(&run.stdout, &run.stderr);
}

/// The rules meet a filter that forbids Landlock itself: they come first.
#[test]
fn a_filter_may_forbid_landlock() {
    let case = Case::new();
    if !has(&case, 1) {
        return;
    }
    for no_new_privileges in [true, false] {
        let mut bundle = confined(&case);
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let names = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
        bundle.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": names, "action": "SCMP_ACT_KILL_PROCESS" }],
            }),
        );
        let run = case.run(&bundle).ok();
        is_confined(&run.stdout, &run.stderr);
    }
}

/// A program that may not be executed: the message says by whose word.
#[test]
fn a_program_that_is_not_listed_is_an_error() {
    let case = Case::new();
    if !has(&case, 1) {
        return;
    }
    let mut bundle = case.bundle();
    rules(&mut bundle, &json!({ "read": ["/"] }));
    case.run(&bundle).refused_in_one_line(&[
        "process.args[0] (/bin/probe)",
        "Permission denied",
        "annotations (io.github.husk.landlock)",
    ]);
    case.assert_nothing_left();
}

/// Below a link that leads out of the container there is the container.
#[test]
fn paths_are_the_containers() {
    let case = Case::new();
    if !has(&case, 1) {
        return;
    }
    let mut bundle = case.bundle();
    std::fs::write(bundle.rootfs("etc/open"), "open\n").unwrap();
    std::os::unix::fs::symlink("../../../../etc/open", bundle.rootfs("tmp/link")).unwrap();
    rules(&mut bundle, &json!({ "execute": ["/bin"], "read": ["/tmp/link"] }));
    bundle.args(["/bin/cat", "/etc/open"]);
    assert_eq!(case.print(&bundle), "open\n");
}

/// tcpBind: other ports are denied.
#[test]
fn tcp_ports_that_are_not_listed_are_denied() {
    let case = Case::new();
    if !has(&case, 4) {
        return;
    }
    let mut bundle = case.bundle();
    rules(&mut bundle, &json!({ "strict": true, "tcpBind": [8080], "tcpConnect": [8080] }));
    // In a network namespace of its own nobody listens: who may connect is refused.
    bundle.shell(
        "busybox nc -l -p 8081 -w 1; busybox nc 127.0.0.1 8080; busybox nc 127.0.0.1 8081; :",
    );
    let run = case.run(&bundle).ok();
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("bind") && lines[0].contains("ermission denied"), "{lines:?}");
    assert!(lines[1].contains("onnection refused"), "{lines:?}");
    assert!(lines[2].contains("ermission denied"), "{lines:?}");
}

/// scope `signal`: a process of another domain, as `exec` adds it, is out of reach.
#[test]
fn signals_stay_inside() {
    let case = Case::new();
    if !has(&case, 6) {
        return;
    }
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    let container = case.start(&bundle);
    container.exec(&[], &["/bin/kill", "-0", "1"]).ok();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    rules(&mut bundle, &json!({ "strict": true, "scope": ["signal", "abstract-unix-socket"] }));
    let container = case.start(&bundle);
    let run = container.exec(&[], &["/bin/kill", "-0", "1"]).output();
    assert!(run.stderr.contains("not permitted"), "{}", run.stderr);
}

/// A path that is not there is an error, and so is a document that says nothing.
#[test]
fn bad_values_name_the_annotation() {
    let case = Case::new();
    for (value, words) in [
        ("banana", "expected value"),
        ("{}", "restricts nothing"),
        (r#"{"reed":[]}"#, "reed"),
        (r#"{"read":["etc"]}"#, ".read[0] (etc)"),
        (r#"{"scope":["ipc"]}"#, ".scope (ipc)"),
    ] {
        let mut bundle = case.bundle();
        bundle.set(POINTER, value);
        let property = "annotations (io.github.husk.landlock)";
        case.run(&bundle).refused_in_one_line(&[property, words]);
    }
    if has(&case, 1) {
        let mut bundle = case.bundle();
        rules(&mut bundle, &json!({ "read": ["/", "/none/such"] }));
        case.run(&bundle).refused_in_one_line(&[
            "annotations (io.github.husk.landlock)",
            "open /none/such",
            "No such file",
        ]);
    }
    case.assert_nothing_left();
}
