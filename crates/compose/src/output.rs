//! `config`: the tree as docker compose prints it.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::node::{Map, Node, Value};
use crate::schema::{FILE, Kind, Special};

/// Leaves out what docker compose leaves out: false, zero and empty values of keys that do
/// not keep them.
pub(crate) fn prune(node: &mut Node, kind: &Kind) {
    match (&mut node.value, kind) {
        (
            _,
            Kind::Special(
                Special::Ports
                | Special::Volumes
                | Special::Secrets
                | Special::Configs
                | Special::Devices
                | Special::Gpus
                | Special::EnvFile,
                kind,
            ),
        ) => {
            if let Value::List(list) = &mut node.value {
                list.iter_mut().for_each(|one| prune(one, kind));
            }
        }
        (_, Kind::Special(Special::DependsOn | Special::Networks | Special::Models, kind)) => {
            if let Value::Map(map) = &mut node.value {
                map.values_mut().for_each(|one| prune(one, kind));
            }
        }
        (_, Kind::Special(_, kind)) => prune(node, kind),
        (Value::List(list), Kind::List(kind)) => list.iter_mut().for_each(|one| prune(one, kind)),
        (Value::Map(map), Kind::Map(kind, _)) => map.values_mut().for_each(|one| prune(one, kind)),
        (Value::Map(map), Kind::Object(fields)) => {
            map.retain(|name, one| {
                let Some(field) = fields.iter().find(|field| field.name == name) else {
                    return true;
                };
                prune(one, &field.kind);
                // Bytes are a text here, and a number there.
                let zero = matches!(field.kind, Kind::Bytes) && one.as_text() == Some("0");
                let null = one.is_null() && !matches!(field.kind, Kind::Command);
                (field.keep && !null) || !(is_empty(one) || zero)
            });
        }
        _ => {}
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Float(value) => *value == 0.0,
        Value::Text(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
    }
}

fn drop_extensions(map: &mut Map) {
    map.retain(|name, _| !name.starts_with("x-"));
}

/// Doubles dollar signs, so that what is printed can be read again.
fn escape(node: &mut Node) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::List(list) => list.iter_mut().for_each(escape),
        Value::Map(map) => map.values_mut().for_each(escape),
        _ => {}
    }
}

/// docker compose's names of fields that its own structures have none for.
fn quirks(service: &mut Map) {
    for list in service
        .get_mut("blkio_config")
        .and_then(Node::as_map_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        let Value::List(devices) = &mut list.value else { continue };
        for device in devices.iter_mut().filter_map(Node::as_map_mut) {
            for (name, shown) in [("path", "Path"), ("rate", "Rate"), ("weight", "Weight")] {
                if let Some(value) = device.remove(name) {
                    device.insert(shown.to_owned(), value);
                }
            }
        }
    }
    let build = service.get_mut("build").and_then(Node::as_map_mut);
    let build_limits = build.and_then(|build| build.get_mut("ulimits"));
    zero_limits(build_limits);
    zero_limits(service.get_mut("ulimits"));
}

fn zero_limits(limits: Option<&mut Node>) {
    for limit in limits.and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut) {
        if limit.as_int() == Some(0) {
            limit.value = Value::Map(Map::new());
        }
    }
}

/// What docker compose prints as JSON: extensions stand only at the top, and some keys are
/// there though they are empty. `escaped`: with doubled dollar signs.
pub(crate) fn json(root: &Node, escaped: bool) -> Json {
    let mut root = root.clone();
    if escaped {
        escape(&mut root);
    }
    let Some(map) = root.as_map_mut() else { return Json::Null };
    for (name, node) in map.iter_mut() {
        if !name.starts_with("x-") {
            strip(node);
        }
    }
    let empty = || Node::map(Map::new(), crate::source::Place::default());
    let null = || Node::new(Value::Null, crate::source::Place::default());
    for network in
        map.get_mut("networks").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
    {
        if let Some(network) = network.as_map_mut() {
            network.entry("ipam".to_owned()).or_insert_with(empty);
        }
    }
    for service in
        map.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
    {
        let Some(service) = service.as_map_mut() else { continue };
        for key in ["command", "entrypoint"] {
            service.entry(key.to_owned()).or_insert_with(null);
        }
        quirks(service);
        if let Some(deploy) = service.get_mut("deploy").and_then(Node::as_map_mut) {
            for key in ["resources", "placement"] {
                deploy.entry(key.to_owned()).or_insert_with(empty);
            }
        }
        let watch = service
            .get_mut("develop")
            .and_then(Node::as_map_mut)
            .and_then(|map| map.get_mut("watch"));
        if let Some(Node { value: Value::List(rules), .. }) = watch {
            for rule in rules.iter_mut().filter_map(Node::as_map_mut) {
                let exec = rule.entry("exec".to_owned()).or_insert_with(empty);
                if let Some(exec) = exec.as_map_mut() {
                    exec.entry("command".to_owned()).or_insert_with(null);
                }
            }
        }
    }
    root.to_json()
}

