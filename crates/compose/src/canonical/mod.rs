//! Brings what was written into its long form, and refuses what may not stand there.

mod mounts;
mod ports;
mod short;

pub(crate) use short::device_request;

use std::path::{Component, Path, PathBuf};

use crate::interpolate::join;
use crate::node::{Map, Node, Value, float_text};
use crate::schema::{Field, Kind};
use crate::source::{Diagnostic, Place, nearest};
use crate::units;

/// What reading a file needs to know, and what it finds.
pub(crate) struct Reading<'a> {
    /// Relative paths are below it; `None` leaves them as they are.
    pub(crate) base: Option<&'a Path>,
    /// The home directory, for `~`.
    pub(crate) home: Option<&'a str>,
    pub(crate) mistakes: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Reading<'_> {
    /// One mistake at a value. Returns nothing, for `return`.
    pub(crate) fn wrong<T>(
        &mut self,
        node: &Node,
        path: &str,
        message: impl std::fmt::Display,
    ) -> Option<T> {
        self.mistakes.push(Diagnostic::new(node.place, path, message));
        None
    }

    fn wanted<T>(&mut self, node: &Node, path: &str, wanted: &str) -> Option<T> {
        if node.is_null() {
            return self.wrong(node, path, format_args!("is empty, but must be {wanted}"));
        }
        self.wrong(node, path, format_args!("must be {wanted}, but is {}", node.describe()))
    }

    /// The long form of `node`, or nothing where it cannot stand here.
    pub(crate) fn canonical(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        if node.tag == crate::node::Tag::Reset {
            return Some(node.with(Value::Null));
        }
        let value = match kind {
            Kind::Any => node.value.clone(),
            Kind::Text => Value::Text(self.text(node, path)?),
            Kind::Word => Value::Text(self.word(node, path)?),
            Kind::Choice(choices) => Value::Text(self.choice(node, choices, path)?),
            Kind::Bool => Value::Bool(self.boolean(node, path)?),
            Kind::Int => Value::Int(self.int(node, path)?),
            Kind::Float => self.float(node, path)?,
            Kind::Bytes => Value::Text(self.bytes(node, path)?.to_string()),
            Kind::Duration => Value::Text(units::duration_text(self.duration(node, path)?)),
            Kind::Path => {
                let text = self.text(node, path)?;
                Value::Text(self.path(&text))
            }
            Kind::Context => {
                let text = self.text(node, path)?;
                Value::Text(if is_remote(&text) { text } else { self.path(&text) })
            }
            Kind::Texts => self.texts(node, false, path)?,
            Kind::Words => unique(self.texts(node, true, path)?),
            Kind::Unique => unique(self.texts(node, false, path)?),
            Kind::TextOrTexts => match &node.value {
                Value::Text(_) => Value::List(vec![node.clone()]),
                _ => self.texts(node, false, path)?,
            },
            Kind::Environment => self.pairs(node, true, path)?,
            Kind::Labels => self.pairs(node, false, path)?,
            Kind::Options => self.options(node, path)?,
            Kind::Command => self.command(node, path)?,
            Kind::Test => self.test(node, path)?,
            Kind::List(kind) => self.list(node, kind, path)?,
            Kind::Map(kind, nullable) => self.mapping(node, kind, *nullable, path)?,
            Kind::Object(fields) => {
                if node.is_null() && may_be_null(path) {
                    return Some(node.clone());
                }
                Value::Map(self.object(node, fields, path)?)
            }
            Kind::Special(special, kind) => return self.short(node, *special, kind, path),
        };
        Some(node.with(value))
    }

    pub(crate) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.contains('\0') => self.wrong(node, path, "has a zero byte"),
            Value::Text(text) => Some(text.clone()),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                let text = node.scalar_text().unwrap_or_default();
                let kind = node.describe();
                self.wrong(
                    node,
                    path,
                    format_args!("must be a string, but is {kind}: write {text:?} in quotes"),
                )
            }
            _ => self.wanted(node, path, "a string"),
        }
    }

    fn word(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => node.scalar_text(),
            _ => self.text(node, path),
        }
    }

    fn choice(&mut self, node: &Node, choices: &[&str], path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        if choices.contains(&text.as_str()) {
            return Some(text);
        }
        let meant = nearest(&text, choices.iter().copied());
        let hint = meant.map_or(String::new(), |one| format!("; did you mean {one:?}?"));
        self.wrong(node, path, format_args!("{text:?} must be one of {}{hint}", choices.join(", ")))
    }

    fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                word @ ("y" | "yes" | "on" | "n" | "no" | "off") => {
                    let value = matches!(word, "y" | "yes" | "on");
                    let message = format!("{text:?} is not a boolean of YAML 1.2: write {value}");
                    self.warnings.push(Diagnostic::new(node.place, path, message));
                    Some(value)
                }
                _ => self.wrong(node, path, format_args!("{text:?} must be true or false")),
            },
            _ => self.wanted(node, path, "true or false"),
        }
    }

    pub(crate) fn int(&mut self, node: &Node, path: &str) -> Option<i64> {
        match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                Some(*value as i64)
            }
            Value::Text(text) => match text.trim().parse() {
                Ok(value) => Some(value),
                Err(_) => self.wrong(node, path, format_args!("{text:?} is not a whole number")),
            },
            _ => self.wanted(node, path, "a whole number"),
        }
    }

    fn float(&mut self, node: &Node, path: &str) -> Option<Value> {
        let value = match &node.value {
            Value::Int(value) => return Some(Value::Int(*value)),
            Value::Float(value) => *value,
            Value::Text(text) => match text.trim().parse::<f64>() {
                Ok(value) => value,
                Err(_) => return self.wrong(node, path, format_args!("{text:?} is not a number")),
            },
            _ => return self.wanted(node, path, "a number"),
        };
        if !value.is_finite() {
            return self.wrong(node, path, "must be a finite number");
        }
        let whole = value.fract() == 0.0 && value.abs() < 9e15;
        Some(if whole { Value::Int(value as i64) } else { Value::Float(value) })
    }

    fn bytes(&mut self, node: &Node, path: &str) -> Option<i64> {
        match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float(value) if value.is_finite() => Some(*value as i64),
            Value::Text(text) => match units::bytes(text) {
                Some(bytes) => Some(bytes),
                None => self.wrong(
                    node,
                    path,
                    format_args!("{text:?} is not a number of bytes: write 512m or 1.5g, with b, k, m, g or t"),
                ),
            },
            _ => self.wanted(node, path, "a number of bytes"),
        }
    }

    fn duration(&mut self, node: &Node, path: &str) -> Option<i64> {
        match &node.value {
            Value::Text(text) => match units::duration(text) {
                Some(value) => Some(value),
                None => self.wrong(
                    node,
                    path,
                    format_args!("{text:?} is not a duration: write 30s, 1m30s or 500ms"),
                ),
            },
            Value::Int(value) => self.wrong(
                node,
                path,
                format_args!("a duration needs its unit: write {value}s for seconds"),
            ),
            _ => self.wanted(node, path, "a duration"),
        }
    }

    /// An absolute path, or the path as it is where none are resolved.
    pub(crate) fn path(&self, text: &str) -> String {
        let Some(base) = self.base else { return text.to_owned() };
        absolute(base, self.home, text)
    }

    fn texts(&mut self, node: &Node, words: bool, path: &str) -> Option<Value> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let text = if words { self.word(one, &path) } else { self.text(one, &path) };
            if let Some(text) = text {
                out.push(Node::text(text, one.place));
            }
        }
        Some(Value::List(out))
    }

    /// A mapping, or a list of `NAME=VALUE`.
    fn pairs(&mut self, node: &Node, nulls: bool, path: &str) -> Option<Value> {
        let empty = |place| match nulls {
            true => Node::new(Value::Null, place),
            false => Node::text("", place),
        };
        let mut out = Map::new();
        match &node.value {
            Value::Map(map) => {
                for (name, one) in map {
                    let mut value = match &one.value {
                        _ if one.tag == crate::node::Tag::Reset => one.with(Value::Null),
                        Value::Null => empty(one.place),
                        Value::List(_) | Value::Map(_) => {
                            let path = join(path, name);
                            self.wanted::<()>(one, &path, "a string, a number or a boolean");
                            continue;
                        }
                        _ => Node::text(one.scalar_text().unwrap_or_default(), one.place),
                    };
                    value.tag = one.tag;
                    value.key = one.key;
                    out.insert(name.clone(), value);
                }
            }
            Value::List(list) => {
                for (index, one) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let Some(text) = self.text(one, &path) else { continue };
                    match text.split_once('=') {
                        Some(("", _)) => {
                            self.wrong::<()>(
                                one,
                                &path,
                                format_args!("{text:?} has no name before the ="),
                            );
                        }
                        Some((name, value)) => {
                            out.insert(name.to_owned(), Node::text(value, one.place));
                        }
                        None => {
                            out.insert(text, empty(one.place));
                        }
                    }
                }
            }
            _ => return self.wanted(node, path, "a mapping, or a list of NAME=VALUE"),
        }
        Some(Value::Map(out))
    }

    fn options(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Value::Map(map) = &node.value else { return self.wanted(node, path, "a mapping") };
        let mut out = Map::new();
        for (name, one) in map {
            let path = join(path, name);
            let mut value = match &one.value {
                Value::Null => Node::text("", one.place),
                Value::Float(value) => Node::text(float_text(*value), one.place),
                Value::List(_) | Value::Map(_) => {
                    self.wanted::<()>(one, &path, "a string or a number");
                    continue;
                }
                _ => Node::text(one.scalar_text().unwrap_or_default(), one.place),
            };
            value.tag = one.tag;
            value.key = one.key;
            out.insert(name.clone(), value);
        }
        Some(Value::Map(out))
    }

    pub(crate) fn command(&mut self, node: &Node, path: &str) -> Option<Value> {
        match &node.value {
            Value::Null => Some(Value::Null),
            Value::Text(line) => match units::shell_words(line) {
                Ok(words) => {
                    let words = words.into_iter().map(|word| Node::text(word, node.place));
                    Some(Value::List(words.collect()))
                }
                Err(problem) => self.wrong(node, path, format_args!("{line:?}: {problem}")),
            },
            Value::List(_) => self.texts(node, false, path),
            _ => self.wanted(node, path, "a string or a list"),
        }
    }

    fn test(&mut self, node: &Node, path: &str) -> Option<Value> {
        let (Value::Text(_) | Value::List(_)) = &node.value else {
            return self.wanted(node, path, "a string or a list");
        };
        if let Value::Text(line) = &node.value {
            let parts = [Node::text("CMD-SHELL", node.place), Node::text(line, node.place)];
            return Some(Value::List(parts.into()));
        }
        let list = self.texts(node, false, path)?;
        let Value::List(parts) = &list else { return Some(list) };
        match parts.first().and_then(Node::as_text) {
            None | Some("NONE" | "CMD" | "CMD-SHELL") => Some(list),
            Some(other) => {
                let message = format!("must begin with CMD, CMD-SHELL or NONE, not with {other:?}");
                self.wrong(node, path, message)
            }
        }
    }

    fn list(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Value> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let mut out = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            out.extend(self.canonical(one, kind, &format!("{path}[{index}]")));
        }
        Some(Value::List(out))
    }

    fn mapping(&mut self, node: &Node, kind: &Kind, nullable: bool, path: &str) -> Option<Value> {
        if node.is_null() && !path.contains('.') {
            return Some(Value::Map(Map::new()));
        }
        let Value::Map(map) = &node.value else { return self.wanted(node, path, "a mapping") };
        let mut out = Map::new();
        for (name, one) in map {
            if name.starts_with("x-") && !path.contains('.') && path != "services" {
                out.insert(name.clone(), one.clone());
                continue;
            }
            let below = join(path, name);
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || !name.chars().all(valid) {
                let message =
                    format!("{name:?} is not a name: it may have letters, digits, and . _ -");
                self.mistakes.push(Diagnostic::new(one.key, path, message));
                continue;
            }
            let value = match nullable && one.is_null() {
                true => Some(one.with(Value::Map(Map::new()))),
                false => self.canonical(one, kind, &below),
            };
            out.extend(value.map(|value| (name.clone(), value)));
        }
        Some(Value::Map(out))
    }

    fn object(&mut self, node: &Node, fields: &'static [Field], path: &str) -> Option<Map> {
        let Value::Map(map) = &node.value else { return self.wanted(node, path, "a mapping") };
        let mut out = Map::new();
        for (name, one) in map {
            if name.starts_with("x-") {
                out.insert(name.clone(), one.clone());
                continue;
            }
            let below = join(path, name);
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                let message = unknown(name, fields, path);
                self.mistakes.push(Diagnostic::new(one.key, &below, message));
                continue;
            };
            out.extend(self.canonical(one, &field.kind, &below).map(|value| (name.clone(), value)));
        }
        Some(out)
    }
}

