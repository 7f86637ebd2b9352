//! The library from two threads at once, as examples/two_threads.rs uses it.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::path::PathBuf;
use std::process::Command;

/// `target/debug`.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().to_owned()
}

#[test]
fn two_threads_run_containers_and_leave_nothing_behind() {
    let programs = programs();
    let example = programs.join("examples/two_threads");
    let obstacle = match () {
        () if !rustix::process::geteuid().is_root() => Some("not root"),
        () if !programs.join("husk-oci").is_file() => Some("husk-oci is not built"),
        () if !example.is_file() => Some("the example is not built"),
        () => None,
    };
    if let Some(why) = obstacle {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {why}\n"));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new(&example).arg(directory.path()).env("PATH", path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = "one: \"first\\nlast\\n\", exit status 3\ntwo: \"two\\n\", exit status 0\n";
    assert_eq!((text.as_str(), output.status.code()), (expected, Some(0)), "{errors}");
    for left in ["root/containers", "root/container-names", "run/containers", "run/oci"] {
        let left = directory.path().join(left);
        let count = std::fs::read_dir(&left).map_or(0, Iterator::count);
        assert_eq!(count, 0, "{}", left.display());
    }
}
