//! `run --block-fd`: a program that waits for its caller. Husk's own flag, named as
//! bubblewrap's.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::until;
use husk_tests::invocation::Invocation;

/// The runtime with its standard input on descriptor 9, too.
fn blocked(case: &Case, bundle: &Bundle, flags: &[&str]) -> Invocation {
    bundle.write();
    case.program("/bin/sh")
        .args(["-c", "exec \"$@\" 9<&0 </dev/null", "sh"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--block-fd", "9", "--bundle"])
        .arg(bundle.dir())
        .args(flags)
        .arg(bundle.id())
}

#[test]
fn a_program_waits_for_a_byte() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("cat /told; test -e /proc/$$/fd/9 || echo closed");
    fs::write(bundle.rootfs("/told"), "too early\n").unwrap();
    let (ours, mut theirs) = std::io::pipe().unwrap();
    let running = blocked(&case, &bundle, &[]).stdin(ours).spawn();
    until("a container in the making", || case.state_root().join(bundle.id()).exists());
    // Long enough for a program that does not wait.
    thread::sleep(Duration::from_millis(100));
    fs::write(bundle.rootfs("/told"), "in time\n").unwrap();
    theirs.write_all(b"\n").unwrap();
    assert_eq!(running.wait().ok().stdout, "in time\nclosed\n");
    case.assert_nothing_left();
}

#[test]
fn a_caller_that_fails_leaves_no_container() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo began >/began");
    let (ours, theirs) = std::io::pipe().unwrap();
    drop(theirs);
    let run = blocked(&case, &bundle, &["--detach"]).stdin(ours);
    run.output().refused_in_one_line(&["--block-fd (9)", "ended before there was a byte"]);
    assert!(!bundle.rootfs("/began").exists());
    case.assert_nothing_left();
}

#[test]
fn a_closed_descriptor_is_an_error() {
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let run = case.runtime().args(["run", "--block-fd", "99", "--bundle"]).arg(bundle.dir());
    run.arg(bundle.id()).output().refused_in_one_line(&["--block-fd (99)"]);
    case.assert_nothing_left();
}
