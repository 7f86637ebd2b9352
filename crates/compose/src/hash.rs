//! The hash of a service's configuration: what makes a container another one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::node::Node;

/// Keys that change nothing of a container that is there.
const LEFT_OUT: [&str; 7] =
    ["build", "pull_policy", "scale", "depends_on", "profiles", "develop", "attach"];

/// SHA-256 of the service as JSON, without what changes no container; 64 hexadecimal digits.
pub(crate) fn service_hash(service: &Node) -> String {
    let mut service = service.clone();
    if let Some(map) = service.as_map_mut() {
        map.retain(|name, _| !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("x-"));
        if let Some(deploy) = map.get_mut("deploy").and_then(Node::as_map_mut) {
            deploy.remove("replicas");
            if deploy.is_empty() {
                map.remove("deploy");
            }
        }
    }
    digest(service.to_json().to_string().as_bytes())
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
