//! The figures that do not wobble, each against its ceiling in bench/ceilings.json.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::tally::Tally;
use crate::cargo::{self, Metadata, Profile};

const FILE: &str = "bench/ceilings.json";

/// One figure's ceiling.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceiling {
    /// The greatest value allowed.
    ceiling: u64,
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
    let runtime = cargo::build_one("husk-runtime", "husk-oci", Profile::Release)?;
    for (figure, ceiling) in &ceilings {
        let name = format!("ceiling of {figure}");
        let measured = match figure.as_str() {
            "crates" => crates(metadata, "husk-runtime").map(Some),
            "binary" => fs::metadata(&runtime).context("husk-oci").map(|file| Some(file.len())),
            other => bail!("{FILE}: no figure {other:?}"),
        };
        match measured {
            Ok(Some(value)) => tally.check(&name, ceiling.holds(value)),
            Ok(None) => tally.skip(&name, "cannot be measured here"),
            Err(error) => tally.fail(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}

fn read() -> anyhow::Result<BTreeMap<String, Ceiling>> {
    let text = fs::read(cargo::workspace().join(FILE)).context(FILE)?;
    serde_json::from_slice(&text).context(FILE)
}

impl Ceiling {
    fn holds(&self, value: u64) -> anyhow::Result<()> {
        if value > self.ceiling {
            bail!(
                "{value} {} is over the ceiling of {}; if that is worth it, raise it in {FILE} \
                 and say why (last: {})",
                self.unit,
                self.ceiling,
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
    fn a_value_over_its_ceiling_is_told_with_the_last_reason() {
        let ceiling = Ceiling { ceiling: 3, unit: "crates".into(), reason: "first".into() };
        assert!(ceiling.holds(3).is_ok());
        assert!(ceiling.holds(4).is_err_and(|e| e.to_string().contains("last: first")));
    }
}
