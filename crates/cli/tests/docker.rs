//! The commands of docker/commands, whose answers of dockerd 28.5 are in docker/answers: husk's
//! standard output and exit code must be the same, but for the differences that are on purpose.
//!
//! To record the answers anew, with a program that is called as docker(1) is, on an engine that
//! has the image bb (see `Engine::tar`) and nothing else:
//!
//! ```text
//! HUSK_RECORD=/usr/bin/docker cargo test -p husk-cli --test docker
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::engine;

/// One command, and the word for why its answer differs.
#[derive(Debug)]
struct Asked {
    words: String,
    differs: Option<String>,
}

/// What a program answered: its exit code, whether it said something on standard error, and
/// its output without what differs from run to run.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    said: bool,
    out: String,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker")
}

fn commands() -> Vec<Asked> {
    let text = std::fs::read_to_string(directory().join("commands")).unwrap();
    let mut asked = Vec::new();
    let mut differs = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("differs: ") {
            Some(key) => differs = Some(key.to_owned()),
            None => asked.push(Asked { words: line.to_owned(), differs: differs.take() }),
        }
    }
    asked
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A word without what differs from run to run: ids, times.
fn plain(word: &str) -> String {
    let mut text = String::new();
    for part in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let (bare, end) = match part.strip_suffix(|c: char| !c.is_ascii_alphanumeric()) {
            Some(bare) => part.split_at(bare.len()),
            None => (part, ""),
        };
        match bare.len() {
            12 | 64 if is_hex(bare) => text.push_str(&format!("<id{}>", bare.len())),
            _ => text.push_str(bare),
        }
        text.push_str(end);
    }
    text
}

/// Lines with one blank between words, without ids and times.
fn normal(out: &str) -> String {
    let units = ["second", "seconds", "minute", "minutes", "hour", "hours"];
    let mut lines = Vec::new();
    for line in out.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let word = plain(word);
            match words.last().map(String::as_str) {
                Some(last)
                    if units.contains(&word.as_str())
                        && last.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    words.pop();
                    words.push("<age>".to_owned());
                }
                _ => words.push(word),
            }
        }
        let line = words.join(" ").replace("Less than a second", "<age>");
        lines.push(line.replace("About a minute", "<age>"));
    }
    lines.join("\n")
}

/// The answer to a command of a program that is called with `prefix` before the words.
fn answer(shell: &mut Command, words: &str) -> Answer {
    shell.arg("-c").arg(format!("run() {{ $PROGRAM \"$@\"; }}; run {words}"));
    let output = shell.stdin(Stdio::null()).output().unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        said: !output.stderr.is_empty(),
        out: normal(&String::from_utf8_lossy(&output.stdout)),
    }
}

fn write(asked: &Asked, answer: &Answer) -> String {
    let said = if answer.said { " and says why" } else { "" };
    let out: String = answer.out.lines().map(|line| format!("> {line}\n")).collect();
    format!("$ {}\n{}{said}\n{out}\n", asked.words, answer.code)
}

fn record(program: &str) {
    let mut text = String::new();
    for asked in commands() {
        let mut shell = Command::new("sh");
        shell.env("PROGRAM", program);
        text.push_str(&write(&asked, &answer(&mut shell, &asked.words)));
    }
    std::fs::write(directory().join("answers"), text).unwrap();
}

#[test]
fn the_answers_are_those_of_docker() {
    if let Ok(program) = std::env::var("HUSK_RECORD") {
        record(&program);
        return;
    }
    let engine = engine!(with_network);
    // The first container on a network may have remarks about it.
    engine.ok(&["run", "--rm", "bb", "true"]);
    let answers = std::fs::read_to_string(directory().join("answers")).unwrap();
    let mut answers = answers.split("\n\n").map(|one| one.trim_end().to_owned());
    let reasons = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-docker.md");
    let reasons = std::fs::read_to_string(reasons).unwrap();
    let mut failures = Vec::new();
    let commands = commands();
    assert!(commands.len() > 300, "{} commands", commands.len());
    for asked in commands {
        let expected = answers.next().expect("an answer for each command: record them anew");
        assert!(expected.starts_with(&format!("$ {}\n", asked.words)), "{asked:?}: {expected}");
        let program = engine.command(&[]);
        let words: Vec<_> =
            std::iter::once(program.get_program()).chain(program.get_args()).collect();
        let mut shell = Command::new("sh");
        shell.env("PROGRAM", words.join(std::ffi::OsStr::new(" ")));
        shell.env("DOCKER_CONFIG", engine.path("docker"));
        let answer = write(&asked, &answer(&mut shell, &asked.words));
        let same = answer.trim_end() == expected;
        match &asked.differs {
            None if !same => failures.push(format!("{answer}instead of\n{expected}\n")),
            Some(key) if same => {
                failures.push(format!("{} no longer differs: {key}\n", asked.words));
            }
            Some(key) => {
                assert!(reasons.contains(&format!("`{key}`")), "{key} is not in from-docker.md");
            }
            None => {}
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} differences:\n\n{}", failures.join("\n"));
    assert_eq!(answers.next().as_deref(), Some(""), "more answers than commands: record them anew");
}
