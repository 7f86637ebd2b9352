//! Runs the conformance suite on several runtimes and prints their counts side
//! by side, as Markdown:
//!
//! `cargo run --package husk-tests --bin conformance-report -- [--write FILE] RUNTIME...`
//!
//! With `--write` the tables replace what stands between the markers of FILE,
//! which is how docs/conformance.md is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use serde_json::Value;

const BEGIN: &str = "<!-- counts begin -->";
const END: &str = "<!-- counts end -->";

/// A module of the suite, and what of the documents it covers. The order is
/// that of the table.
const SECTIONS: [(&str, &str); 20] = [
    ("lifecycle", "runtime.md: operations, state, errors"),
    ("root", "config.md: Root; config-linux.md: masked and read-only paths, propagation"),
    ("mounts", "config.md: Mounts"),
    ("mount_options", "config.md: Linux mount options"),
    ("process", "config.md: Process, User, rlimits"),
    ("capabilities", "config.md: capabilities"),
    ("scheduling", "config.md: scheduler, ioPriority, execCPUAffinity; memoryPolicy, personality"),
    ("terminal", "config.md: terminal, consoleSize; console socket"),
    ("hooks", "config.md: Hooks"),
    ("namespaces", "config-linux.md: Namespaces, timeOffsets"),
    ("net_devices", "config-linux.md: Network Devices"),
    ("devices", "config-linux.md: Devices, default devices"),
    ("kernel_settings", "hostname, domainname, annotations, sysctl, cgroupsPath"),
    ("features", "features.md, features-linux.md"),
    ("descriptors", "descriptors, pid files, service managers' sockets"),
    ("exec", "the command `exec`"),
    ("commands", "the other commands and the global flags"),
    ("sealing", "the runtime's executable and processes as seen from inside"),
    ("cgroups", "config-linux.md: Control groups"),
    ("bad_input", "errors: one line, the property, its value (husk-oci's own promise)"),
];

/// Test name to whether it passed.
type Results = BTreeMap<String, bool>;

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<(), String> {
    let mut runtimes: Vec<String> = env::args().skip(1).collect();
    let mut write = None;
    if runtimes.first().is_some_and(|arg| arg == "--write") {
        runtimes.remove(0);
        if runtimes.is_empty() {
            return Err("--write needs a file".to_owned());
        }
        write = Some(runtimes.remove(0));
    }
    if runtimes.is_empty() {
        return Err("no runtime given (husk-oci, runc, crun, or a path)".to_owned());
    }
    let suite = build_suite()?;
    let mut results = Vec::new();
    for runtime in &runtimes {
        eprintln!("conformance-report: {runtime} ...");
        results.push((label(&suite, runtime), run_suite(&suite, runtime)?));
    }
    let tables = tables(&results);
    match write {
        Some(file) => replace(&file, &tables),
        None => {
            print!("{tables}");
            Ok(())
        }
    }
}

/// Builds the suite; returns its executable.
fn build_suite() -> Result<String, String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["test", "--package", "husk-tests", "--test", "conformance", "--no-run"])
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
        .filter(|message| message["target"]["name"] == "conformance")
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
fn label(suite: &str, runtime: &str) -> String {
    Command::new(command(suite, runtime))
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.lines().next().map(|line| line.replace(" version ", " ")))
        .map(|line| line.split('+').next().unwrap_or_default().to_owned())
        .unwrap_or_else(|| runtime.to_owned())
}

fn run_suite(suite: &str, runtime: &str) -> Result<Results, String> {
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

fn tables(results: &[(String, Results)]) -> String {
    let names: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| what | tests | {} |\n", names.join(" | "));
    text.push_str(&format!("|---|---:|{}\n", "---:|".repeat(results.len())));
    for (module, title) in SECTIONS {
        let prefix = format!("{module}::");
        let own = |all: &Results| all.keys().filter(|name| name.starts_with(&prefix)).count();
        let total = results.iter().map(|(_, all)| own(all)).max().unwrap_or(0);
        if total > 0 {
            let counts = counts(results, |name| name.starts_with(&prefix));
            text.push_str(&format!("| {title} | {total} | {counts} |\n"));
        }
    }
    let total = results.iter().map(|(_, all)| all.len()).max().unwrap_or(0);
    text.push_str(&format!("| **all** | **{total}** | {} |\n", counts(results, |_| true)));
    let own: &dyn Fn(&str) -> bool = &|name| !name.starts_with("bad_input::");
    let without =
        results.iter().map(|(_, all)| all.keys().filter(|n| own(n)).count()).max().unwrap_or(0);
    text.push_str(&format!(
        "| all but husk-oci's own promise | {without} | {} |\n\n",
        counts(results, own)
    ));
    failures(results, &mut text);
    text
}

fn counts(results: &[(String, Results)], of: impl Fn(&str) -> bool) -> String {
    let passed: Vec<String> = results
        .iter()
        .map(|(_, all)| all.iter().filter(|(name, ok)| **ok && of(name)).count().to_string())
        .collect();
    passed.join(" | ")
}

/// Every test that some runtime fails, and which do.
fn failures(results: &[(String, Results)], text: &mut String) {
    let failed: BTreeSet<&String> = results
        .iter()
        .flat_map(|(_, all)| all.iter().filter(|(_, ok)| !**ok).map(|(name, _)| name))
        .collect();
    text.push_str("| test | fails on |\n|---|---|\n");
    for name in failed.iter().filter(|name| !name.starts_with("bad_input::")) {
        let on: Vec<&str> = results
            .iter()
            .filter(|(_, all)| all.get(*name) == Some(&false))
            .map(|(runtime, _)| runtime.split(' ').next().unwrap_or_default())
            .collect();
        text.push_str(&format!("| `{name}` | {} |\n", on.join(", ")));
    }
}

fn replace(file: &str, tables: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(format!("{file}: no lines {BEGIN:?} and {END:?}"));
    };
    let head = text.get(..begin + BEGIN.len()).unwrap_or_default();
    let tail = text.get(end..).unwrap_or_default();
    fs::write(file, format!("{head}\n\n{tables}\n{tail}")).map_err(|e| format!("{file}: {e}"))
}
