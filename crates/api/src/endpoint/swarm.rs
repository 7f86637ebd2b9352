//! Swarm's endpoints, answered as by an engine that is not part of a swarm, and those of plugins.

use hyper::{Method, StatusCode};

use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};

/// The first words of what is answered here.
pub(crate) const OWNS: [&str; 7] =
    ["swarm", "nodes", "services", "tasks", "secrets", "configs", "plugins"];

/// # Errors
/// Always, but for the list of plugins.
pub(crate) fn answer(method: &Method, path: &[&str]) -> Result<Reply> {
    match (method.as_str(), path) {
        ("GET", ["plugins"]) => reply::json(&serde_json::json!([])),
        (_, ["plugins", ..]) => Err(Failure::not_implemented("plugins are not supported")),
        ("POST", ["swarm", "init" | "join"]) => {
            Err(Failure::not_implemented("swarm mode is not supported"))
        }
        _ => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        )),
    }
}
