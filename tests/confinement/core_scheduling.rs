//! The annotation `io.github.husk.core-scheduling`, docs/annotations.md.

use husk_tests::case::Case;

const POINTER: &str = "/annotations/io.github.husk.core-scheduling";
const PROPERTY: &str = "annotations (io.github.husk.core-scheduling";

/// Best effort: a kernel or a machine without it is told of, and no more.
#[test]
fn best_effort_runs_everywhere() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(POINTER, "true").args(["/bin/sleep", "1000"]);
    let create = case.creating(&bundle, &[]).ok();
    let warned = create.stderr.contains(PROPERTY);
    let exec = {
        case.on("start", bundle.id()).ok();
        let exec = case.runtime().arg("exec").arg(bundle.id()).args(["/bin/true"]).ok();
        case.runtime().args(["delete", "--force", bundle.id()]).ok();
        exec
    };
    assert_eq!(exec.stderr.contains(PROPERTY), warned, "{}", exec.stderr);
    // Where it can be had, strict is not refused; else it is.
    bundle.set(POINTER, "strict").args(["/bin/true"]);
    let strict = case.run(&bundle);
    match warned {
        true => drop(strict.refused_in_one_line(&[PROPERTY])),
        false => drop(strict.ok()),
    }
    case.assert_nothing_left();
}

/// Any other word is an error that names it.
#[test]
fn a_bad_value_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(POINTER, "yes");
    case.run(&bundle).refused_in_one_line(&[PROPERTY, "yes"]);
    case.assert_nothing_left();
}
