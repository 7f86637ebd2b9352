//! Mistakes in compose files: each is told with its file, line, column and path, and a caret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use husk_compose::{Caller, config_json};

/// What `config` says of a project whose file has this text; none: there is no file.
fn said(text: Option<&str>) -> String {
    let directory = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        std::fs::write(directory.path().join("compose.yaml"), text).unwrap();
    }
    let caller = Caller { environment: BTreeMap::new(), current: directory.path().to_owned() };
    let answer = config_json(&caller, &[], &[], &[]).expect_err("a mistake is refused");
    answer.replace(&directory.path().display().to_string(), "/project")
}

/// The line, its tabs as spaces, and the caret below a mistake at a column counted from 1.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let source = text.lines().nth(line - 1).unwrap().replace('\t', " ");
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    format!("  {number} | {source}\n  {margin} | {}^", " ".repeat(column - 1))
}

#[track_caller]
fn assert_told(text: &str, line: usize, column: usize, message: &str) {
    let said = said(Some(text));
    let expected = format!("compose.yaml:{line}:{column}: {message}");
    assert!(said.contains(&expected), "{expected}\nin\n{said}");
    let expected = excerpt(text, line, column);
    assert!(said.contains(&expected), "{expected}\nin\n{said}");
}

#[test]
fn tabs_and_indentation() {
    assert_told("services:\n\tweb:\n\t\timage: bb\n", 2, 1, "a tab indents this line");
    assert_told(
        "services:\n  web:\n    image: bb\n   ports: [\"80:80\"]\n",
        4,
        4,
        "not valid YAML",
    );
}

#[test]
fn a_list_where_a_map_belongs() {
    assert_told("services:\n  - web\n", 2, 3, "services: must be a mapping, but is a list");
}

#[test]
fn unknown_keys_with_what_was_meant() {
    assert_told(
        "services:\n  web:\n    imag: bb\n",
        3,
        5,
        "services.web.imag: unknown key; did you mean \"image\"?",
    );
}

#[test]
fn undefined_networks_and_cycles() {
    assert_told(
        "services:\n  web: {image: bb, networks: [nope]}\n",
        2,
        31,
        "services.web.networks.nope: refers to undefined network nope",
    );
    assert_told(
        "services:\n  a: {image: bb, depends_on: [b]}\n  b: {image: bb, depends_on: [a]}\n",
        2,
        31,
        "services.a.depends_on: dependency cycle detected: a -> b -> a",
    );
}

#[test]
fn missing_files_and_variables() {
    assert_told(
        "services:\n  a: {image: bb, env_file: nope.env}\n",
        2,
        28,
        "services.a.env_file[0]: the file /project/nope.env is not there",
    );
    assert_told(
        "services:\n  a: {image: \"${NOPE:?must be set}\"}\n",
        2,
        14,
        "services.a.image: the required variable NOPE is missing a value: must be set",
    );
    assert!(said(None).starts_with("no configuration file provided"));
}

#[test]
fn several_at_once() {
    let text = "services:\n  a: {imag: bb, ports: [\"x\"]}\n  b: {image: bb, mem_limit: 5q}\n";
    assert_told(text, 2, 7, "services.a.imag: unknown key; did you mean \"image\"?");
    assert_told(text, 2, 25, "services.a.ports[0]: \"x\": a port is a number");
    assert_told(text, 3, 29, "services.b.mem_limit: \"5q\" is not a number of bytes");
}
