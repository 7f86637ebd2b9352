//! `volumes` of a service: `[SOURCE:]TARGET[:OPTIONS]`.

use crate::node::{Map, Node, Value};
use crate::schema::Kind;
use crate::source::Diagnostic;

use super::Reading;

impl Reading<'_> {
    pub(super) fn volumes(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let below = format!("{path}[{index}]");
            out.extend(match &one.value {
                Value::Text(text) => self.short_volume(one, &text.clone(), &below),
                Value::Map(_) => self.long_volume(one, kind, &below),
                _ => self.wanted(one, &below, "a string, as ./data:/data, or a mapping"),
            });
        }
        Some(node.with(Value::List(out)))
    }

    fn long_volume(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let mut mount = self.canonical(node, kind, path)?;
        let Some(form) = mount.text_of("type").map(str::to_owned) else {
            return self.wrong(node, path, "has no \"type\": bind, volume, tmpfs or image");
        };
        if mount.text_of("target").is_none() {
            return self.wrong(node, path, "has no \"target\": the path in the container");
        }
        let source = mount.text_of("source").map(str::to_owned);
        match (form.as_str(), &source) {
            ("bind", None) => {
                return self.wrong(node, path, "has no \"source\": the path on the host");
            }
            ("tmpfs", Some(_)) => return self.wrong(node, path, "a tmpfs has no \"source\""),
            _ => {}
        }
        let source = source.filter(|_| form == "bind").map(|source| self.path(&source));
        let map = mount.as_map_mut()?;
        if let (Some(path), Some(node)) = (source, map.get_mut("source")) {
            node.value = Value::Text(path);
        }
        Some(mount)
    }

    fn short_volume(&mut self, node: &Node, text: &str, path: &str) -> Option<Node> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => {
                return self.wrong(
                    node,
                    path,
                    format_args!("{text:?} must be [SOURCE:]TARGET[:OPTIONS]"),
                );
            }
        };
        if target.is_empty() || source == Some("") {
            return self.wrong(
                node,
                path,
                format_args!("{text:?} must be [SOURCE:]TARGET[:OPTIONS]"),
            );
        }
        let place = node.place;
        let flag = |value| Node::new(Value::Bool(value), place);
        let (mut map, mut bind, mut volume) = (Map::new(), Map::new(), Map::new());
        let is_bind = source.is_some_and(|source| source.starts_with(['.', '/', '~']));
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => {
                    map.insert("read_only".to_owned(), flag(true));
                }
                "rw" => {}
                "z" | "Z" => {
                    bind.insert("selinux".to_owned(), Node::text(option, place));
                }
                "nocopy" | "volume-nocopy" => {
                    volume.insert("nocopy".to_owned(), flag(true));
                }
                "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                    bind.insert("propagation".to_owned(), Node::text(option, place));
                }
                // Of other systems, where files are shared with a virtual machine.
                "cached" | "delegated" | "consistent" => {}
                other => {
                    let message = format!(
                        "{other:?} is not an option of a volume: ro, rw, z, Z, nocopy or a propagation"
                    );
                    self.mistakes.push(Diagnostic::new(place, path, message));
                }
            }
        }
        let form = match (is_bind, source) {
            (true, Some(source)) => {
                map.insert("source".to_owned(), Node::text(self.path(source), place));
                bind.insert("create_host_path".to_owned(), flag(true));
                "bind"
            }
            (_, source) => {
                if let Some(source) = source {
                    map.insert("source".to_owned(), Node::text(source, place));
                }
                map.insert("volume".to_owned(), Node::map(volume, place));
                "volume"
            }
        };
        if !bind.is_empty() {
            map.insert("bind".to_owned(), Node::map(bind, place));
        }
        map.insert("type".to_owned(), Node::text(form, place));
        map.insert("target".to_owned(), Node::text(clean(target), place));
        Some(node.with(Value::Map(map)))
    }
}

/// A path without its trailing slashes.
fn clean(target: &str) -> &str {
    match target.trim_end_matches('/') {
        "" => "/",
        clean => clean,
    }
}
