//! What JSON alone cannot say of Docker's documents, kept in them beside it: what Go prints
//! otherwise than null, and fields that are left out where they are empty. Templates name both;
//! [`public`] takes them away again.

use serde_json::Value;

/// Where a row keeps its labels for `.Label "name"`: beside what JSON shows of it.
pub const LABELS: &str = "_labels";

/// Where an object keeps the fields that its JSON leaves out, and a template may name.
pub const OMITTED: &str = "_omitted";

/// The one key of a [`nil`].
const NIL: &str = "_nil";

/// What Go has none of; in JSON it is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nil {
    /// A list, printed as `[]`.
    List,
    /// A map, printed as `map[]`.
    Map,
    /// The value of a key that a map does not have, printed as `<no value>`.
    Missing,
}

/// A value that JSON shows as null.
pub fn nil(kind: Nil) -> Value {
    let word = match kind {
        Nil::List => "list",
        Nil::Map => "map",
        Nil::Missing => "missing",
    };
    serde_json::json!({ NIL: word })
}

/// Which nil a value stands for; `None` for any other value, and for null.
pub fn nil_of(value: &Value) -> Option<Nil> {
    match value.get(NIL)?.as_str()? {
        "list" => Some(Nil::List),
        "map" => Some(Nil::Map),
        _ => Some(Nil::Missing),
    }
}

/// A document as it is shown: without what is kept beside it for templates.
pub fn public(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key(NIL) => Value::Null,
        Value::Object(map) => {
            let shown = map.iter().filter(|(key, _)| *key != LABELS && *key != OMITTED);
            Value::Object(shown.map(|(key, value)| (key.clone(), public(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(public).collect()),
        other => other.clone(),
    }
}

/// A list that Docker has as null where it is empty.
pub(crate) fn list<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() { nil(Nil::List) } else { serde_json::json!(items) }
}
