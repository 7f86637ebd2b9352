//! Go's templates (text/template), as far as `--format` is written with them: fields, variables,
//! pipelines, `if`, `range`, `with`, trim markers, and the functions that Docker and Go offer
//! and scripts use (functions.rs).
//!
//! Values are JSON. What is not there is an error, as with Docker, but for the keys of maps that
//! people fill, such as labels.

mod functions;
mod parse;

use std::collections::HashMap;

use serde_json::Value;

use husk_engine::notice::printable;
use parse::{Node, Operand, Pipe};

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// Fields whose keys are chosen by people: one that is missing is no mistake in the template.
const MAPS: [&str; 8] = [
    "Annotations",
    "Containers",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "Ports",
    "Sysctls",
];

/// Where a row keeps its labels for `.Label "name"`: beside what JSON shows of it.
pub(crate) const LABELS: &str = "_labels";

/// What is printed for something that is not there.
const NO_VALUE: &str = "<no value>";

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, or is more of Go's templates than is built.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::parse(text)? })
    }

    /// Fills it in. With `tame` control characters of the values are written out: what goes to
    /// a terminal was chosen by images, too.
    ///
    /// # Errors
    /// What is not there, a function's argument.
    pub(crate) fn fill(&self, value: &Value, tame: bool) -> Result<String, String> {
        let variables = HashMap::from([(String::new(), value.clone())]);
        let mut filler = Filler { text: String::new(), variables, tame };
        filler.nodes(&self.nodes, value)?;
        Ok(filler.text)
    }
}

/// A value as JSON, without what is kept beside it.
pub(crate) fn json(value: &Value) -> String {
    match value {
        Value::Object(map) if map.contains_key(LABELS) => {
            let mut shown = map.clone();
            shown.remove(LABELS);
            Value::Object(shown).to_string()
        }
        other => other.to_string(),
    }
}

/// As Go prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => NO_VALUE.to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
            format!("map[{}]", map.iter().map(entry).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
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
        Value::Object(map) => !map.is_empty(),
    }
}

struct Filler {
    text: String,
    /// By name; that of the empty one is `$`.
    variables: HashMap<String, Value>,
    tame: bool,
}

impl Filler {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
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
                    self.nodes(body, &value)?;
                }
            }
        }
        Ok(())
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
                    return Err(".Label takes a label's name in quotes".to_owned());
                };
                let found = dot.get(LABELS).and_then(|labels| labels.get(name));
                Ok(found.cloned().unwrap_or_else(|| Value::String(String::new())))
            }
            other if arguments.is_empty() => self.operand(other, dot),
            _ => Err("only a function takes arguments".to_owned()),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(path) => follow(dot, path),
            Operand::Variable(name, path) => {
                let value = self.variables.get(name);
                follow(value.ok_or_else(|| format!("${name} is not set"))?, path)
            }
            Operand::Group(pipe, path) => follow(&self.pipe(pipe, dot)?, path),
            Operand::Function(name) => functions::call(name, &[]),
        }
    }
}

fn follow(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut found = value;
    let mut above = "";
    for part in path {
        found = match (found.get(part), found) {
            (Some(below), _) => below,
            (None, Value::Object(_)) if MAPS.contains(&above) => return Ok(Value::Null),
            _ => return Err(format!("there is no field .{}", path.join("."))),
        };
        above = part;
    }
    Ok(found.clone())
}

/// What `range` goes through: keys and values.
fn entries(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(i, v)| (i.into(), v)).collect())
        }
        Value::Object(map) => Ok(map.into_iter().map(|(k, v)| (k.into(), v)).collect()),
        other => Err(format!("range does not go over {}", plain(&other))),
    }
}

#[cfg(test)]
mod tests;
