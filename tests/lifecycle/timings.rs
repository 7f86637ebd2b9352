//! `--timings`: where the time of one command goes.

use std::fs;

use husk_tests::case::Case;
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The phases of both processes, and nothing on stdout, which is the program's.
#[test]
fn a_run_is_told_as_a_waterfall() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("echo hello");
    bundle.write();
    let dir = bundle.dir().to_str().unwrap().to_owned();
    let output =
        case.runtime().args(["--timings", "run", "--bundle", &dir, bundle.id()]).output().ok();
    assert_eq!(output.text(), "hello");
    let stderr = output.stderr.clone();
    for phase in ["plan", "cgroup", "clone3", "mounts", "pivot_root", "execve", "program", "remove"]
    {
        let bar = stderr.lines().find(|line| line.trim_start().starts_with(phase));
        assert!(bar.is_some_and(|line| line.contains('|')), "{phase}: {stderr}");
    }
}

/// `--timings=FILE`: spans that continue the caller's trace, one after the other in one file.
#[test]
fn spans_continue_the_callers_trace() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    bundle.write();
    let dir = bundle.dir().to_str().unwrap().to_owned();
    let file = case.path("spans");
    let timings = format!("--timings={}", file.display());
    for arguments in
        [&["create", "--bundle", &dir, bundle.id()][..], &["delete", "--force", bundle.id()]]
    {
        let runtime = case.runtime().env("TRACEPARENT", format!("00-{TRACE}-{PARENT}-01"));
        let output = runtime.arg(&timings).args(arguments).output().ok();
        assert_eq!(output.stderr, "");
    }
    let text = fs::read_to_string(&file).unwrap();
    let spans: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |name: &str| {
        spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    for command in ["husk-oci create", "husk-oci delete"] {
        assert_eq!(named(command)["parentSpanId"], PARENT);
    }
    let (create, mounts) = (named("husk-oci create"), named("mounts"));
    assert_eq!(mounts["parentSpanId"], create["spanId"]);
    assert_eq!(mounts["attributes"]["container.id"], bundle.id());
    assert_eq!(mounts["attributes"]["husk.process"], "container");
    let time = |span: &Value, key: &str| span[key].as_u64().unwrap();
    for span in &spans {
        assert_eq!(span["traceId"], TRACE);
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"), "{span}");
    }
    assert!(time(create, "startTimeUnixNano") <= time(mounts, "startTimeUnixNano"));
    assert!(time(mounts, "endTimeUnixNano") <= time(create, "endTimeUnixNano"));
}

/// A file that cannot be written is an error before anything is made.
#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/true"]);
    bundle.write();
    let dir = bundle.dir().to_str().unwrap().to_owned();
    let arguments = ["--timings=/nonexistent/spans", "run", "--bundle", &dir, bundle.id()];
    let output = case.runtime().args(arguments).output();
    output.refused_in_one_line(&["--timings (/nonexistent/spans)", "No such file or directory"]);
    case.assert_nothing_left();
}
