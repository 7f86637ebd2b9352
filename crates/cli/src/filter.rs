//! `--filter NAME=VALUE` of the lists.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use husk_engine::clock;

/// One filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    whole: &'a str,
    /// `label!=`: not what has it.
    excludes: bool,
}

/// Reads them.
///
/// # Errors
/// A name that is not one of `known`, a time or a boolean that is none.
pub(super) fn parse<'a>(texts: &'a [String], known: &[&str]) -> Result<Vec<Filter<'a>>> {
    let one = |whole: &'a String| {
        let parts = whole.split_once('=');
        let (name, value) =
            parts.ok_or_else(|| Error::Usage(format!("--filter {whole:?}: must be NAME=VALUE")))?;
        // `label!=` excludes.
        let (name, excludes) = match name.strip_suffix('!') {
            Some(bare) if bare == "label" => (bare, true),
            _ => (name, false),
        };
        match known.contains(&name) {
            true => Ok(Filter { name, value, whole, excludes }),
            false => {
                let problem =
                    format!("invalid filter {name:?}: must be one of {}", known.join(", "));
                Err(Error::flag("--filter", whole, problem))
            }
        }
    };
    let filters: Vec<Filter<'a>> = texts.iter().map(one).collect::<Result<_>>()?;
    // A wrong value is refused also where there is nothing to filter.
    for filter in &filters {
        match filter.name {
            "until" => drop(filter.is_before(None)?),
            "dangling" | "is-task" => drop(filter.truth()?),
            _ => {}
        }
    }
    Ok(filters)
}

/// Whether something passes: each of its labels, and for any other name one of the values
/// that were given for it, as Docker's.
///
/// # Errors
/// Those of `passes`.
pub(super) fn all_pass<'a>(
    filters: &[Filter<'a>],
    mut passes: impl FnMut(&Filter<'a>) -> Result<bool>,
) -> Result<bool> {
    for filter in filters {
        let mut alike = filters.iter().filter(|one| one.name == filter.name);
        let fits = match filter.name {
            "label" => passes(filter)?,
            _ => alike.try_fold(false, |fits, one| Ok::<_, Error>(fits || passes(one)?))?,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Filter<'_> {
    /// The value in a name, or at its beginning with `^`, at its end with `$`: of Docker's
    /// regular expressions what is used for names.
    ///
    /// # Errors
    /// More of a regular expression.
    pub(super) fn names(&self, name: &str) -> Result<bool> {
        let begins = self.value.strip_prefix('^');
        let plain = begins.unwrap_or(self.value);
        let plain = plain.strip_prefix('/').unwrap_or(plain);
        let ends = plain.strip_suffix('$');
        let plain = ends.unwrap_or(plain);
        if plain.contains(['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$']) {
            let problem = "only ^ and $ of regular expressions are supported";
            return Err(Error::flag("--filter", self.whole, problem));
        }
        Ok(match (begins.is_some(), ends.is_some()) {
            (true, true) => name == plain,
            (true, false) => name.starts_with(plain),
            (false, true) => name.ends_with(plain),
            (false, false) => name.contains(plain),
        })
    }

    /// `NAME` or `NAME=VALUE` among labels.
    pub(super) fn has_label(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = match self.value.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
            None => labels.contains_key(self.value),
        };
        has != self.excludes
    }

    /// Whether something was made before the time that the value says: RFC 3339, seconds since
    /// 1970, or how long ago, as in 24h.
    ///
    /// # Errors
    /// The value is no time.
    pub(super) fn is_before(&self, created: Option<clock::Instant>) -> Result<bool> {
        let text = self.value;
        let time =
            clock::instant(text).or_else(|| clock::seconds(text)).or_else(|| clock::ago(text));
        let time = time.ok_or_else(|| {
            let problem = "must be a time such as 2026-01-02T15:04:05Z, 1767366245 or 24h";
            Error::flag("--filter", self.whole, problem)
        })?;
        Ok(created.is_some_and(|created| created < time))
    }

    /// The value, which must be one of several.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn one_of(&self, known: &[&str]) -> Result<&str> {
        match known.contains(&self.value) {
            true => Ok(self.value),
            false => {
                let problem = format!("must be one of {}", known.join(", "));
                Err(Error::flag("--filter", self.whole, problem))
            }
        }
    }

    /// A boolean as Go reads it.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn truth(&self) -> Result<bool> {
        crate::rules::parse_bool(self.value.as_bytes())
            .ok_or_else(|| Error::flag("--filter", self.whole, "must be true or false"))
    }
}

/// Labels in one column.
pub(super) fn joined(labels: &BTreeMap<String, String>) -> String {
    let each = labels.iter().map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(",")
}

/// `*` for any number of characters but slashes, `?` for one (Go's path.Match, without classes).
pub(super) fn matches(pattern: &str, text: &str) -> bool {
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
