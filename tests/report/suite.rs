//! A suite run on a runtime, and the file that its tables go to.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const BEGIN: &str = "<!-- counts begin -->";
const END: &str = "<!-- counts end -->";

/// Test name to whether it passed.
pub(crate) type Results = BTreeMap<String, bool>;

/// Builds the suite; returns its executable.
pub(crate) fn build(name: &str) -> Result<String, String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["test", "--package", "husk-tests", "--test", name, "--no-run"])
        .arg("--message-format=json")
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo test --no-run: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo test --no-run: {}", output.status));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .ok_or_else(|| "cargo named no executable of the suite".to_owned())
}

/// `husk-oci` means the one that was built beside the suite.
fn command(suite: &str, runtime: &str) -> String {
    let beside = Path::new(suite).parent().and_then(Path::parent).map(|dir| dir.join("husk-oci"));
    match beside {
        Some(path) if runtime == "husk-oci" => path.display().to_string(),
        _ => runtime.to_owned(),
    }
}

/// The runtime's name and version.
pub(crate) fn label(suite: &str, runtime: &str) -> String {
    Command::new(command(suite, runtime))
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.lines().next().map(|line| line.replace(" version ", " ")))
        .map(|line| line.split('+').next().unwrap_or_default().to_owned())
        .unwrap_or_else(|| runtime.to_owned())
}

pub(crate) fn run(suite: &str, runtime: &str) -> Result<Results, String> {
    let output = Command::new(suite)
        .env("RUNTIME", command(suite, runtime))
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|e| format!("{suite}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Results = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .map(|(name, result)| (name.to_owned(), result.trim() == "ok"))
        .collect();
    if results.is_empty() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{runtime}: the suite ran no test: {}", error.trim()));
    }
    let failed = results.values().filter(|passed| !**passed).count();
    eprintln!("conformance-report: {runtime}: {} passed, {failed} failed", results.len() - failed);
    Ok(results)
}

pub(crate) fn replace(file: &str, tables: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(format!("{file}: no lines {BEGIN:?} and {END:?}"));
    };
    let head = text.get(..begin + BEGIN.len()).unwrap_or_default();
    let tail = text.get(end..).unwrap_or_default();
    fs::write(file, format!("{head}\n\n{tables}\n{tail}")).map_err(|e| format!("{file}: {e}"))
}
