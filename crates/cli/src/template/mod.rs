//! Go's templates (text/template) for `--format`: fields, variables, pipelines, `if`, `range`,
//! `with`, `break`, `continue`, `define`, `template`, `block`, trim markers, and the functions
//! that Docker and Go offer (functions.rs).
//!
//! Values are JSON. A field that a document does not have is an error, as with Docker; the keys
//! of maps that people fill, such as labels, may be missing. JSON's null is Go's nil pointer;
//! what Go prints otherwise (`[]`, `map[]`) is a [`nil`] of its kind.

mod functions;
mod parse;
mod printf;

use std::collections::HashMap;

use serde_json::Value;

pub(crate) use husk_docker::document::{LABELS, Nil, OMITTED, nil, nil_of, public};
use husk_engine::notice::printable;
use parse::{Definitions, Node, Operand, Pipe};

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    definitions: Definitions,
}

/// Fields whose keys are chosen by people: one that is missing is no mistake in the template.
const MAPS: [&str; 17] = [
    "Annotations",
    "Attributes",
    "Config",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "Details",
];

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, or is more of Go's templates than is built.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (nodes, definitions) = parse::parse(text)?;
        Ok(Self { nodes, definitions })
    }

    /// Fills it in. With `tame` control characters of the values are written out: what goes to
    /// a terminal was chosen by images, too.
    ///
    /// # Errors
    /// What is not there, a function's argument.
    pub(crate) fn fill(&self, value: &Value, tame: bool) -> Result<String, String> {
        let variables = HashMap::from([(String::new(), value.clone())]);
        let definitions = &self.definitions;
        let mut filler = Filler { text: String::new(), variables, definitions, depth: 0, tame };
        filler.nodes(&self.nodes, value)?;
        Ok(filler.text)
    }
}

/// A value as JSON, without what is kept beside it.
pub(crate) fn json(value: &Value) -> String {
    public(value).to_string()
}

/// As Go prints it.
fn plain(value: &Value) -> String {
    match (value, nil_of(value)) {
        (_, Some(Nil::List)) => "[]".to_owned(),
        (_, Some(Nil::Map)) => "map[]".to_owned(),
        (_, Some(Nil::Missing)) => "<no value>".to_owned(),
        (Value::Null, _) => "<nil>".to_owned(),
        (Value::String(text), _) => text.clone(),
        (Value::Array(items), _) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        (Value::Object(map), _) => {
            let shown = map.iter().filter(|(key, _)| *key != LABELS && *key != OMITTED);
            let entry = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
            format!("map[{}]", shown.map(entry).collect::<Vec<_>>().join(" "))
        }
        (other, _) => other.to_string(),
    }
}

/// What `if`, `and` and `or` go by: false, 0, nil and what is empty are not.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty() && nil_of(value).is_none(),
    }
}

/// Where it goes on after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Templates that call each other; a person nests fewer.
const MAX_CALLS: usize = 32;

struct Filler<'a> {
    text: String,
    /// By name; that of the empty one is `$`.
    variables: HashMap<String, Value>,
    definitions: &'a Definitions,
    /// How many definitions are being filled in.
    depth: usize,
    tame: bool,
}

