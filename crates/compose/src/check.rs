//! Whether the parts of a project fit together.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::{Map, Node};
use crate::normalize::{hint, profiles_of};
use crate::source::{Diagnostic, Place};

struct Check<'a> {
    root: &'a Node,
    services: &'a Map,
    all: &'a Map,
    disabled: &'a BTreeSet<String>,
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// Every mistake of a normalized tree, and its warnings. `all` are the services before those of inactive
/// profiles were removed.
pub(crate) fn check(
    root: &Node,
    all: &Map,
    disabled: &BTreeSet<String>,
) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let empty = Map::new();
    let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
    let mut check =
        Check { root, services, all, disabled, mistakes: Vec::new(), warnings: Vec::new() };
    for (name, service) in services {
        check.service(name, service);
    }
    check.resources();
    check.cycles();
    (check.mistakes, check.warnings)
}

impl Check<'_> {
    fn wrong(&mut self, place: Place, path: &str, message: impl std::fmt::Display) {
        self.mistakes.push(Diagnostic::new(place, path, message));
    }

    fn service(&mut self, name: &str, service: &Node) {
        let path = format!("services.{name}");
        let has = |key: &str| service.get(key).is_some();
        if service.text_of("image").is_none() && !has("build") && !has("provider") {
            self.wrong(service.key, &path, "has neither \"image\" nor \"build\"");
        }
        self.references(service, &path);
        self.dependencies(name, service, &path);
        self.exclusive(service, &path);
        self.limits(service, &path);
        self.build(service, &path);
        if let Some(container) = service.get("container_name") {
            let count = scale_of(service).map_or(1, |(_, count)| count);
            if count > 1 {
                let message =
                    format!("a fixed name allows one container, but the service has {count}");
                self.wrong(container.place, &format!("{path}.container_name"), message);
            }
        }
        for (index, mount) in list(service, "volumes").iter().enumerate() {
            let target = mount.text_of("target").unwrap_or_default();
            if !target.starts_with('/') {
                let message = format!("the target {target:?} is not an absolute path");
                self.wrong(mount.place, &format!("{path}.volumes[{index}]"), message);
            }
        }
        if let Some(hooks) = service.get("post_start").and_then(Node::as_list) {
            for (index, hook) in hooks.iter().enumerate() {
                if hook.get("command").and_then(Node::as_list).is_none_or(<[_]>::is_empty) {
                    self.wrong(
                        hook.place,
                        &format!("{path}.post_start[{index}]"),
                        "has no \"command\"",
                    );
                }
            }
        }
        for (index, rule) in watch(service).iter().enumerate() {
            let path = format!("{path}.develop.watch[{index}]");
            if rule.text_of("path").is_none() {
                self.wrong(rule.place, &path, "has no \"path\"");
            }
            match rule.text_of("action") {
                None => self.wrong(rule.place, &path, "has no \"action\""),
                Some(action) if action.starts_with("sync") && rule.text_of("target").is_none() => {
                    self.wrong(
                        rule.place,
                        &path,
                        format!("{action} needs \"target\": the path in the container"),
                    );
                }
                Some(_) => {}
            }
        }
    }

    /// Networks, volumes, secrets, configs.
    fn references(&mut self, service: &Node, path: &str) {
        let section = |key: &str| self.root.get(key).and_then(Node::as_map);
        let mut found = Vec::new();
        let mut look = |what: &str, key: &str, name: &str, place: Place, path: String| {
            let names = section(key);
            if names.is_some_and(|map| map.contains_key(name)) {
                return;
            }
            let hint = hint(name, names.into_iter().flat_map(Map::keys));
            let message = format!(
                "refers to undefined {what} {name}{hint} (define it at the top of the file, below \"{key}\")"
            );
            found.push(Diagnostic::new(place, &path, message));
        };
        for (name, network) in service.get("networks").and_then(Node::as_map).into_iter().flatten()
        {
            look("network", "networks", name, network.key, format!("{path}.networks.{name}"));
        }
        for (index, mount) in list(service, "volumes").iter().enumerate() {
            if mount.text_of("type") == Some("volume")
                && let Some(name) = mount.text_of("source")
            {
                look("volume", "volumes", name, mount.place, format!("{path}.volumes[{index}]"));
            }
        }
        for key in ["secrets", "configs"] {
            let what = key.trim_end_matches('s');
            for (index, one) in list(service, key).iter().enumerate() {
                let name = one.text_of("source").unwrap_or_default();
                look(what, key, name, one.place, format!("{path}.{key}[{index}]"));
            }
        }
        if let Some(build) = service.get("build") {
            for (index, one) in list(build, "secrets").iter().enumerate() {
                let name = one.text_of("source").unwrap_or_default();
                look(
                    "build secret",
                    "secrets",
                    name,
                    one.place,
                    format!("{path}.build.secrets[{index}]"),
                );
            }
        }
        self.mistakes.extend(found);
    }

    fn dependencies(&mut self, name: &str, service: &Node, path: &str) {
        for (other, one) in service.get("depends_on").and_then(Node::as_map).into_iter().flatten() {
            let below = format!("{path}.depends_on.{other}");
            let required = one.get("required").and_then(Node::as_bool) != Some(false);
            if self.services.contains_key(other) || (!required && self.disabled.contains(other)) {
                continue;
            }
            if self.disabled.contains(other) {
                let profiles = self.all.get(other).map(profiles_of).unwrap_or_default();
                let message = format!(
                    "service {other} is required by {name} but is disabled: it can be enabled by the profiles [{}]",
                    profiles.join(" ")
                );
                self.wrong(one.key, &below, message);
            } else {
                let hint = hint(other, self.all.keys());
                self.wrong(one.key, &below, format!("depends on undefined service {other}{hint}"));
            }
        }
    }

    fn exclusive(&mut self, service: &Node, path: &str) {
        if let (Some(mode), Some(networks)) = (service.get("network_mode"), service.get("networks"))
            && networks.as_map().is_some_and(|map| !map.is_empty())
        {
            let message = "network_mode and networks exclude each other: remove one of them";
            self.wrong(mode.place, &format!("{path}.network_mode"), message);
        }
        if let Some(ports) = service.get("ports")
            && service.text_of("network_mode") == Some("host")
        {
            let message =
                "is not used: with network_mode host the container has the host's own ports";
            self.warnings.push(Diagnostic::new(ports.key, &format!("{path}.ports"), message));
        }
        for (name, one) in service.get("networks").and_then(Node::as_map).into_iter().flatten() {
            for key in ["ipv4_address", "ipv6_address"] {
                let Some(address) = one.get(key) else { continue };
                let text = address.as_text().unwrap_or_default();
                let valid = match key {
                    "ipv4_address" => text.parse::<std::net::Ipv4Addr>().is_ok(),
                    _ => text.parse::<std::net::Ipv6Addr>().is_ok(),
                };
                if !valid {
                    let path = format!("{path}.networks.{name}.{key}");
                    self.wrong(
                        address.place,
                        &path,
                        format!("{text:?} is not an address of that family"),
                    );
                }
            }
        }
    }

    /// Limits that two keys give must be the same.
    fn limits(&mut self, service: &Node, path: &str) {
        let deploy = |keys: &[&str]| {
            let start = service.get("deploy");
            keys.iter().try_fold(start?, |node, key| node.get(key))
        };
        let pairs: [(&str, &[&str]); 5] = [
            ("cpus", &["resources", "limits", "cpus"]),
            ("mem_limit", &["resources", "limits", "memory"]),
            ("pids_limit", &["resources", "limits", "pids"]),
            ("mem_reservation", &["resources", "reservations", "memory"]),
            ("scale", &["replicas"]),
        ];
        for (key, keys) in pairs {
            if let (Some(own), Some(other)) = (service.get(key), deploy(keys))
                && own != other
            {
                let other = keys.join(".");
                let message = format!("is not what deploy.{other} says: give one of them");
                self.wrong(own.place, &format!("{path}.{key}"), message);
            }
        }
        if let Some((count, number)) = scale_of(service)
            && number < 0
        {
            self.wrong(count.place, &format!("{path}.scale"), "must not be negative");
        }
    }

    fn build(&mut self, service: &Node, path: &str) {
        let Some(build) = service.get("build") else { return };
        if build.text_of("dockerfile").is_some() && build.text_of("dockerfile_inline").is_some() {
            let message = "dockerfile and dockerfile_inline exclude each other: remove one of them";
            self.wrong(build.place, &format!("{path}.build"), message);
        }
        if let (Some(platform), Some(platforms)) =
            (service.get("platform"), build.get("platforms").and_then(Node::as_list))
            && !platforms.is_empty()
            && !platforms.contains(platform)
        {
            let message = format!(
                "build.platforms does not have the service's platform {}",
                platform.as_text().unwrap_or_default()
            );
            self.wrong(build.place, &format!("{path}.build.platforms"), message);
        }
    }

    fn resources(&mut self) {
        for key in ["secrets", "configs"] {
            let what = key.trim_end_matches('s');
            let section = self.root.get(key).and_then(Node::as_map);
            for (name, one) in section.into_iter().flatten() {
                let path = format!("{key}.{name}");
                if one.get("external").and_then(Node::as_bool) == Some(true) {
                    continue;
                }
                let sources = ["file", "environment", "content"];
                let given: Vec<&str> =
                    sources.into_iter().filter(|source| one.get(source).is_some()).collect();
                let allowed = if key == "secrets" {
                    "file, environment"
                } else {
                    "file, environment, content"
                };
                match given.as_slice() {
                    [] => self.wrong(
                        one.key,
                        &path,
                        format!("the {what} has none of {allowed} or external"),
                    ),
                    [_] => {}
                    [first, second, ..] => {
                        self.wrong(
                            one.key,
                            &path,
                            format!("{first} and {second} exclude each other: remove one of them"),
                        );
                    }
                }
            }
        }
        for key in ["networks", "volumes"] {
            let section = self.root.get(key).and_then(Node::as_map);
            for (name, one) in section.into_iter().flatten() {
                if one.get("external").and_then(Node::as_bool) != Some(true) {
                    continue;
                }
                let other =
                    ["driver", "driver_opts", "labels", "internal", "attachable", "enable_ipv6"]
                        .into_iter()
                        .find_map(|other| Some((other, one.get(other)?)));
                if let Some((other, node)) = other {
                    let path = format!("{key}.{name}.{other}");
                    if key == "networks" {
                        let message = "is not used: an external network keeps the settings it was created with";
                        self.warnings.push(Diagnostic::new(node.key, &path, message));
                    } else {
                        self.wrong(
                            node.key,
                            &path,
                            "external excludes it: whoever made it has decided that",
                        );
                    }
                }
            }
        }
    }

    /// A circle of dependencies, told at its first member.
    fn cycles(&mut self) {
        let edges: BTreeMap<&str, Vec<&str>> = self
            .services
            .iter()
            .map(|(name, service)| {
                let map = service.get("depends_on").and_then(Node::as_map);
                (name.as_str(), map.into_iter().flat_map(Map::keys).map(String::as_str).collect())
            })
            .collect();
        let mut done = BTreeSet::new();
        for start in edges.keys() {
            let mut path = Vec::new();
            if let Some(circle) = find_circle(start, &edges, &mut path, &mut done) {
                let first = circle[0];
                let node = self.services.get(first).and_then(|service| service.get("depends_on"));
                let place = node
                    .and_then(|node| node.get(circle.get(1).copied().unwrap_or(first)))
                    .map_or(Place::default(), |node| node.key);
                let message =
                    format!("dependency cycle detected: {} -> {first}", circle.join(" -> "));
                self.wrong(place, &format!("services.{first}.depends_on"), message);
                return;
            }
        }
    }
}

/// Depth first without recursion: projects are the user's.
fn find_circle<'a>(
    start: &'a str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    let mut stack = vec![(start, 0)];
    path.push(start);
    while let Some((name, index)) = stack.pop() {
        let next = edges.get(name).and_then(|list| list.get(index)).copied();
        let Some(next) = next else {
            done.insert(name);
            path.pop();
            continue;
        };
        stack.push((name, index + 1));
        if let Some(at) = path.iter().position(|one| *one == next) {
            return Some(path[at..].to_vec());
        }
        if !done.contains(next) && edges.contains_key(next) {
            path.push(next);
            stack.push((next, 0));
        }
    }
    None
}

/// How many containers a service has, and where that stands.
pub(crate) fn scale_of(service: &Node) -> Option<(&Node, i64)> {
    let count = service.get("scale").or_else(|| service.get("deploy")?.get("replicas"))?;
    Some((count, count.as_int()?))
}

fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn watch(service: &Node) -> &[Node] {
    service.get("develop").map(|develop| list(develop, "watch")).unwrap_or_default()
}
