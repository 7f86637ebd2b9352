//! The filters of the lists: a name and a value each, as Docker has them.

use std::collections::BTreeMap;

use regex_lite::Regex;

use crate::clock;
use crate::error::{Error, Field, Result};

/// One filter. A list of them passes what [`all_pass`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What it looks at, such as `label`.
    pub name: String,
    /// What is wanted there.
    pub value: String,
    /// What has the label is not wanted (`label!`).
    pub excludes: bool,
}

impl Filter {
    /// A filter by its name, in which `label!` excludes, and its value.
    pub fn new(name: &str, value: &str) -> Self {
        let bare = name.strip_suffix('!').filter(|bare| *bare == "label");
        Self {
            name: bare.unwrap_or(name).to_owned(),
            value: value.to_owned(),
            excludes: bare.is_some(),
        }
    }

    fn text(&self) -> String {
        let mark = if self.excludes { "!" } else { "" };
        format!("{}{mark}={}", self.name, self.value)
    }
}

/// Refuses what a list does not have, also where there is nothing to filter.
///
/// # Errors
/// A name that is not one of `known`, a time or a boolean that is none.
pub fn check(filters: &[Filter], known: &[&str]) -> Result<()> {
    for filter in filters {
        if !known.contains(&filter.name.as_str()) {
            let problem =
                format!("invalid filter {:?}: must be one of {}", filter.name, known.join(", "));
            return Err(Error::field(Field::Filters, filter.text(), problem));
        }
        match filter.name.as_str() {
            "until" => drop(filter.is_before(None)?),
            "name" => drop(filter.names("")?),
            "dangling" | "is-task" => drop(filter.truth()?),
            _ => {}
        }
    }
    Ok(())
}

/// Whether something passes: each of its labels, and for any other name one of the values
/// that were given for it, as Docker's.
///
/// # Errors
/// Those of `passes`.
pub fn all_pass<E>(
    filters: &[Filter],
    mut passes: impl FnMut(&Filter) -> Result<bool, E>,
) -> Result<bool, E> {
    for filter in filters {
        let mut alike = filters.iter().filter(|one| one.name == filter.name);
        let fits = match filter.name.as_str() {
            "label" => passes(filter)?,
            _ => alike.try_fold(false, |fits, one| Ok::<_, E>(fits || passes(one)?))?,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Filter {
    /// The value as a regular expression that is found somewhere in a name, as Docker's.
    ///
    /// # Errors
    /// One that cannot be read, where Docker finds nothing.
    pub fn names(&self, name: &str) -> Result<bool> {
        let expression = Regex::new(&self.value).map_err(|error| {
            let problem = format!("cannot be read as a regular expression: {error}");
            Error::field(Field::Filters, self.text(), problem)
        })?;
        Ok(expression.is_match(name))
    }

    /// `NAME` or `NAME=VALUE` among labels.
    pub fn has_label(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = match self.value.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
            None => labels.contains_key(&self.value),
        };
        has != self.excludes
    }

    /// Whether something was made before the time that the value says: RFC 3339, seconds since
    /// 1970, or how long ago, as in 24h.
    ///
    /// # Errors
    /// The value is no time.
    pub fn is_before(&self, created: Option<clock::Instant>) -> Result<bool> {
        let text = self.value.as_str();
        let time =
            clock::instant(text).or_else(|| clock::seconds(text)).or_else(|| clock::ago(text));
        let time = time.ok_or_else(|| {
            let problem = "must be a time such as 2026-01-02T15:04:05Z, 1767366245 or 24h";
            Error::field(Field::Filters, self.text(), problem)
        })?;
        Ok(created.is_some_and(|created| created < time))
    }

    /// The value, which must be one of several.
    ///
    /// # Errors
    /// Anything else.
    pub fn one_of(&self, known: &[&str]) -> Result<&str> {
        match known.contains(&self.value.as_str()) {
            true => Ok(&self.value),
            false => {
                let problem = format!("must be one of {}", known.join(", "));
                Err(Error::field(Field::Filters, self.text(), problem))
            }
        }
    }

    /// A boolean as Go reads it.
    ///
    /// # Errors
    /// Anything else.
    pub fn truth(&self) -> Result<bool> {
        parse_bool(self.value.as_bytes())
            .ok_or_else(|| Error::field(Field::Filters, self.text(), "must be true or false"))
    }
}

/// A boolean in the words that Go's strconv.ParseBool takes.
pub fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// Labels in one column.
pub fn joined(labels: &BTreeMap<String, String>) -> String {
    let each = labels.iter().map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(",")
}

/// `*` for any number of characters but slashes, `?` for one (Go's path.Match, without classes).
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // Which lengths of the text the pattern so far can stand for.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        next[0] = wanted == '*' && fits[0];
        for (at, found) in text.iter().enumerate() {
            next[at + 1] = match wanted {
                '*' => fits[at + 1] || (next[at] && *found != '/'),
                '?' => fits[at] && *found != '/',
                wanted => fits[at] && wanted == *found,
            };
        }
        fits = next;
    }
    fits[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_regular_expressions() {
        for (value, name, fits) in [
            ("^w", "w1", true),
            ("w[0-9]$", "app-web", false),
            ("(app|x)-", "app-web", true),
            ("W1", "w1", false),
            ("a.*b", "app-web", true),
            ("eb$", "app-web", true),
        ] {
            assert_eq!(Filter::new("name", value).names(name).unwrap(), fits, "{value} {name}");
        }
        let error = check(&[Filter::new("name", "[")], &["name"]).unwrap_err().to_string();
        assert!(error.contains("regular expression"), "{error}");
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("bb", "bb", true),
            ("b*", "bb", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("", "", true),
            ("**", "ab", true),
            ("a*c*e", "abcde", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