fn strip(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            drop_extensions(map);
            map.values_mut().for_each(strip);
        }
        Value::List(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The tree as YAML, in docker compose's order.
pub(crate) fn yaml(root: &Node, escaped: bool) -> String {
    let mut out = String::new();
    let mut root = root.clone();
    if escaped {
        escape(&mut root);
    }
    trim_yaml(&mut root);
    write_map(&root, &FILE, 0, &mut out);
    out
}

/// What YAML leaves out: structures without content.
fn trim_yaml(root: &mut Node) {
    let Some(map) = root.as_map_mut() else { return };
    let empty = |node: &Node| node.as_map().is_some_and(Map::is_empty);
    for network in
        map.get_mut("networks").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
    {
        if let Some(network) = network.as_map_mut()
            && network.get("ipam").is_some_and(empty)
        {
            network.remove("ipam");
        }
    }
    for service in
        map.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
    {
        let Some(service) = service.as_map_mut() else { continue };
        for key in ["command", "entrypoint"] {
            if service.get(key).is_some_and(Node::is_null) {
                service.remove(key);
            }
        }
        if let Some(deploy) = service.get_mut("deploy").and_then(Node::as_map_mut) {
            for key in ["resources", "placement"] {
                if deploy.get(key).is_some_and(empty) {
                    deploy.remove(key);
                }
            }
        }
    }
    map.retain(|name, node| name == "services" || !empty(node));
}

/// The kind of what stands below `name`.
fn below(kind: &Kind, name: &str) -> Option<&'static Kind> {
    match kind {
        Kind::Object(fields) => {
            fields.iter().find(|field| field.name == name).map(|field| &field.kind)
        }
        Kind::Map(kind, _)
        | Kind::Special(Special::DependsOn | Special::Networks | Special::Models, kind) => {
            Some(kind)
        }
        Kind::Special(_, kind) => below(kind, name),
        _ => None,
    }
}

fn element(kind: &Kind) -> Kind {
    match kind {
        Kind::List(kind) | Kind::Special(_, kind) => **kind,
        _ => Kind::Any,
    }
}

fn write_map(node: &Node, kind: &Kind, indent: usize, out: &mut String) {
    let Some(map) = node.as_map() else { return };
    let fields: &[crate::schema::Field] = match kind {
        Kind::Object(fields) => fields,
        Kind::Special(Special::DependsOn | Special::Networks | Special::Models, _) => &[],
        other => other.fields(),
    };
    let order =
        |name: &str| fields.iter().position(|field| field.name == name).unwrap_or(usize::MAX);
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.cmp(b)));
    for key in keys {
        let value = &map[key];
        let _ = write!(out, "{:indent$}{}:", "", scalar(key));
        write_value(value, &below(kind, key).copied().unwrap_or(Kind::Any), indent, out);
    }
}

fn write_value(value: &Node, kind: &Kind, indent: usize, out: &mut String) {
    match &value.value {
        Value::Map(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::List(list) if list.is_empty() => out.push_str(" []\n"),
        Value::Map(_) => {
            out.push('\n');
            write_map(value, kind, indent + 2, out);
        }
        Value::List(list) => {
            out.push('\n');
            let element = element(kind);
            for one in list {
                let _ = write!(out, "{:width$}-", "", width = indent + 2);
                match &one.value {
                    Value::Map(map) if !map.is_empty() => {
                        let mut text = String::new();
                        write_map(one, &element, indent + 4, &mut text);
                        let _ = write!(out, " {}", text.trim_start_matches(' '));
                    }
                    _ => write_value(one, &element, indent + 2, out),
                }
            }
        }
        Value::Text(text) if text.contains('\n') && block(text) => {
            let chomp = match (text.ends_with('\n'), text.ends_with("\n\n")) {
                (false, _) => "-",
                (true, true) => "+",
                (true, false) => "",
            };
            let _ = writeln!(out, " |{chomp}");
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                match line.is_empty() {
                    true => out.push('\n'),
                    false => {
                        let _ = writeln!(out, "{:width$}{line}", "", width = indent + 2);
                    }
                }
            }
        }
        Value::Text(text) => {
            let _ = writeln!(out, " {}", scalar(text));
        }
        _ => {
            let text = value.scalar_text().unwrap_or_else(|| "null".to_owned());
            let _ = writeln!(out, " {text}");
        }
    }
}

/// Whether a text can stand as a literal block.
fn block(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    !first.starts_with([' ', '\t'])
        && !first.is_empty()
        && text.chars().all(|c| c == '\n' || !c.is_control())
}

/// A text as a scalar of YAML: plain where that reads back as the same text.
fn scalar(text: &str) -> String {
    let resolves = !matches!(crate::yaml::resolve(text), Value::Text(_));
    // What YAML 1.1 takes for a boolean or a date.
    let old = matches!(text.to_ascii_lowercase().as_str(), "y" | "yes" | "on" | "n" | "no" | "off");
    let first = text.chars().next();
    let special =
        first.is_none_or(|c| "-?:,[]{}#&*!|>'\"%@`= \t".contains(c) && !plain_start(text));
    let inner =
        text.contains(": ") || text.contains(" #") || text.ends_with(':') || text.ends_with(' ');
    let control = text
        .chars()
        .any(|c| c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}');
    if !(resolves || old || special || inner || control || text == "<<") {
        return text.to_owned();
    }
    if control || resolves || old || text.is_empty() || text.contains('\'') {
        return serde_json::to_string(text).unwrap_or_default();
    }
    format!("'{text}'")
}

/// `-`, `?` and `:` begin a plain text where no space follows.
fn plain_start(text: &str) -> bool {
    let mut chars = text.chars();
    matches!(chars.next(), Some('-' | '?' | ':'))
        && chars.next().is_some_and(|c| !" \t,[]{}".contains(c))
        && text != "---"
}
