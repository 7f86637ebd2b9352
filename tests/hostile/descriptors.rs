//! Descriptors of the host that a process could reach: by its working
//! directory, its program's path, or the interpreter its script names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;

use crate::canary::Canaries;

/// What the program among the canaries prints.
const ESCAPED: &str = "\"namespaces\"";

/// The runtime, called with a directory of the host on descriptor 9 and one on
/// 19, as a careless engine leaves them.
fn leaky(case: &Case, directory: &Path) -> Invocation {
    let script = format!("exec \"$@\" 9<{0} 19<{0}", directory.display());
    case.program("/bin/bash")
        .args(["-c", &script, "bash"])
        .arg(runtime::path())
        .arg("--root")
        .arg(case.state_root())
}

fn leaky_run(case: &Case, canaries: &Canaries, bundle: &Bundle) -> husk_tests::invocation::Output {
    bundle.write();
    leaky(case, &canaries.path("dir"))
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .output()
}

/// CVE-2024-21626 (runc): the working directory is a descriptor of the runtime
/// or of its caller.
#[test]
fn no_working_directory_is_a_descriptor() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    for fd in 3..40 {
        let mut bundle = case.bundle();
        bundle.set("/process/cwd", format!("/proc/self/fd/{fd}"));
        bundle.args(["/bin/cat", "../file"]);
        let run = leaky_run(&case, &canaries, &bundle).refused();
        assert!(!run.stdout.contains("canary"), "{fd}: {}", run.stdout);
    }
    canaries.assert_untouched(&case, "run");
}

/// CVE-2024-21626 for `exec --cwd`, and with a link of the image on the way.
#[test]
fn no_working_directory_of_exec_is_a_descriptor() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let (bundle, container) = case.sleeper();
    for fd in 3..40 {
        crate::links::link(&bundle, "work", Path::new(&format!("/proc/self/fd/{fd}")));
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/.."), "/work".into()]
        {
            let run = leaky(&case, &canaries.path("dir"))
                .args(["exec", "--cwd", &cwd, container.id(), "/bin/cat", "../file", "file"])
                .output();
            assert_ne!(run.code(), 0, "{cwd}");
            assert!(!run.stdout.contains("canary"), "{cwd}: {}", run.stdout);
        }
    }
    canaries.assert_untouched(&case, "exec");
}

/// CVE-2024-21626, its third attack: the program's own path goes through a
/// descriptor. execve(2) resolves it before close-on-exec takes effect.
#[test]
fn no_program_is_found_through_a_descriptor() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let (sleeper, container) = case.sleeper();
    let script = sleeper.rootfs("bin/tool");
    for fd in 3..40 {
        let program = format!("/proc/self/fd/{fd}/../program");
        let mut bundle = case.bundle();
        bundle.args([&program]);
        let run = leaky_run(&case, &canaries, &bundle);
        assert!(!run.stdout.contains(ESCAPED), "run {program}");
        bundle.set("/process/env", serde_json::json!([format!("PATH=/proc/self/fd/{fd}/..")]));
        bundle.args(["program"]);
        let run = leaky_run(&case, &canaries, &bundle);
        assert!(!run.stdout.contains(ESCAPED), "run by PATH, {fd}");

        let exec = |program: &str| {
            leaky(&case, &canaries.path("dir"))
                .args(["exec", container.id(), program])
                .output()
                .stdout
        };
        assert!(!exec(&program).contains(ESCAPED), "exec {program}");
        fs::write(&script, format!("#!{program}\n")).unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(!exec("/bin/tool").contains(ESCAPED), "exec of a script, {program}");
    }
    canaries.assert_untouched(&case, "programs");
}

/// The same with what the runtime itself has open when it executes the program:
/// a procfs of the host would show another process's root.
#[test]
fn no_program_is_found_through_the_runtimes_own_descriptors() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let own = std::process::id();
    let program = canaries.path("program");
    let program = program.to_str().unwrap();
    let mut bundle = case.bundle();
    // All that root on this host has: then only a closed descriptor is in the way.
    let all: Vec<&str> = vec!["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"];
    for kind in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{kind}"), all.clone());
    }
    for fd in 3..40 {
        for through in [
            format!("/proc/self/fd/{fd}/{own}/root{program}"),
            format!("/proc/self/fd/{fd}{program}"),
        ] {
            bundle.args([&through]);
            let run = case.run(&bundle);
            assert!(!run.stdout.contains(ESCAPED), "{through}");
        }
    }
}

/// CVE-2024-21626: nothing but 0, 1 and 2 is open inside, whatever the caller
/// had.
#[test]
fn only_the_standard_streams_are_open_inside() {
    let case = Case::new();
    let canaries = Canaries::new(&case);
    let bundle = case.bundle();
    let report = leaky_run(&case, &canaries, &bundle).ok().json();
    let open: Vec<_> = report["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "run");
    let (_bundle, container) = case.sleeper();
    let exec = leaky(&case, &canaries.path("dir"))
        .args(["exec", container.id(), "/bin/probe"])
        .output()
        .ok();
    let report = exec.json();
    let open: Vec<_> = report["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "exec");
}
