//! The functions of templates: Go's (text/template, "Functions") and Docker's (`docker --format`).

use std::cmp::Ordering;

use serde_json::Value;

use super::printf::{MAX_WIDTH, printf};
use super::{Nil, is_true, json, nil_of, plain};

type Outcome = Result<Value, String>;

const NAMES: [&str; 26] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The error for a name that is not a function's.
pub(super) fn unknown(name: &str) -> String {
    let similar = crate::usage::suggestion(name, NAMES.iter().map(|name| (*name).to_owned()));
    format!("there is no function {name}{similar}")
}

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
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut equal = false;
            for other in others {
                equal = equal || equals("eq", first, other)?;
            }
            Ok(Value::Bool(equal))
        }
        ("ne", [a, b]) => Ok(Value::Bool(!equals("ne", a, b)?)),
        ("lt" | "le" | "gt" | "ge", [a, b]) => ordered(name, a, b),
        ("print", all) => Ok(Value::String(print(all))),
        ("println", all) => {
            let words: Vec<String> = all.iter().map(plain).collect();
            Ok(Value::String(words.join(" ") + "\n"))
        }
        ("printf", [Value::String(format), values @ ..]) => {
            Ok(Value::String(printf(format, values)))
        }
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("html", all) if !all.is_empty() => Ok(Value::String(escape(&print(all), html))),
        ("js", all) if !all.is_empty() => Ok(Value::String(escape(&print(all), js))),
        ("urlquery", all) if !all.is_empty() => Ok(Value::String(url_query(&print(all)))),
        ("join", [Value::Array(items), Value::String(between)]) => {
            Ok(Value::String(items.iter().map(plain).collect::<Vec<_>>().join(between)))
        }
        ("join", [none, Value::String(_)]) if none.is_null() || nil_of(none).is_some() => {
            Ok(Value::String(String::new()))
        }
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
        _ => Err(format!("{name}: wrong number or type of arguments")),
    }
}

fn length(value: &Value) -> Outcome {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(_) if nil_of(value).is_some() => Ok(0.into()),
        Value::Object(map) => Ok(map.len().into()),
        // A list that has nothing is none in JSON.
        Value::Null => Ok(0.into()),
        other => Err(format!("len: {} has no length", plain(other))),
    }
}

fn index(value: Value, key: &Value) -> Outcome {
    match (&value, key) {
        (_, Value::String(_)) if nil_of(&value) == Some(Nil::Map) => {
            Ok(Value::String(String::new()))
        }
        (Value::Object(map), Value::String(key)) => Ok(match map.get(key) {
            Some(found) => found.clone(),
            // Go's zero value: of a map of strings the empty one.
            None if map.values().all(Value::is_string) => Value::String(String::new()),
            None => Value::Null,
        }),
        (Value::Array(items), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            found
                .cloned()
                .ok_or_else(|| format!("index {at} is out of range: the list has {}", items.len()))
        }
        _ => Err(format!("cannot index {} by {}", plain(&value), plain(key))),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

fn equals(name: &str, a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Number(_), Value::String(_) | Value::Bool(_))
        | (Value::String(_), Value::Number(_) | Value::Bool(_))
        | (Value::Bool(_), Value::Number(_) | Value::String(_)) => {
            Err(format!("{name}: cannot compare {} with {}", json(a), json(b)))
        }
        _ => Ok(compare(a, b) == Some(Ordering::Equal)),
    }
}

/// All of them, with a blank between two of which neither is a string (Go's fmt.Sprint).
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| values.get(before));
        if before.is_some_and(|before| !before.is_string() && !value.is_string()) {
            text.push(' ');
        }
        text.push_str(&plain(value));
    }
    text
}

/// `slice x 1 3`: of a list its items, of a string its bytes.
fn slice(value: &Value, bounds: &[Value]) -> Outcome {
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(bound) => {
            let bound = bound.as_u64().and_then(|bound| usize::try_from(bound).ok());
            bound.ok_or_else(|| "slice: a bound must be a number".to_owned())
        }
    };
    let length = match value {
        Value::Array(items) => items.len(),
        Value::String(text) => text.len(),
        _ => return Err(format!("slice: {} is neither a list nor a string", plain(value))),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    let range = || format!("slice: {from} to {to} is out of range: the length is {length}");
    match value {
        Value::Array(items) => items.get(from..to).map(Value::from).ok_or_else(range),
        _ => {
            let text = value.as_str().unwrap_or_default().as_bytes().get(from..to);
            let text = text.ok_or_else(range)?;
            Ok(Value::String(String::from_utf8_lossy(text).into_owned()))
        }
    }
}

fn escape(text: &str, of: fn(char) -> Option<&'static str>) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match of(character) {
            Some(replacement) => escaped.push_str(replacement),
            None => escaped.push(character),
        }
    }
    escaped
}

fn html(character: char) -> Option<&'static str> {
    Some(match character {
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\0' => "\u{fffd}",
        _ => return None,
    })
}

fn js(character: char) -> Option<&'static str> {
    Some(match character {
        '\\' => "\\\\",
        '\'' => "\\'",
        '"' => "\\\"",
        '<' => "\\u003C",
        '>' => "\\u003E",
        '&' => "\\u0026",
        '=' => "\\u003D",
        '\n' => "\\u000A",
        '\r' => "\\u000D",
        '\t' => "\\u0009",
        _ => return None,
    })
}

/// A query's value (Go's url.QueryEscape).
fn url_query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn ordered(name: &str, a: &Value, b: &Value) -> Outcome {
    let order = match (a, b) {
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => {
            compare(a, b)
        }
        _ => None,
    };
    let order =
        order.ok_or_else(|| format!("{name}: cannot compare {} with {}", plain(a), plain(b)))?;
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
