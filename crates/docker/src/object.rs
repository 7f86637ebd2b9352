//! Reading JSON that a client has sent, field by field. Whatever nobody has asked for at the end
//! was not understood, and is refused where it asks for something.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A body that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BodyError {
    /// Where in the JSON, such as `HostConfig.Memory`.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

/// The result of reading a body.
pub type Result<T> = std::result::Result<T, BodyError>;

/// An object, and where it is in the body.
#[derive(Debug)]
pub(crate) struct Object {
    path: String,
    fields: Map<String, Value>,
}

/// Fields of a fixed set of names, in any order.
impl Object {
    /// A whole body.
    pub(crate) fn of(body: Value) -> Result<Self> {
        match body {
            Value::Object(fields) => Ok(Self { path: String::new(), fields }),
            _ => Err(BodyError {
                path: "body".to_owned(),
                problem: "must be a JSON object".to_owned(),
            }),
        }
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// What is wrong with a field.
    pub(crate) fn error(&self, name: &str, problem: impl Into<String>) -> BodyError {
        BodyError { path: self.path_of(name), problem: problem.into() }
    }

    /// A field's value; null is none.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.error(name, "must be a string")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text_if_any(&mut self, name: &str) -> Result<Option<String>> {
        Ok(Some(self.text(name)?).filter(|text| !text.is_empty()))
    }

    pub(crate) fn truth(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(truth),
            Some(_) => Err(self.error(name, "must be true or false")),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<i64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(name, "must be a whole number")),
            },
        }
    }

    /// A number that is not negative.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        match u64::try_from(number) {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(self.error(name, "must not be negative")),
        }
    }

    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        Ok(self.texts_or_null(name)?.unwrap_or_default())
    }

    /// `None` for null, which is not an empty list.
    pub(crate) fn texts_or_null(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Array(items) = value else {
            return Err(self.error(name, "must be a list of strings"));
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Value::String(text) = item else {
                return Err(self.error(&format!("{name}[{index}]"), "must be a string"));
            };
            texts.push(text);
        }
        Ok(Some(texts))
    }

    /// A list of words, or one word: both are commands.
    pub(crate) fn words(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        match self.fields.get(name) {
            Some(Value::String(word)) => {
                let words = vec![word.clone()];
                self.fields.remove(name);
                Ok(Some(words))
            }
            _ => self.texts_or_null(name),
        }
    }

    pub(crate) fn text_map(&mut self, name: &str) -> Result<BTreeMap<String, String>> {
        let mut map = BTreeMap::new();
        for (key, value) in self.map(name)? {
            let Value::String(text) = value else {
                return Err(self.error(&format!("{name}.{key}"), "must be a string"));
            };
            map.insert(key, text);
        }
        Ok(map)
    }

    /// The keys of a map to empty objects: a set.
    pub(crate) fn keys(&mut self, name: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for (key, value) in self.map(name)? {
            if !is_empty(&value) {
                return Err(self.error(&format!("{name}.{key}"), "must be an empty object"));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// A map whose keys the client has chosen.
    pub(crate) fn map(&mut self, name: &str) -> Result<Map<String, Value>> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(_) => Err(self.error(name, "must be an object")),
        }
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let path = self.path_of(name);
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { path, fields })),
            Some(_) => Err(self.error(name, "must be an object")),
        }
    }

    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>> {
        let path = self.path_of(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(value) => objects(&path, value),
        }
    }

    /// Objects by keys that the client has chosen; null is an empty one.
    pub(crate) fn objects_by_key(&mut self, name: &str) -> Result<Vec<(String, Self)>> {
        let path = self.path_of(name);
        let mut found = Vec::new();
        for (key, value) in self.map(name)? {
            let path = format!("{path}.{key}");
            let fields = match value {
                Value::Null => Map::new(),
                Value::Object(fields) => fields,
                _ => return Err(BodyError { path, problem: "must be an object".to_owned() }),
            };
            found.push((key, Self { path, fields }));
        }
        Ok(found)
    }

    /// Lists of objects by keys that the client has chosen; null is an empty one.
    pub(crate) fn lists_by_key(&mut self, name: &str) -> Result<Vec<(String, Vec<Self>)>> {
        let path = self.path_of(name);
        let mut found = Vec::new();
        for (key, value) in self.map(name)? {
            let list = match value {
                Value::Null => Vec::new(),
                value => objects(&format!("{path}.{key}"), value)?,
            };
            found.push((key, list));
        }
        Ok(found)
    }

    /// Whether a field asks for something.
    pub(crate) fn asks(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !is_empty(value))
    }

    /// Leaves out fields that are an answer's, and which clients send back.
    pub(crate) fn drop_all(&mut self, names: &[&str]) {
        for name in names {
            self.fields.remove(*name);
        }
    }

    /// Refuses what was not understood and asks for something.
    pub(crate) fn finish(self) -> Result<()> {
        match self.fields.iter().find(|(_, value)| !is_empty(value)) {
            Some((name, _)) => Err(self.error(name, "is not supported")),
            None => Ok(()),
        }
    }
}

fn objects(path: &str, value: Value) -> Result<Vec<Object>> {
    let wrong = |path: String| BodyError { path, problem: "must be a list of objects".to_owned() };
    let Value::Array(items) = value else { return Err(wrong(path.to_owned())) };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Object(fields) = item else { return Err(wrong(path)) };
        found.push(Object { path, fields });
    }
    Ok(found)
}

/// What Go's zero values are in JSON: nothing is asked for by them.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
    }
}