impl Filler<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// `template`: a definition with a dot and variables of its own.
    fn call(&mut self, name: &str, dot: &Value) -> Result<(), String> {
        let nodes = self.definitions.get(name);
        let nodes = nodes.ok_or_else(|| format!("template {name:?} is not defined"))?;
        if self.depth == MAX_CALLS {
            return Err(format!("more than {MAX_CALLS} nested templates"));
        }
        let own = HashMap::from([(String::new(), dot.clone())]);
        let outer = std::mem::replace(&mut self.variables, own);
        self.depth += 1;
        let filled = self.nodes(nodes, dot);
        self.depth -= 1;
        self.variables = outer;
        filled.map(drop)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Call(name, pipe) => {
                let dot = pipe.as_ref().map_or(Ok(Value::Null), |pipe| self.pipe(pipe, dot))?;
                self.call(name, &dot)?;
            }
            Node::Text(text) => self.text.push_str(text),
            Node::Output(pipe) => {
                let text = plain(&self.pipe(pipe, dot)?);
                let lines = text.split('\n').map(|line| match self.tame {
                    true => line.split('\t').map(printable).collect::<Vec<_>>().join("\t"),
                    false => line.to_owned(),
                });
                self.text.push_str(&lines.collect::<Vec<_>>().join("\n"));
            }
            Node::Set(name, pipe) => {
                let value = self.pipe(pipe, dot)?;
                self.variables.insert(name.clone(), value);
            }
            Node::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if is_true(&self.pipe(condition, dot)?) {
                        return self.nodes(body, dot);
                    }
                }
                return self.nodes(otherwise, dot);
            }
            Node::With(pipe, body, otherwise) => {
                let value = self.pipe(pipe, dot)?;
                return match is_true(&value) {
                    true => self.nodes(body, &value),
                    false => self.nodes(otherwise, dot),
                };
            }
            Node::Range { names, pipe, body, otherwise } => {
                let entries = entries(self.pipe(pipe, dot)?)?;
                if entries.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (key, value) in entries {
                    match names.as_slice() {
                        [one] => drop(self.variables.insert(one.clone(), value.clone())),
                        [first, second] => {
                            self.variables.insert(first.clone(), key);
                            self.variables.insert(second.clone(), value.clone());
                        }
                        _ => {}
                    }
                    if self.nodes(body, &value)? == Flow::Break {
                        break;
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in pipe {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    /// A command; what is piped into it is its last argument.
    fn command(
        &self,
        command: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else {
            return Err("nothing to evaluate".to_owned());
        };
        // These two do not evaluate more than they need.
        if let Operand::Function(name) = first
            && matches!(name.as_str(), "and" | "or")
            && !rest.is_empty()
        {
            let mut last = None;
            for operand in rest {
                let value = self.operand(operand, dot)?;
                if is_true(&value) == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return Ok(piped.or(last).unwrap_or(Value::Null));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        match first {
            Operand::Function(name) => functions::call(name, &arguments),
            // The one method that Docker's listings have.
            Operand::Field(path) if path.len() == 1 && path[0] == "Label" => {
                let [Value::String(name)] = arguments.as_slice() else {
                    return Err(".Label needs a label's name in quotes".to_owned());
                };
                let found = dot.get(LABELS).and_then(|labels| labels.get(name));
                Ok(found.cloned().unwrap_or_else(|| Value::String(String::new())))
            }
            other if arguments.is_empty() => self.operand(other, dot),
            _ => Err("cannot give arguments to what is not a function".to_owned()),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(path) => follow(dot, path),
            Operand::Variable(name, path) => {
                let value = self.variables.get(name);
                follow(value.ok_or_else(|| format!("undefined variable ${name}"))?, path)
            }
            Operand::Group(pipe, path) => follow(&self.pipe(pipe, dot)?, path),
            Operand::Function(name) => functions::call(name, &[]),
        }
    }
}

fn follow(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut found = value;
    let mut above = "";
    for (at, part) in path.iter().enumerate() {
        let omitted = || found.get(OMITTED)?.get(part);
        // Go's name of the field that JSON has as Id.
        let id = || (part == "ID").then(|| found.get("Id")).flatten();
        if let Some(below) = found.get(part).or_else(omitted).or_else(id) {
            found = below;
            above = part;
            continue;
        }
        let is_map = matches!(found, Value::Object(_)) && MAPS.contains(&above);
        if (is_map && found.get(OMITTED).is_none()) || nil_of(found) == Some(Nil::Map) {
            return Ok(nil(Nil::Missing));
        }
        let whole = path[..=at].join(".");
        let before = path[..at].join(".");
        return Err(match found {
            Value::Null => format!("there is no field .{whole}: .{before} has no value"),
            Value::Object(map) => {
                let similar = crate::usage::suggestion(part, map.keys().cloned());
                format!("there is no field .{whole}{similar}")
            }
            _ => format!("there is no field .{whole}"),
        });
    }
    Ok(found.clone())
}

/// How far a `range` counts.
const MAX_RANGE: u64 = 1 << 16;

/// What `range` goes through: keys and values.
fn entries(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        map if nil_of(&map).is_some() => Ok(Vec::new()),
        Value::Number(count) => {
            let most = count.as_u64().filter(|most| *most <= MAX_RANGE);
            let most = most.ok_or_else(|| format!("range cannot count to {count}"))?;
            Ok((0..most).map(|n| (n.into(), n.into())).collect())
        }
        Value::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(i, v)| (i.into(), v)).collect())
        }
        Value::Object(mut map) => {
            for hidden in [LABELS, OMITTED] {
                map.remove(hidden);
            }
            Ok(map.into_iter().map(|(k, v)| (k.into(), v)).collect())
        }
        other => Err(format!("range cannot iterate over {}", plain(&other))),
    }
}

#[cfg(test)]
mod tests;
