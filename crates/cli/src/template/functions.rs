//! The functions of templates: Go's (text/template, "Functions") and Docker's (`docker --format`).

use std::cmp::Ordering;

use serde_json::Value;

use super::{is_true, json, plain};

type Outcome = Result<Value, String>;

/// Calls one; the last argument is what was piped into it.
pub(super) fn call(name: &str, arguments: &[Value]) -> Outcome {
    match (name, arguments) {
        ("json", [value]) => Ok(Value::String(json(value))),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), index),
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("and", [.., last]) => {
            Ok(arguments.iter().find(|one| !is_true(one)).unwrap_or(last).clone())
        }
        ("or", [.., last]) => Ok(arguments.iter().find(|one| is_true(one)).unwrap_or(last).clone()),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(Value::Bool(
            others.iter().any(|other| compare(first, other) == Some(Ordering::Equal)),
        )),
        ("ne", [a, b]) => Ok(Value::Bool(compare(a, b) != Some(Ordering::Equal))),
        ("lt" | "le" | "gt" | "ge", [a, b]) => ordered(name, a, b),
        ("print", all) => Ok(Value::String(all.iter().map(plain).collect())),
        ("println", all) => {
            let words: Vec<String> = all.iter().map(plain).collect();
            Ok(Value::String(words.join(" ") + "\n"))
        }
        ("printf", [Value::String(format), values @ ..]) => {
            printf(format, values).map(Value::String)
        }
        ("join", [Value::Array(items), Value::String(between)]) => {
            Ok(Value::String(items.iter().map(plain).collect::<Vec<_>>().join(between)))
        }
        ("join", [Value::Null, Value::String(_)]) => Ok(Value::String(String::new())),
        ("split", [Value::String(text), Value::String(at)]) => {
            Ok(text.split(at.as_str()).map(Value::from).collect())
        }
        ("lower", [Value::String(text)]) => Ok(Value::String(text.to_lowercase())),
        ("upper", [Value::String(text)]) => Ok(Value::String(text.to_uppercase())),
        ("title", [Value::String(text)]) => Ok(Value::String(title(text))),
        ("truncate", [Value::String(text), Value::Number(length)]) => {
            let length = usize::try_from(length.as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
            Ok(Value::String(text.chars().take(length).collect()))
        }
        ("pad", [Value::String(text), Value::Number(before), Value::Number(after)]) => {
            let blanks = |number: &serde_json::Number| {
                " ".repeat(
                    usize::try_from(number.as_u64().unwrap_or(0)).unwrap_or(0).min(MAX_WIDTH),
                )
            };
            Ok(Value::String(format!("{}{text}{}", blanks(before), blanks(after))))
        }
        (
            "json" | "len" | "index" | "not" | "and" | "or" | "eq" | "ne" | "lt" | "le" | "gt"
            | "ge" | "printf" | "join" | "split" | "lower" | "upper" | "title" | "truncate" | "pad",
            _,
        ) => Err(format!("{name} does not take these arguments")),
        _ => Err(format!("there is no function {name}")),
    }
}

/// More blanks than a line has.
const MAX_WIDTH: usize = 4096;

fn length(value: &Value) -> Outcome {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        // A list that has nothing is none in JSON.
        Value::Null => Ok(0.into()),
        other => Err(format!("{} has no length", plain(other))),
    }
}

fn index(value: Value, key: &Value) -> Outcome {
    match (&value, key) {
        (Value::Object(map), Value::String(key)) => Ok(match map.get(key) {
            Some(found) => found.clone(),
            // Go's zero value: of a map of strings the empty one.
            None if map.values().all(Value::is_string) => Value::String(String::new()),
            None => Value::Null,
        }),
        (Value::Array(items), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            found.cloned().ok_or_else(|| format!("index {at} of a list of {}", items.len()))
        }
        _ => Err(format!("index {} of {}", plain(key), plain(&value))),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

fn ordered(name: &str, a: &Value, b: &Value) -> Outcome {
    let order = match (a, b) {
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => {
            compare(a, b)
        }
        _ => None,
    };
    let order =
        order.ok_or_else(|| format!("{name}: {} and {} have no order", plain(a), plain(b)))?;
    Ok(Value::Bool(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn title(text: &str) -> String {
    let mut begins = true;
    let each = text.chars().map(|character| {
        let first = std::mem::replace(&mut begins, !character.is_alphanumeric());
        if first { character.to_ascii_uppercase() } else { character }
    });
    each.collect()
}

/// Verbs s, v, d, t and q, with `-` and a width.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let end = after.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(after.len());
        let (flags, after) = after.split_at(end);
        let verb = after.chars().next().ok_or("printf: % at the end")?;
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("printf: nothing for %{verb}"))?;
        let shown = match verb {
            's' | 'v' | 'd' | 't' => plain(value),
            'q' => format!("{:?}", plain(value)),
            _ => return Err(format!("printf: %{verb} is not built")),
        };
        let width = flags.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(MAX_WIDTH);
        match flags.starts_with('-') {
            true => text.push_str(&format!("{shown:<width$}")),
            false => text.push_str(&format!("{shown:>width$}")),
        }
    }
    text.push_str(rest);
    Ok(text)
}
