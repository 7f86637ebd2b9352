//! `--filter NAME=VALUE` of the lists.

use std::collections::BTreeMap;

use husk_engine::error::{Error, Result};

/// One filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    whole: &'a str,
}

/// Reads them.
///
/// # Errors
/// One that is none of `known`.
pub(super) fn parse<'a>(texts: &'a [String], known: &[&str]) -> Result<Vec<Filter<'a>>> {
    let one = |whole: &'a String| {
        let parts = whole.split_once('=');
        let (name, value) =
            parts.ok_or_else(|| Error::flag("--filter", whole, "is not NAME=VALUE"))?;
        match known.contains(&name) {
            true => Ok(Filter { name, value, whole }),
            false => {
                let problem = format!("only {} are built yet", known.join(", "));
                Err(Error::flag("--filter", whole, problem))
            }
        }
    };
    texts.iter().map(one).collect()
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
            let problem = "of regular expressions only ^ and $ are built";
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
        match self.value.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
            None => labels.contains_key(self.value),
        }
    }

    /// As Go reads a truth.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn truth(&self) -> Result<bool> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Error::flag("--filter", self.whole, "is neither true nor false")),
        }
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
