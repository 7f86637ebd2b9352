//! Compose files and what docker compose 2.40 says of them (`config --format json`).
//!
//! A case is a text file of `tests/corpus`: its parts begin with `-- NAME --`. `expected` is
//! docker compose's answer, `husk` what husk says where that differs on purpose, with the
//! reason in its first line; every other part is a file of the project. `arguments` has lines
//! `file NAME`, `profile NAME` and `env-file NAME`.
//!
//! `HUSK_COMPOSE_RECORD=/path/to/docker-compose cargo test -p husk-compose --test corpus`
//! asks docker compose again and writes its answers; `HUSK_COMPOSE_ONLY=WORD` takes only the
//! cases whose names have the word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use husk_compose::{Caller, config_json};

/// Where a project's directory stands in recorded answers.
const PLACEHOLDER: &str = "/project";

type Parts = Vec<(String, String)>;

fn parse(text: &str) -> Parts {
    let mut parts: Parts = Vec::new();
    for line in text.split_inclusive('\n') {
        let name = line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
        match (name, parts.last_mut()) {
            (Some(name), _) => parts.push((name.to_owned(), String::new())),
            (None, Some((_, body))) => body.push_str(line),
            (None, None) => panic!("the first line names no part"),
        }
    }
    parts
}

struct Case {
    path: PathBuf,
    parts: Parts,
    directory: PathBuf,
}

impl Case {
    fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(one, _)| one == name).map(|(_, body)| body.as_str())
    }

    fn arguments(&self, word: &str) -> Vec<String> {
        let lines = self.part("arguments").unwrap_or_default().lines();
        lines
            .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
            .map(str::to_owned)
            .collect()
    }

    fn unpack(&self) {
        std::fs::create_dir_all(&self.directory).unwrap();
        for (name, body) in &self.parts {
            if ["expected", "husk", "arguments"].contains(&name.as_str()) {
                continue;
            }
            let path = self.directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, body).unwrap();
        }
    }
}

fn environment() -> BTreeMap<String, String> {
    let pairs =
        [("HOME", "/home/user"), ("FOO", "foo"), ("EMPTY", ""), ("N", "3"), ("PATH", "/bin")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn normal(text: &str, directory: &Path) -> String {
    let above = directory.parent().unwrap().display().to_string();
    text.replace(&directory.display().to_string(), PLACEHOLDER).replace(&above, "")
}

fn husk(case: &Case) -> Result<serde_json::Value, String> {
    let caller = Caller { environment: environment(), current: case.directory.clone() };
    let answer = config_json(
        &caller,
        &case.arguments("file"),
        &case.arguments("profile"),
        &case.arguments("env-file"),
    );
    match answer {
        Ok(json) => Ok(serde_json::from_str(&normal(&json.to_string(), &case.directory)).unwrap()),
        Err(text) => Err(normal(&text, &case.directory)),
    }
}

fn shown(answer: Result<serde_json::Value, String>) -> String {
    match answer {
        Ok(json) => format!("{json:#}"),
        Err(text) => format!("error: {text}"),
    }
}

fn record(case: &mut Case, program: &Path) {
    let mut command = Command::new(program);
    command.current_dir(&case.directory).env_clear().envs(environment());
    for (word, flag) in [("file", "-f"), ("profile", "--profile"), ("env-file", "--env-file")] {
        for value in case.arguments(word) {
            command.args([flag, &value]);
        }
    }
    let output = command.args(["config", "--format", "json"]).output().unwrap();
    let answer = match output.status.success() {
        true => {
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            format!("{json:#}\n")
        }
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("time=")).collect();
            format!("error: {}\n", lines.join(" | "))
        }
    };
    let answer = normal(&answer, &case.directory);
    case.parts.retain(|(name, _)| name != "expected");
    case.parts.push(("expected".to_owned(), answer));
    let said = shown(husk(case));
    if let Some((_, own)) = case.parts.iter_mut().find(|(name, _)| name == "husk") {
        let reason = own.lines().next().unwrap_or_default().to_owned();
        *own = format!("{reason}\n{said}\n");
    }
    let text: String =
        case.parts.iter().map(|(name, body)| format!("-- {name} --\n{body}")).collect();
    std::fs::write(&case.path, text).unwrap();
}

/// What differs, or nothing.
fn compare(case: &Case) -> Option<String> {
    let expected = case.part("expected").unwrap_or_default();
    let answer = husk(case);
    if let Some(own) = case.part("husk") {
        let own = own.split_once('\n').map_or("", |(_, rest)| rest).trim();
        let said = shown(answer);
        return (said.trim() != own)
            .then(|| format!("husk's own answer changed:\n{said}\nbut was\n{own}"));
    }
    match (answer, expected.strip_prefix("error: ")) {
        (Err(_), Some(_)) => None,
        (Ok(json), Some(error)) => {
            Some(format!("docker compose refuses: {error}husk says {json:#}"))
        }
        (Err(text), None) => Some(format!("husk refuses: {text}")),
        (Ok(json), None) => {
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            let mut found = Vec::new();
            differences("", &expected, &json, &mut found);
            (!found.is_empty()).then(|| found.join("\n"))
        }
    }
}

fn differences(
    path: &str,
    theirs: &serde_json::Value,
    ours: &serde_json::Value,
    found: &mut Vec<String>,
) {
    use serde_json::Value::Object;
    if let (Object(a), Object(b)) = (theirs, ours) {
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            let path = format!("{path}.{key}");
            match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => differences(&path, a, b, found),
                (a, b) => found.push(format!("{path}: docker {a:?}, husk {b:?}")),
            }
        }
    } else if theirs != ours {
        found.push(format!("{path}: docker {theirs}, husk {ours}"));
    }
}

#[test]
fn answers_are_docker_composes() {
    let recorder = std::env::var_os("HUSK_COMPOSE_RECORD").map(PathBuf::from);
    let only = std::env::var("HUSK_COMPOSE_ONLY").ok();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let scratch = std::env::temp_dir().join(format!("husk-compose-corpus-{}", std::process::id()));
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 200, "only {} cases", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let directory = scratch.join(&name).join("project");
        let mut case = Case { path, parts: parse(&text), directory };
        case.unpack();
        if let Some(program) = &recorder {
            record(&mut case, program);
        }
        if let Some(difference) = compare(&case) {
            failures.push(format!("== {name}\n{difference}"));
        }
    }
    std::fs::remove_dir_all(&scratch).unwrap();
    assert!(failures.is_empty(), "{} cases differ\n{}", failures.len(), failures.join("\n"));
}
