//! The figures that do not wobble, each against its ceiling in bench/ceilings.json.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use super::tally::Tally;
use crate::cargo::{self, Metadata};
use crate::scratch::Scratch;
use crate::{process, release};

const FILE: &str = "bench/ceilings.json";

/// One figure's ceiling.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceiling {
    /// The greatest value allowed of what is released.
    ceiling: u64,
    /// The same of the plain release build, measured where a release cannot be built; absent
    /// where that makes no difference.
    plain: Option<u64>,
    /// What is counted.
    unit: String,
    /// Why the ceiling was last changed.
    reason: String,
}

/// Measures each figure of the file and counts it as a test.
///
/// # Errors
/// The file cannot be read, or the release build fails.
pub(super) fn check(metadata: &Metadata, tally: &mut Tally) -> anyhow::Result<()> {
    let ceilings = read()?;
    let (runtime, is_release) = release::program("husk-runtime", "husk-oci")?;
    let mut counted = None;
    for (figure, ceiling) in &ceilings {
        let name = match (is_release, ceiling.plain) {
            (false, Some(_)) => format!("ceiling of {figure}, plain build"),
            _ => format!("ceiling of {figure}"),
        };
        let value = match figure.as_str() {
            "crates" => crates(metadata, "husk-runtime"),
            "binary" => fs::metadata(&runtime).context("husk-oci").map(|file| file.len()),
            _ if !process::is_root() => {
                tally.skip(&name, "makes containers as root: use sudo -E");
                continue;
            }
            of_a_run => {
                let counts = counted.get_or_insert_with(|| counts_of_a_run(&runtime));
                of_one(counts, of_a_run)
            }
        };
        match value {
            Ok(value) => match ceiling.holds(value, is_release) {
                Ok(()) => tally.check(&format!("{name}: {value} {}", ceiling.unit), Ok(())),
                Err(error) => tally.fail(&name, &format!("{error:#}")),
            },
            Err(error) => tally.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}

/// What the benchmark counts of one `run`, as its results.json has it.
///
/// The benchmark does it in a process of its own, since it enters a mount namespace.
fn counts_of_a_run(runtime: &Path) -> anyhow::Result<Value> {
    let scratch = Scratch::new("ceilings")?;
    let mut command = Command::new(process::own_path()?);
    command.args(["bench", "--only", "counts", "--no-path", "--subject"]).arg(runtime);
    command.arg("--results").arg(scratch.path());
    process::output(&mut command)?;
    let results = fs::read(scratch.path().join("results.json")).context("results.json")?;
    serde_json::from_slice(&results).context("results.json")
}

fn of_one(results: &anyhow::Result<Value>, figure: &str) -> anyhow::Result<u64> {
    let results = results.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let entries = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let count = entries(results, "counts")
        .into_iter()
        .find(|count| count["name"] == figure)
        .with_context(|| format!("{FILE}: no figure {figure:?}"))?;
    let row = entries(&count, "rows").into_iter().find(|row| row["peer"] == "husk-oci");
    let found = row.map(|row| row["found"].clone()).context("husk-oci was not measured")?;
    found["value"].as_u64().with_context(|| format!("not measured: {}", found["failed"]))
}

fn read() -> anyhow::Result<BTreeMap<String, Ceiling>> {
    let text = fs::read(cargo::workspace().join(FILE)).context(FILE)?;
    serde_json::from_slice(&text).context(FILE)
}

impl Ceiling {
    fn holds(&self, value: u64, is_release: bool) -> anyhow::Result<()> {
        let ceiling = self.plain.filter(|_| !is_release).unwrap_or(self.ceiling);
        if value > ceiling {
            bail!(
                "{value} {} is over the ceiling of {ceiling}; if that is worth it, raise it in {FILE} \
                 and say why (last: {})",
                self.unit,
                self.reason
            );
        }
        Ok(())
    }
}

/// The number of crates linked into `package`, itself included.
fn crates(metadata: &Metadata, package: &str) -> anyhow::Result<u64> {
    let root = metadata.member(package).with_context(|| format!("no package {package}"))?;
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        for edge in node.iter().flat_map(|node| &node.deps) {
            let linked = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if linked && seen.insert(&edge.pkg) {
                open.push(&edge.pkg);
            }
        }
    }
    Ok(seen.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_counts_and_only_once() {
        let metadata: Metadata = serde_json::from_str(
            r#"{"packages": [{"id": "a", "name": "a", "targets": []}],
                "workspace_members": ["a"],
                "resolve": {"nodes": [
                  {"id": "a", "deps": [
                    {"pkg": "b", "dep_kinds": [{"kind": null}]},
                    {"pkg": "c", "dep_kinds": [{"kind": null}]},
                    {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
                  {"id": "b", "deps": [{"pkg": "c", "dep_kinds": [{"kind": null}]}]},
                  {"id": "c", "deps": []}]}}"#,
        )
        .expect("metadata");
        assert_eq!(crates(&metadata, "a").ok(), Some(3));
    }

    #[test]
    fn the_file_holds_a_reason_for_each_ceiling() {
        let ceilings = read().expect("ceilings");
        assert!(ceilings.values().all(|c| c.reason.len() > 20 && !c.unit.is_empty()));
    }

    #[test]
    fn a_count_is_found_or_its_message() {
        let results = serde_json::json!({"counts": [
            {"name": "calls", "rows": [
                {"peer": "floor", "found": {"value": 126}},
                {"peer": "husk-oci", "found": {"value": 200}}]},
            {"name": "peak", "rows": [{"peer": "husk-oci", "found": {"failed": "exit 1: no"}}]}]});
        let results = Ok(results);
        assert_eq!(of_one(&results, "calls").ok(), Some(200));
        assert!(of_one(&results, "peak").is_err_and(|e| e.to_string().contains("exit 1: no")));
        assert!(of_one(&results, "heat").is_err_and(|e| e.to_string().contains("no figure")));
    }

    #[test]
    fn a_value_over_its_ceiling_is_told_with_the_last_reason() {
        let ceiling =
            Ceiling { ceiling: 3, plain: None, unit: "crates".into(), reason: "first".into() };
        assert!(ceiling.holds(3, true).is_ok() && ceiling.holds(3, false).is_ok());
        assert!(ceiling.holds(4, true).is_err_and(|e| e.to_string().contains("last: first")));
        let ceiling = Ceiling { plain: Some(5), ..ceiling };
        assert!(ceiling.holds(5, false).is_ok() && ceiling.holds(5, true).is_err());
    }
}
