//! The events of the commands in docker/events.commands, whose events of dockerd 28.5 are in
//! docker/events.answers. To record those anew:
//!
//! ```text
//! HUSK_RECORD=/usr/bin/docker cargo test -p husk-cli --test events
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's failure is a panic"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{Engine, engine};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker")
}

fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// The events of one command: type, action, and attributes without what differs from run to run.
fn events(program: &str, words: &str) -> String {
    let shell = |words: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("run() {{ $PROGRAM \"$@\"; }}; run {words}"));
        shell.env("PROGRAM", program).stdin(Stdio::null()).output().unwrap()
    };
    let since = now();
    shell(words);
    let until = now();
    let output =
        shell(&format!("events --since {since} --until {until} --format '{{{{json .}}}}'"));
    let mut text = String::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let word = |field: &str| event[field].as_str().unwrap().to_owned();
        let attributes: BTreeMap<String, Value> =
            serde_json::from_value(event["Actor"]["Attributes"].clone()).unwrap();
        text.push_str(&format!("> {} {}", word("Type"), word("Action").trim_end()));
        if word("Type") == "volume" {
            text.push_str(&format!(" {}", event["Actor"]["ID"].as_str().unwrap()));
        }
        for (name, value) in attributes {
            let value = value.as_str().unwrap();
            let is_id = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
            match name.as_str() {
                "execDuration" => text.push_str(" execDuration"),
                _ if is_id || value.starts_with("sha256:") => {
                    text.push_str(&format!(" {name}=<id>"))
                }
                _ => text.push_str(&format!(" {name}={value}")),
            }
        }
        text.push('\n');
    }
    format!("$ {words}\n{text}")
}

fn commands() -> Vec<(String, Option<String>)> {
    let text = std::fs::read_to_string(directory().join("events.commands")).unwrap();
    let (mut commands, mut differs) = (Vec::new(), None);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("differs: ") {
            Some(key) => differs = Some(key.to_owned()),
            None => commands.push((line.to_owned(), differs.take())),
        }
    }
    commands
}

#[test]
fn the_events_are_those_of_docker() {
    if let Ok(program) = std::env::var("HUSK_RECORD") {
        let each = commands().into_iter().map(|(words, _)| events(&program, &words) + "\n");
        let text: String = each.collect();
        std::fs::write(directory().join("events.answers"), text).unwrap();
        return;
    }
    let engine = engine!(with_network);
    let command = engine.command(&[]);
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let program = words.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
    let answers = std::fs::read_to_string(directory().join("events.answers")).unwrap();
    let mut answers = answers.split("\n\n");
    let reasons = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-docker.md");
    let reasons = std::fs::read_to_string(reasons).unwrap();
    let mut failures = String::new();
    for (words, differs) in commands() {
        let expected = answers.next().expect("an answer for each command: record them anew");
        assert!(expected.starts_with(&format!("$ {words}")), "{words}: {expected}");
        let found = events(&program, &words);
        let is_same = found.trim_end() == expected.trim_end();
        if is_same != differs.is_none() {
            failures.push_str(&format!("{found}instead of\n{expected}\n\n"));
        }
        if let Some(key) = differs {
            assert!(reasons.contains(&format!("`{key}`")), "{key} is not in from-docker.md");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A reader that follows, and the first lines that it prints.
fn follow(
    engine: &Engine,
    arguments: &[&str],
) -> (std::process::Child, impl Iterator<Item = String>) {
    let mut child = engine.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

#[test]
fn followed_filtered_and_formatted() {
    let engine = engine!(new);
    engine.ok(&["create", "--name", "one", "--network", "none", "bb", "true"]);
    engine.ok(&["create", "--name", "two", "--network", "none", "bb", "true"]);
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}";
    let arguments = ["events", "--since", "0", "-f", "container=one", "--format", format];
    let (mut child, mut lines) = follow(&engine, &arguments);
    // What was before comes first: so the reader is there.
    assert_eq!(lines.next().unwrap(), "container create one <no value>");
    engine.ok(&["start", "--attach", "two"]);
    engine.ok(&["start", "--attach", "one"]);
    for expected in ["attach one <no value>", "start one <no value>", "die one 0"]
        .map(|text| format!("container {text}"))
    {
        assert_eq!(lines.next().unwrap(), expected);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let past = |arguments: &[&str]| {
        let mut all = vec!["events", "--since", "0", "--until", "0s"];
        all.extend(arguments);
        engine.ok(&all)
    };
    let deaths = past(&["-f", "event=die", "--format", "json"]);
    assert_eq!(deaths.lines().count(), 2, "{deaths}");
    for (death, name) in deaths.lines().zip(["two", "one"]) {
        let death: Value = serde_json::from_str(death).unwrap();
        assert_eq!(death["status"], "die");
        assert_eq!(death["from"], "bb");
        assert_eq!(death["scope"], "local");
        assert_eq!(death["Actor"]["Attributes"]["name"], name);
        assert!(
            death["timeNano"].as_u64().unwrap() / 1_000_000_000 == death["time"].as_u64().unwrap()
        );
    }
    let line = past(&["-f", "event=create", "-f", "container=two"]);
    let words: Vec<&str> = line.trim_end().splitn(5, ' ').collect();
    assert_eq!([words[1], words[2], words[4]], ["container", "create", "(image=bb, name=two)"]);
    assert_eq!(words[0].find('.'), Some(19), "nine digits after the seconds: {line}");
    let refused = engine.run(&["system", "events", "-f", "colour=red"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("colour"), "{refused:?}");
}

/// A journal that nobody can write must not keep a container from being run.
#[test]
fn no_operation_fails_for_its_journal() {
    let engine = engine!(new);
    let directory = engine.path("root/events");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::write(&directory, b"in the way").unwrap();
    engine.ok(&["run", "--rm", "--network", "none", "bb", "true"]);
    let refused = engine.run(&["events", "--since", "0"]);
    assert!(refused.code == 1 && refused.err.contains("events"), "{refused:?}");
    std::fs::remove_file(&directory).unwrap();
    engine.ok(&["run", "--name", "x", "--network", "none", "bb", "true"]);
    let until = (SystemTime::now() + Duration::from_millis(10)).duration_since(UNIX_EPOCH).unwrap();
    let until = format!("{}.{:09}", until.as_secs(), until.subsec_nanos());
    let found =
        engine.ok(&["events", "--since", "0", "--until", &until, "--format", "{{.Action}}"]);
    assert_eq!(found, "create\nattach\nconnect\nstart\ndisconnect\ndie");
}
