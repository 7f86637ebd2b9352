//! Values that have a short form of their own.

use crate::interpolate::join;
use crate::node::{Map, Node, Tag, Value};
use crate::schema::{Kind, Special};
use crate::source::Diagnostic;

use super::Reading;

impl Reading<'_> {
    pub(super) fn short(
        &mut self,
        node: &Node,
        special: Special,
        kind: &Kind,
        path: &str,
    ) -> Option<Node> {
        match special {
            Special::Ports => self.ports(node, kind, path),
            Special::Volumes => self.volumes(node, kind, path),
            Special::Build => self.build(node, kind, path),
            Special::DependsOn => self.depends_on(node, kind, path),
            Special::Networks | Special::Models => self.named(node, kind, path),
            Special::Secrets => self.references(node, kind, path, true),
            Special::Configs => self.references(node, kind, path, false),
            Special::Devices => self.devices(node, kind, path),
            Special::Gpus => self.gpus(node, kind, path),
            Special::Ulimit => self.ulimit(node, kind, path),
            Special::EnvFile => self.env_file(node, kind, path),
            Special::ExtraHosts => self.extra_hosts(node, path),
            Special::External => self.external(node, path),
            Special::Extends => self.under(node, kind, "service", path),
            Special::Include => self.under(node, kind, "path", path),
            Special::DeviceCount => match node.as_text() {
                Some("all") => Some(node.with(Value::Int(-1))),
                _ => Some(node.with(Value::Int(self.int(node, path)?))),
            },
            Special::FileMode => {
                let mode = self.mode(node, path)?;
                Some(node.with(Value::Text(format!("0{mode:o}"))))
            }
            Special::TmpfsMode => {
                let mode = self.mode(node, path)?;
                Some(node.with(Value::Int(mode)))
            }
            Special::Ssh => self.ssh(node, path),
        }
    }

    /// A text stands for a mapping with that key.
    fn under(&mut self, node: &Node, kind: &Kind, key: &str, path: &str) -> Option<Node> {
        if node.as_text().is_none() {
            return self.canonical(node, kind, path);
        }
        let mut inner = node.clone();
        inner.tag = Tag::Merge;
        let map = node.with(Value::Map(Map::from([(key.to_owned(), inner)])));
        self.canonical(&map, kind, path)
    }

    fn mode(&mut self, node: &Node, path: &str) -> Option<i64> {
        match &node.value {
            Value::Int(mode) if *mode >= 0 => Some(*mode),
            Value::Text(text) => {
                let digits = text.strip_prefix("0o").unwrap_or(text);
                match i64::from_str_radix(digits, 8) {
                    Ok(mode) if mode >= 0 => Some(mode),
                    _ => self.wrong(
                        node,
                        path,
                        format_args!("{text:?} is not an octal mode, as 0440"),
                    ),
                }
            }
            _ => self.wrong(node, path, "must be an octal mode, as 0440"),
        }
    }

    fn build(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let mut node = self.under(node, kind, "context", path)?;
        let base = self.base;
        let home = self.home;
        let place = node.place;
        let map = node.as_map_mut()?;
        if let Some(contexts) = map.get_mut("additional_contexts").and_then(Node::as_map_mut) {
            for one in contexts.values_mut() {
                if let (Value::Text(text), Some(base)) = (&mut one.value, base)
                    && !super::is_remote(text)
                {
                    *text = super::absolute(base, home, text);
                }
            }
        }
        if !map.contains_key("context")
            && !map.contains_key("dockerfile_inline")
            && !map.contains_key("dockerfile")
            && map.is_empty()
        {
            let context = self.path(".");
            map.insert("context".to_owned(), Node::text(context, place));
        }
        Some(node)
    }

    fn depends_on(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let started = |place| Node::text("service_started", place);
        let mut out = Map::new();
        match &node.value {
            Value::List(list) => {
                for (index, one) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Some(name) = self.text(one, &path) else { continue };
                    if out.contains_key(&name) {
                        self.wrong::<()>(one, &path, format_args!("{name:?} is given twice"));
                    }
                    let map = Map::from([
                        ("condition".to_owned(), started(one.place)),
                        ("required".to_owned(), Node::new(Value::Bool(true), one.place)),
                    ]);
                    out.insert(name, Node::map(map, one.place));
                }
            }
            Value::Map(map) => {
                for (name, one) in map {
                    let below = join(path, name);
                    let Some(mut one) = self.canonical(one, kind, &below) else { continue };
                    let place = one.key;
                    if one.get("condition").is_none() {
                        let message = "has no \"condition\": service_started, service_healthy or \
                                       service_completed_successfully";
                        self.mistakes.push(Diagnostic::new(place, &below, message));
                    }
                    if let Some(map) = one.as_map_mut() {
                        map.entry("required".to_owned())
                            .or_insert_with(|| Node::new(Value::Bool(true), place));
                    }
                    out.insert(name.clone(), one);
                }
            }
            _ => {
                return self.wanted(
                    node,
                    path,
                    "a list of services, or a mapping from services to conditions",
                );
            }
        }
        Some(node.with(Value::Map(out)))
    }

    /// A list of names is a mapping from them to nothing.
    fn named(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let mut out = Map::new();
        match &node.value {
            Value::List(list) => {
                for (index, one) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Some(name) = self.text(one, &path) else { continue };
                    if out.insert(name.clone(), one.with(Value::Null)).is_some() {
                        self.wrong::<()>(one, &path, format_args!("{name:?} is given twice"));
                    }
                }
            }
            Value::Map(map) => {
                for (name, one) in map {
                    let value = match one.is_null() {
                        true => Some(one.clone()),
                        false => self.canonical(one, kind, &join(path, name)),
                    };
                    out.extend(value.map(|value| (name.clone(), value)));
                }
            }
            _ => return self.wanted(node, path, "a list of names, or a mapping"),
        }
        Some(node.with(Value::Map(out)))
    }

    /// Secrets and configs of a service or a build.
    fn references(&mut self, node: &Node, kind: &Kind, path: &str, secrets: bool) -> Option<Node> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let targets = secrets && !path.contains(".build.");
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let below = format!("{path}[{index}]");
            let Some(mut reference) = self.under(one, kind, "source", &below) else { continue };
            let Some(source) = reference.text_of("source").map(str::to_owned) else {
                self.wrong::<()>(
                    one,
                    &below,
                    "has no \"source\": the name of the secret or config",
                );
                continue;
            };
            let place = reference.place;
            if let Some(map) = reference.as_map_mut()
                && targets
            {
                let target = || Node::text(format!("/run/secrets/{source}"), place);
                map.entry("target".to_owned()).or_insert_with(target);
            }
            out.push(reference);
        }
        Some(node.with(Value::List(out)))
    }

    fn devices(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let below = format!("{path}[{index}]");
            let Some(text) = one.as_text() else {
                let Some(mut device) = self.canonical(one, kind, &below) else { continue };
                let place = device.place;
                let Some(source) = device.text_of("source").map(str::to_owned) else {
                    self.wrong::<()>(one, &below, "has no \"source\"");
                    continue;
                };
                if let Some(map) = device.as_map_mut() {
                    map.entry("target".to_owned()).or_insert_with(|| Node::text(source, place));
                    map.entry("permissions".to_owned()).or_insert_with(|| Node::text("rwm", place));
                }
                out.push(device);
                continue;
            };
            let parts: Vec<&str> = text.split(':').collect();
            let (source, target, permissions) = match parts.as_slice() {
                [source] => (*source, *source, "rwm"),
                [source, target] => (*source, *target, "rwm"),
                [source, target, permissions] => (*source, *target, *permissions),
                _ => {
                    self.wrong::<()>(
                        one,
                        &below,
                        format_args!("{text:?} must be HOST[:CONTAINER[:PERMISSIONS]]"),
                    );
                    continue;
                }
            };
            let fields = [("source", source), ("target", target), ("permissions", permissions)];
            let map = fields.map(|(key, value)| (key.to_owned(), Node::text(value, one.place)));
            out.push(Node::map(map.into(), one.place));
        }
        Some(node.with(Value::List(out)))
    }

    fn gpus(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let all = |place| Node::new(Value::Int(-1), place);
        match &node.value {
            Value::Text(text) if text == "all" => {
                let map = Map::from([("count".to_owned(), all(node.place))]);
                Some(node.with(Value::List(vec![Node::map(map, node.place)])))
            }
            Value::List(list) => {
                let mut out = Vec::with_capacity(list.len());
                for (index, one) in list.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    let Some(mut one) = self.canonical(one, kind, &below) else { continue };
                    device_request(&mut one);
                    out.push(one);
                }
                Some(node.with(Value::List(out)))
            }
            _ => self.wanted(node, path, "\"all\" or a list"),
        }
    }

    fn ulimit(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        match &node.value {
            Value::Map(_) => {
                let limit = self.canonical(node, kind, path)?;
                if limit.get("soft").is_none() || limit.get("hard").is_none() {
                    return self.wrong(node, path, "needs both \"soft\" and \"hard\"");
                }
                Some(limit)
            }
            _ => Some(node.with(Value::Int(self.int(node, path)?))),
        }
    }

    fn env_file(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let list = match &node.value {
            Value::Text(_) => std::slice::from_ref(node),
            Value::List(list) => list,
            _ => return self.wanted(node, path, "a path or a list of paths"),
        };
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let below =
                if node.as_text().is_some() { path.to_owned() } else { format!("{path}[{index}]") };
            let Some(mut file) = self.under(one, kind, "path", &below) else { continue };
            if file.text_of("path").is_none() {
                self.wrong::<()>(one, &below, "has no \"path\"");
                continue;
            }
            let place = file.place;
            if let Some(map) = file.as_map_mut() {
                map.entry("required".to_owned())
                    .or_insert_with(|| Node::new(Value::Bool(true), place));
            }
            file.tag = Tag::Merge;
            out.push(file);
        }
        Some(node.with(Value::List(out)))
    }

    fn extra_hosts(&mut self, node: &Node, path: &str) -> Option<Node> {
        let bare = |address: &str| {
            address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(address)
                .to_owned()
        };
        let mut out: Vec<(String, Node)> = Vec::new();
        match &node.value {
            Value::List(list) => {
                for (index, one) in list.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    let Some(text) = self.text(one, &below) else { continue };
                    match text.split_once('=').or_else(|| text.split_once(':')) {
                        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
                            out.push((name.to_owned(), Node::text(bare(address), one.place)));
                        }
                        _ => {
                            self.wrong::<()>(
                                one,
                                &below,
                                format_args!("{text:?} must be NAME=ADDRESS"),
                            );
                        }
                    }
                }
            }
            Value::Map(map) => {
                for (name, one) in map {
                    let below = join(path, name);
                    let addresses = match &one.value {
                        Value::List(list) => list.as_slice(),
                        _ => std::slice::from_ref(one),
                    };
                    for one in addresses {
                        if let Some(text) = self.text(one, &below) {
                            out.push((name.clone(), Node::text(bare(&text), one.place)));
                        }
                    }
                }
            }
            _ => return self.wanted(node, path, "a list of NAME=ADDRESS, or a mapping"),
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        let lines = out.into_iter().map(|(name, address)| {
            let text = format!("{name}={}", address.as_text().unwrap_or_default());
            Node::text(text, address.place)
        });
        Some(node.with(Value::List(lines.collect())))
    }

    /// `external: {name: x}` is split into both keys by the loader.
    fn external(&mut self, node: &Node, path: &str) -> Option<Node> {
        match &node.value {
            Value::Map(map) => {
                for (key, one) in map {
                    if key == "name" {
                        self.text(one, &join(path, key))?;
                    } else if !key.starts_with("x-") {
                        self.wrong::<()>(one, &join(path, key), "unknown key; known is name")?;
                    }
                }
                Some(node.clone())
            }
            _ => Some(node.with(Value::Bool(self.boolean(node, path)?))),
        }
    }

    fn ssh(&mut self, node: &Node, path: &str) -> Option<Node> {
        match &node.value {
            Value::Text(_) => Some(node.with(Value::List(vec![node.clone()]))),
            Value::Map(map) => {
                let lines = map.iter().map(|(key, one)| match one.scalar_text() {
                    Some(value) => Node::text(format!("{key}={value}"), one.place),
                    None => Node::text(key, one.place),
                });
                Some(node.with(Value::List(lines.collect())))
            }
            _ => Some(node.with(self.texts(node, false, path)?)),
        }
    }
}

/// Without a count and without ids all devices are meant.
pub(crate) fn device_request(node: &mut Node) {
    let place = node.place;
    if let Some(map) = node.as_map_mut()
        && !map.contains_key("device_ids")
    {
        map.entry("count".to_owned()).or_insert_with(|| Node::new(Value::Int(-1), place));
    }
}
