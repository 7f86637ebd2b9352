//! Nothing but its own binary links the runtime (docs: design decision 2).
//!
//! husk-oci forks, so it must stay single-threaded; the engine and the shim have threads
//! and therefore exec it. An edge to husk-runtime in the dependency graph would be the
//! beginning of a fork in a threaded process.

use anyhow::{Context, bail};

use crate::cargo::Metadata;

const RUNTIME: &str = "husk-runtime";

/// Checks the graph of `cargo metadata`, whatever the kind of the edge.
///
/// # Errors
/// Someone depends on the runtime, or it is not there.
pub(super) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let runtime = metadata.member(RUNTIME).with_context(|| format!("no package {RUNTIME}"))?;
    let linking: Vec<&str> = metadata
        .resolve
        .nodes
        .iter()
        .filter(|node| node.deps.iter().any(|edge| edge.pkg == runtime))
        .map(|node| metadata.name(&node.id))
        .collect();
    if !linking.is_empty() {
        bail!("{} depends on {RUNTIME}, which is to be exec'd, not linked", linking.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &str) -> Metadata {
        let json = format!(
            r#"{{"packages": [
                {{"id": "r", "name": "husk-runtime", "targets": []}},
                {{"id": "e", "name": "husk-engine", "targets": []}}],
              "workspace_members": ["r", "e"],
              "resolve": {{"nodes": [{{"id": "r", "deps": []}}, {{"id": "e", "deps": [{edges}]}}]}}}}"#
        );
        serde_json::from_str(&json).expect("metadata")
    }

    #[test]
    fn an_edge_of_any_kind_is_found() {
        assert!(check(&graph("")).is_ok());
        let error = check(&graph(r#"{"pkg": "r", "dep_kinds": [{"kind": "dev"}]}"#));
        assert!(error.is_err_and(|error| error.to_string().starts_with("husk-engine depends")));
    }
}
