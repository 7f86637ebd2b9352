//! `$X`, `${X:-default}` and their kin.

use std::collections::BTreeMap;

use crate::node::{Node, Value};
use crate::source::Diagnostic;

/// How deep `${A:-${B:-...}}` may be nested.
const DEPTH: usize = 32;

/// What a variable is, and which were missing.
pub(crate) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Variables without a value, each once, and where they were first used.
    pub(crate) missing: Vec<String>,
}

/// A use of a variable: its default, alternative and whether it is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) default: String,
    pub(crate) alternate: String,
    pub(crate) required: bool,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, missing: Vec::new() }
    }

    /// Replaces the variables of every text below `node`.
    pub(crate) fn replace_all(
        &mut self,
        node: &mut Node,
        path: &str,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        match &mut node.value {
            Value::Text(text) if text.contains('$') => match self.replace(text) {
                Ok(replaced) => *text = replaced,
                Err(problem) => mistakes.push(Diagnostic::new(node.place, path, problem)),
            },
            Value::List(list) => {
                for (index, one) in list.iter_mut().enumerate() {
                    self.replace_all(one, &format!("{path}[{index}]"), mistakes);
                }
            }
            Value::Map(map) => {
                for (key, one) in map {
                    self.replace_all(one, &join(path, key), mistakes);
                }
            }
            _ => {}
        }
    }

    /// Replaces the variables of a text.
    ///
    /// # Errors
    /// A malformed use, or a required variable that is missing.
    pub(crate) fn replace(&mut self, text: &str) -> Result<String, String> {
        self.expand(text, DEPTH)
    }

    fn expand(&mut self, text: &str, depth: usize) -> Result<String, String> {
        let depth = depth.checked_sub(1).ok_or("variables are nested too deep")?;
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(next) = after.strip_prefix('$') {
                out.push('$');
                rest = next;
            } else if let Some(inner) = after.strip_prefix('{') {
                let end = closing_brace(inner).ok_or_else(|| {
                    format!("{text:?} has a \"${{\" without its \"}}\" (\"$$\" is a plain $)")
                })?;
                out.push_str(&self.braced(&inner[..end], depth)?);
                rest = &inner[end + 1..];
            } else {
                let length = name_length(after);
                match length {
                    // One that begins no variable stands for itself.
                    0 => out.push('$'),
                    _ => out.push_str(&self.value(&after[..length])),
                }
                rest = &after[length..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if !self.missing.iter().any(|one| one == name) {
                self.missing.push(name.to_owned());
            }
            String::new()
        })
    }

    /// What stands between the braces.
    fn braced(&mut self, inner: &str, depth: usize) -> Result<String, String> {
        let (name, operator, argument) = split(inner)?;
        let value = (self.lookup)(name);
        let filled = value.as_ref().is_some_and(|value| !value.is_empty());
        let counts = if operator.starts_with(':') { filled } else { value.is_some() };
        match operator {
            "" => Ok(self.value(name)),
            ":-" | "-" if !counts => self.expand(argument, depth),
            ":+" | "+" if counts => self.expand(argument, depth),
            ":+" | "+" => Ok(String::new()),
            ":?" | "?" if !counts => {
                let reason = self.expand(argument, depth)?;
                let missing = format!("the required variable {name} is missing a value");
                Err(if reason.is_empty() { missing } else { format!("{missing}: {reason}") })
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }
}

/// `name`, the operator and what follows it.
fn split(inner: &str) -> Result<(&str, &str, &str), String> {
    let length = name_length(inner);
    let (name, rest) = inner.split_at(length);
    let operator = [":-", ":?", ":+", "-", "?", "+"].into_iter().find(|one| rest.starts_with(one));
    match operator {
        _ if name.is_empty() => {
            Err(format!("\"${{{inner}}}\" begins with no name of a variable (\"$$\" is a plain $)"))
        }
        Some(operator) => Ok((name, operator, &rest[operator.len()..])),
        None if rest.is_empty() => Ok((name, "", "")),
        None => Err(format!(
            "\"${{{inner}}}\" is not understood: after the name may stand :- - :? ? :+ or +"
        )),
    }
}

fn name_length(text: &str) -> usize {
    let first = text.bytes().next();
    if !first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
        return 0;
    }
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// `path.key`, or the key alone at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Every variable that is used below `node`.
pub(crate) fn uses(node: &Node, found: &mut BTreeMap<String, Use>) {
    match &node.value {
        Value::Text(text) => uses_of(text, found, DEPTH),
        Value::List(list) => list.iter().for_each(|one| uses(one, found)),
        Value::Map(map) => map.values().for_each(|one| uses(one, found)),
        _ => {}
    }
}

fn uses_of(text: &str, found: &mut BTreeMap<String, Use>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = closing_brace(inner) else { return };
            if let Ok((name, operator, argument)) = split(&inner[..end]) {
                let used = found.entry(name.to_owned()).or_default();
                match operator {
                    ":-" | "-" => argument.clone_into(&mut used.default),
                    ":+" | "+" => argument.clone_into(&mut used.alternate),
                    ":?" | "?" => used.required = true,
                    _ => {}
                }
                uses_of(argument, found, depth);
            }
            rest = &inner[end + 1..];
        } else {
            let length = name_length(after);
            if length > 0 {
                found.entry(after[..length].to_owned()).or_default();
            }
            rest = &after[length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        Variables::new(&lookup).replace(text)
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            ("$A", "a"),
            ("x${A}y", "xay"),
            ("$$A $${A}", "$A ${A}"),
            ("${NO:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NO-d}", "d"),
            ("${A:+r}", "r"),
            ("${EMPTY:+r}", ""),
            ("${EMPTY+r}", "r"),
            ("${NO+r}", ""),
            ("${NO:-${ALSO:-${A}}}", "a"),
            ("${NO:-{x}}", "{x}"),
            ("${A:?why}", "a"),
            ("$NO.", "."),
            ("a $ b $5 $", "a $ b $5 $"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for text in ["${", "${A", "${}", "${5}", "${A!}", "${NO:?why}", "${EMPTY:?}"] {
            assert!(expand(text).is_err(), "{text}");
        }
        assert_eq!(
            expand("${NO?give $A}").unwrap_err(),
            "the required variable NO is missing a value: give a"
        );
    }

    #[test]
    fn nested_too_deep() {
        let text = format!("{}x{}", "${N:-".repeat(100), "}".repeat(100));
        assert!(expand(&text).is_err());
    }
}
