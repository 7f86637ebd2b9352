//! How the value of a later file meets that of an earlier one.

use std::collections::HashMap;

use crate::node::{Map, Node, Tag, Value};

/// Keys of a service whose later value replaces the earlier one.
const REPLACED: [&str; 2] = ["command", "entrypoint"];

/// Merges `over` into `base`; both are in their long form. Nothing is left where `over` is
/// `!reset`.
pub(crate) fn merge(base: Node, over: Node, path: &[&str]) -> Option<Node> {
    match over.tag {
        Tag::Reset => return None,
        Tag::Override => return Some(Node { tag: Tag::Merge, ..over }),
        Tag::Merge => {}
    }
    match path {
        ["services", _, key] if REPLACED.contains(key) => return Some(over),
        ["services", _, "healthcheck", "test"] | ["services", _, "ulimits", _] => {
            return Some(over);
        }
        ["services", _, "logging"] => {
            let driver = |node: &Node| node.text_of("driver").map(str::to_owned);
            if let (Some(old), Some(new)) = (driver(&base), driver(&over))
                && old != new
            {
                return Some(over);
            }
        }
        // A name without a value takes the project's, whatever stood there before.
        ["services", _, "environment", _] => return Some(over),
        _ => {}
    }
    let (place, key) = (over.place, over.key);
    match (base.value, over.value) {
        (old, Value::Null) => Some(Node { value: old, ..base }),
        (Value::Map(old), Value::Map(new)) => Some(Node {
            value: Value::Map(merge_maps(old, new, path)),
            place,
            key,
            tag: Tag::Merge,
        }),
        (Value::List(old), Value::List(new)) => {
            let list = match path {
                ["networks", _, "ipam", "config"] => merge_subnets(old, new),
                _ => old.into_iter().chain(new).collect(),
            };
            Some(Node { value: Value::List(list), place, key, tag: Tag::Merge })
        }
        (_, value) => Some(Node { value, place, key, tag: Tag::Merge }),
    }
}

fn merge_maps(mut old: Map, new: Map, path: &[&str]) -> Map {
    for (name, over) in new {
        let merged = match old.remove(&name) {
            Some(_) if name.starts_with("x-") && over.tag == Tag::Merge => Some(over),
            Some(base) => {
                let below: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                merge(base, over, &below)
            }
            None if over.tag == Tag::Reset => None,
            None => Some(over),
        };
        old.extend(merged.map(|node| (name, node)));
    }
    old
}

/// Address pools of the same subnet are one.
fn merge_subnets(old: Vec<Node>, new: Vec<Node>) -> Vec<Node> {
    let mut out = old;
    for over in new {
        let same = out.iter_mut().find(|one| one.get("subnet") == over.get("subnet"));
        match (same, over.value) {
            (Some(base), Value::Map(over)) => {
                if let Some(map) = base.as_map_mut() {
                    map.extend(over);
                }
            }
            (_, value) => out.push(Node { value, ..over }),
        }
    }
    out
}

/// Removes what `!reset` left, and of list entries with the same key all but the last.
pub(crate) fn settle(node: &mut Node, path: &[&str]) {
    match &mut node.value {
        Value::Map(map) => {
            map.retain(|_, one| one.tag != Tag::Reset);
            for (name, one) in map {
                let below: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                settle(one, &below);
            }
        }
        Value::List(list) => {
            list.retain(|one| one.tag != Tag::Reset);
            if let ["services", _, key] | ["services", _, "build", key] = path
                && list.iter().any(|one| identity(key, one).is_some())
            {
                let mut seen: HashMap<String, usize> = HashMap::new();
                let mut out: Vec<Node> = Vec::with_capacity(list.len());
                for one in std::mem::take(list) {
                    match identity(key, &one) {
                        Some(identity) => match seen.get(&identity) {
                            Some(&index) => out[index] = one,
                            None => {
                                seen.insert(identity, out.len());
                                out.push(one);
                            }
                        },
                        None => out.push(one),
                    }
                }
                *list = out;
            }
        }
        _ => {}
    }
}

/// What makes two entries of a list the same.
fn identity(key: &str, node: &Node) -> Option<String> {
    let text = |name: &str, default: &str| {
        let found = node.get(name).and_then(Node::scalar_text).filter(|text| !text.is_empty());
        found.unwrap_or_else(|| default.to_owned())
    };
    match key {
        "volumes" | "devices" => Some(text("target", "")),
        "ports" => Some(format!(
            "{}:{}:{}/{}",
            text("host_ip", ""),
            text("published", ""),
            text("target", ""),
            text("protocol", "tcp")
        )),
        "secrets" | "configs" => match node.text_of("target") {
            Some(target) => Some(target.to_owned()),
            None => Some(format!("/{}", text("source", ""))),
        },
        "env_file" => Some(text("path", "")),
        "cap_add"
        | "cap_drop"
        | "expose"
        | "dns"
        | "dns_opt"
        | "dns_search"
        | "security_opt"
        | "links"
        | "external_links"
        | "group_add"
        | "profiles"
        | "volumes_from"
        | "extra_hosts"
        | "tags"
        | "cache_from"
        | "cache_to"
        | "device_cgroup_rules"
        | "tmpfs"
        | "label_file" => Some(node.as_text()?.to_owned()),
        _ => None,
    }
}