/// What is said of a key that is not known.
fn unknown(name: &str, fields: &'static [Field], path: &str) -> String {
    if let Some(meant) = nearest(name, fields.iter().map(|field| field.name)) {
        return format!("unknown key; did you mean {meant:?}?");
    }
    let known_elsewhere = crate::schema::SERVICE.fields().iter().any(|field| field.name == name);
    if path.is_empty() && known_elsewhere {
        return "unknown key here: it belongs to a service, below \"services\"".to_owned();
    }
    let top = crate::schema::FILE.fields().iter().any(|field| field.name == name);
    if top && !path.is_empty() {
        return "unknown key here: it belongs at the top level of the file; is it indented too far?"
            .to_owned();
    }
    let mut names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    names.sort_unstable();
    match names.len() {
        0..=12 => format!("unknown key; known are {}", names.join(", ")),
        _ => "unknown key (a key of your own begins with x-)".to_owned(),
    }
}

/// docker compose takes these two without a value.
fn may_be_null(path: &str) -> bool {
    let mut parts = path.split('.');
    let top = parts.next() == Some("services");
    let key = parts.nth(1);
    top && parts.next().is_none() && matches!(key, Some("deploy" | "develop"))
}

fn unique(value: Value) -> Value {
    let Value::List(list) = value else { return value };
    let mut out: Vec<Node> = Vec::with_capacity(list.len());
    for one in list {
        if !out.contains(&one) {
            out.push(one);
        }
    }
    Value::List(out)
}

/// Whether a build context is a URL rather than a directory.
pub(crate) fn is_remote(text: &str) -> bool {
    text.contains("://")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || ["docker-image:", "target:", "service:", "oci-layout:"]
            .iter()
            .any(|one| text.starts_with(one))
}

/// `text` below `base`, without `.` and `..`; `~` is the home directory.
pub(crate) fn absolute(base: &Path, home: Option<&str>, text: &str) -> String {
    let path = match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(format!("{home}{rest}"))
        }
        _ => base.join(text),
    };
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean.display().to_string()
}

/// A node that the program adds at the place of another.
pub(crate) fn added(value: Value, place: Place) -> Node {
    Node::new(value, place)
}
