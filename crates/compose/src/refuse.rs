//! What the engine cannot do: refused, or told, by name and place.

use crate::node::Node;
use crate::project::Project;
use crate::source::Diagnostic;

/// Keys that are refused: nothing here does what they ask for.
const REFUSED: [(&str, &str); 6] = [
    ("credential_spec", "is for Windows"),
    ("models", "husk runs no language models"),
    ("provider", "husk calls no providers"),
    ("use_api_socket", "there is no daemon and no socket"),
    ("external_links", "is Docker's legacy feature: put both containers on one network"),
    ("storage_opt", "needs quotas below overlayfs: put what grows on a volume or a tmpfs"),
];

/// Keys of `deploy` that are Swarm's.
const SWARM: [&str; 5] =
    ["placement", "update_config", "rollback_config", "endpoint_mode", "labels"];

/// Whether a `pull_policy` asks for a pull after some time, as `daily` and `every_12h` do.
fn is_periodic(policy: &Node) -> bool {
    policy
        .as_text()
        .is_some_and(|text| matches!(text, "daily" | "weekly") || text.starts_with("every_"))
}

/// Everything of a project that cannot be done, and what is only told.
pub(crate) fn refusals(project: &Project) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let (mut refused, mut told) = (Vec::new(), Vec::new());
    for (name, service) in project.section("services") {
        let path = |key: &str| format!("services.{name}.{key}");
        for (key, why) in REFUSED {
            if let Some(node) = service.get(key) {
                refused.push(Diagnostic::new(node.key, &path(key), why));
            }
        }
        if let Some(node) =
            service.get("isolation").filter(|node| node.as_text() != Some("default"))
        {
            refused.push(Diagnostic::new(node.key, &path("isolation"), "is for Windows"));
        }
        if let Some(node) = service.get("pull_policy").filter(|node| is_periodic(node)) {
            let why = "is not supported: use always, missing, never or build";
            refused.push(Diagnostic::new(node.key, &path("pull_policy"), why));
        }
        for key in ["cpu_count", "cpu_percent"] {
            if let Some(node) = service.get(key) {
                refused.push(Diagnostic::new(node.key, &path(key), "is for Windows: use cpus"));
            }
        }
        for (network, one) in service.get("networks").and_then(Node::as_map).into_iter().flatten() {
            for key in ["driver_opts", "interface_name", "link_local_ips"] {
                if let Some(node) = one.get(key) {
                    let path = path(&format!("networks.{network}.{key}"));
                    refused.push(Diagnostic::new(node.key, &path, "is not supported"));
                }
            }
        }
        let Some(deploy) = service.get("deploy") else { continue };
        if deploy.text_of("mode").is_some_and(|mode| mode != "replicated") {
            refused.push(Diagnostic::new(
                deploy.key,
                &path("deploy.mode"),
                "is Swarm's: only replicated is supported",
            ));
        }
        for key in SWARM {
            if let Some(node) =
                deploy.get(key).filter(|node| node.as_map().is_none_or(|map| !map.is_empty()))
            {
                told.push(Diagnostic::new(
                    node.key,
                    &path(&format!("deploy.{key}")),
                    "is Swarm's, and not used",
                ));
            }
        }
        let reservations = deploy.get("resources").and_then(|node| node.get("reservations"));
        for key in ["cpus", "pids", "generic_resources"] {
            if let Some(node) = reservations.and_then(|node| node.get(key)) {
                let path = path(&format!("deploy.resources.reservations.{key}"));
                told.push(Diagnostic::new(node.key, &path, "is Swarm's, and not used"));
            }
        }
    }
    for key in ["networks", "volumes"] {
        for (name, one) in project.section(key) {
            let external = one.get("external").and_then(Node::as_bool) == Some(true);
            let usual =
                if key == "networks" { ["bridge", "default"] } else { ["local", "default"] };
            let other = |driver: &&str| !usual.contains(driver);
            if let Some(driver) = one.text_of("driver").filter(other)
                && !external
            {
                let path = format!("{key}.{name}.driver");
                let message = format!("{driver:?} is not a driver of husk: only {:?} is", usual[0]);
                refused.push(Diagnostic::new(
                    one.get("driver").map_or(one.key, |node| node.place),
                    &path,
                    message,
                ));
            }
        }
    }
    for key in ["secrets", "configs"] {
        for (name, one) in project.section(key) {
            if one.get("external").and_then(Node::as_bool) == Some(true) {
                let path = format!("{key}.{name}.external");
                refused.push(Diagnostic::new(
                    one.key,
                    &path,
                    "is Swarm's: give file or environment",
                ));
            }
        }
    }
    (refused, told)
}
