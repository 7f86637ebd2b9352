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

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn seconds(time: Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

/// An event without what differs from run to run.
fn plain(event: &Value) -> String {
    let word = |field: &str| event[field].as_str().unwrap();
    let attributes: BTreeMap<String, String> =
        serde_json::from_value(event["Actor"]["Attributes"].clone()).unwrap();
    let mut text = format!("> {} {}", word("Type"), word("Action").trim_end());
    if word("Type") == "volume" {
        text.push_str(&format!(" {}", event["Actor"]["ID"].as_str().unwrap()));
    }
    for (name, value) in attributes {
        let is_id = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
        match name.as_str() {
            "execDuration" | "reclaimed" => text.push_str(&format!(" {name}")),
            _ if is_id || value.starts_with("sha256:") => text.push_str(&format!(" {name}=<id>")),
            _ => text.push_str(&format!(" {name}={value}")),
        }
    }
    text.replace("  ", " ")
}

/// The events of each command.
fn answers(program: &str, settling: Duration) -> Vec<String> {
    let shell = |words: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("run() {{ $PROGRAM \"$@\"; }}; run {words}"));
        shell.env("PROGRAM", program).stdin(Stdio::null()).output().unwrap()
    };
    let begun = now();
    let mut ends = Vec::new();
    for (words, _) in commands() {
        shell(&words);
        std::thread::sleep(settling);
        ends.push((words, now()));
    }
    let (since, until) = (seconds(begun), seconds(now()));
    let output =
        shell(&format!("events --since {since} --until {until} --format '{{{{json .}}}}'"));
    let output = String::from_utf8(output.stdout).unwrap();
    let mut events: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut answers = Vec::new();
    for (words, end) in ends {
        let is_before =
            |event: &Value| Duration::from_nanos(event["timeNano"].as_u64().unwrap()) <= end;
        let count = events.iter().take_while(|event| is_before(event)).count();
        let lines: Vec<String> = events.drain(..count).map(|event| plain(&event)).collect();
        answers.push(format!("$ {words}\n{}", lines.join("\n")).trim_end().to_owned());
    }
    answers
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
        // dockerd tells the end of a container that `docker run` has reported a little later.
        let text = answers(&program, Duration::from_millis(300)).join("\n\n") + "\n";
        std::fs::write(directory().join("events.answers"), text).unwrap();
        return;
    }
    let engine = engine!(with_network);
    let command = engine.command(&[]);
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let program = words.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
    let recorded = std::fs::read_to_string(directory().join("events.answers")).unwrap();
    let mut expected = recorded.split("\n\n").map(str::trim_end);
    let reasons = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-docker.md");
    let reasons = std::fs::read_to_string(reasons).unwrap();
    let mut failures = String::new();
    let found = answers(&program, Duration::ZERO);
    for ((words, differs), found) in commands().into_iter().zip(found) {
        let expected = expected.next().expect("an answer for each command: record them anew");
        assert!(expected.starts_with(&format!("$ {words}")), "{words}: {expected}");
        if (found == expected) != differs.is_none() {
            failures.push_str(&format!("{found}\ninstead of\n{expected}\n\n"));
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
    engine.ok(&["run", "--name", "x1", "--network", "none", "bb", "true"]);
    let until = seconds(now());
    let found =
        engine.ok(&["events", "--since", "0", "--until", &until, "--format", "{{.Action}}"]);
    assert_eq!(found, "create\nattach\nconnect\nstart\ndisconnect\ndie");
}
