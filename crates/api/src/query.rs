//! What stands behind the `?` of a request, and percent-encoding.

use std::collections::BTreeMap;

use crate::failure::{Failure, Result};

/// A query's names and values, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// `filters`: each name with its values.
pub(crate) type Filters = BTreeMap<String, Vec<String>>;

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split(['&', ';']).filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The same where an empty value is none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Every value of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// Docker's notion of truth: anything but these.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.is_or(name, false)
    }

    /// The same where the name may be left out.
    pub(crate) fn is_or(&self, name: &str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number; `None` where it is left out or empty.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let bad = |_| Failure::invalid(format!("invalid value {text:?} of {name}: not a number"));
        text.trim().parse().map(Some).map_err(bad)
    }

    /// `filters`, as lists or as maps of names to true.
    ///
    /// # Errors
    /// Malformed JSON; a name that is not among `known`.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters> {
        let filters = match self.text("filters") {
            None => Filters::new(),
            Some(text) => parse_filters(text)?,
        };
        match filters.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Failure::invalid(format!("invalid filter '{name}'"))),
            None => Ok(filters),
        }
    }
}

fn parse_filters(text: &str) -> Result<Filters> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Values {
        List(Vec<String>),
        Map(BTreeMap<String, bool>),
        None(()),
    }
    let parsed: Option<BTreeMap<String, Values>> = serde_json::from_str(text)
        .map_err(|error| Failure::invalid(format!("invalid filters: {error}")))?;
    let values = |values| match values {
        Values::List(list) => list,
        Values::Map(map) => map.into_iter().filter_map(|(key, on)| on.then_some(key)).collect(),
        Values::None(()) => Vec::new(),
    };
    let parsed = parsed.unwrap_or_default().into_iter();
    Ok(parsed.map(|(name, of)| (name, values(of))).filter(|(_, of)| !of.is_empty()).collect())
}

/// Decodes `%XX`; with `form` also `+` as a blank. What is no encoding stays as it is.
pub(crate) fn decode(text: &str, form: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (b'+', ..) if form => {
                decoded.push(b' ');
                at += 1;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_dockers() {
        let query = Query::parse("a=1&b=True&c=0&d=&e=no&f=None&g&h=x&i=%20false+");
        for name in ["a", "b", "h"] {
            assert!(query.is(name), "{name}");
        }
        for name in ["c", "d", "e", "f", "g", "i", "absent"] {
            assert!(!query.is(name), "{name}");
        }
        assert!(query.is_or("absent", true));
    }

    #[test]
    fn filters_come_in_both_forms() {
        for text in
            [r#"{"label":{"a=b":true,"c":true,"d":false}}"#, r#"{"label":["a=b","c"],"name":null}"#]
        {
            let query = Query(vec![("filters".to_owned(), text.to_owned())]);
            let filters = query.filters(&["label", "name"]).unwrap();
            assert_eq!(filters["label"], ["a=b", "c"]);
            assert_eq!(filters.len(), 1);
            assert_eq!(query.filters(&["name"]).unwrap_err().message, "invalid filter 'label'");
        }
        for text in ["{", "[]", r#"{"a":1}"#, r#"{"a":{"b":"c"}}"#] {
            let query = Query(vec![("filters".to_owned(), text.to_owned())]);
            assert!(query.filters(&["a"]).is_err(), "{text}");
        }
    }

    #[test]
    fn percent_signs() {
        assert_eq!(decode("a%2Fb+c%zz%4", false), "a/b+c%zz%4");
        assert_eq!(Query::parse("t=a%3Ab&t=c").all("t").collect::<Vec<_>>(), ["a:b", "c"]);
        assert!(Query::parse("n=x").number::<u32>("n").is_err());
        assert_eq!(Query::parse("n=-1").number::<i32>("n").unwrap(), Some(-1));
    }
}
