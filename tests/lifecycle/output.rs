//! Standard output that cannot be written.

use husk_tests::case::{Case, path_text};
use husk_tests::invocation::Invocation;
use husk_tests::runtime;

/// A disk without room is an error, and a reader that has gone is none; neither is a panic.
#[test]
fn what_cannot_be_printed() {
    let case = Case::new();
    let root = case.state_root();
    let root = path_text(&root);
    let program = path_text(runtime::path()).to_owned();
    for (output, code) in [("> /dev/full", 1), ("| true", 0), ("2> /dev/full", 0), (">&- 2>&-", 0)]
    {
        for command in ["--version", "--help", "list"] {
            let script = format!("set -o pipefail; {{ sleep 0.1; \"$@\"; }} {output}");
            let shell = Invocation::new("bash", case.dir()).args(["-c", &script, "bash"]);
            let done = shell.args([&program, "--root", root, command]).output();
            assert_eq!(done.code(), code, "{command} {output}: {}", done.stderr);
            assert_eq!(done.stderr.contains("No space left"), code == 1, "{}", done.stderr);
        }
    }
}
