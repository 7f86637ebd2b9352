//! What the library must not be made of.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::collections::{HashMap, HashSet};
use std::process::Command;

use serde_json::Value;

/// Command lines, terminals, colours and progress bars are a front end's; the runtime is a program.
const NOT_IN_A_LIBRARY: [&str; 6] =
    ["clap", "indicatif", "console", "anstream", "husk-runtime", "husk-cli"];

#[test]
fn the_engine_has_no_command_line_and_no_runtime_in_it() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    // What other systems need need not have been downloaded.
    cargo.arg("--filter-platform").arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: HashMap<String, String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    // Without what tests alone need.
    let needs: HashMap<String, Vec<String>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let used = node["deps"].as_array().unwrap().iter().filter(|one| {
                one["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            });
            (text(&node["id"]), used.map(|one| text(&one["pkg"])).collect())
        })
        .collect();
    let engine = names.iter().find(|(_, name)| *name == "husk-engine").unwrap().0;
    let (mut seen, mut next) = (HashSet::new(), vec![engine.clone()]);
    while let Some(id) = next.pop() {
        if seen.insert(id.clone()) {
            next.extend(needs[&id].iter().cloned());
        }
    }
    let linked: HashSet<&str> = seen.iter().map(|id| names[id].as_str()).collect();
    assert!(linked.contains("husk-net"), "{linked:?}");
    for name in NOT_IN_A_LIBRARY {
        assert!(!linked.contains(name), "husk-engine depends on {name}");
    }
}
