//! `.dockerignore`: which files of the context are not there for a build.
//!
//! Patterns are Go's filepath.Match with `**`, matched against the path and each of its
//! parents; the last pattern that matches decides, and `!` brings back.

/// The patterns of a `.dockerignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    parts: Vec<Vec<char>>,
    keeps: bool,
}

/// A pattern that cannot be matched, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {pattern:?} is not a pattern: {problem}")]
pub struct PatternError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The pattern.
    pub pattern: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// Largest number of patterns; more make matching slow.
const MAX_PATTERNS: usize = 10_000;

impl Ignore {
    /// Parses the text of `file`.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(file: &str, text: &str) -> Result<Ignore, PatternError> {
        let mut patterns = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, raw) in text.lines().enumerate() {
            let trimmed = raw.trim();
            if trimmed.is_empty() || raw.starts_with('#') {
                continue;
            }
            let error = |problem| PatternError {
                file: file.to_owned(),
                line: index + 1,
                pattern: crate::digest::clip(trimmed),
                problem,
            };
            let (keeps, body) = match trimmed.strip_prefix('!') {
                Some(body) => (true, body.trim()),
                None => (false, trimmed),
            };
            if body.is_empty() {
                return Err(error("nothing after the !"));
            }
            let parts = clean(body);
            for part in &parts {
                check(part).map_err(error)?;
            }
            if patterns.len() >= MAX_PATTERNS {
                return Err(error("more than 10000 patterns"));
            }
            if !parts.is_empty() {
                patterns.push(Pattern { parts, keeps });
            }
        }
        Ok(Ignore { patterns })
    }

    /// Whether `path`, relative to the context, is left out.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let parts: Vec<Vec<char>> = clean(path);
        let mut ignored = false;
        for pattern in &self.patterns {
            if pattern.keeps != ignored {
                continue;
            }
            let parents = 1..=parts.len();
            let hit = parents
                .rev()
                .any(|end| matches(&pattern.parts, parts.get(..end).unwrap_or_default()));
            if hit {
                ignored = !pattern.keeps;
            }
        }
        ignored
    }

    /// Whether an ignored directory must be walked all the same, because a later `!`
    /// may bring back something below it.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keeps)
    }
}

fn clean(path: &str) -> Vec<Vec<char>> {
    let mut parts: Vec<Vec<char>> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.chars().collect()),
        }
    }
    parts
}

fn check(pattern: &[char]) -> Result<(), &'static str> {
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            '\\' => rest = rest.split_first().ok_or("a \\ at its end")?.1,
            '[' => {
                let end = class_end(rest).ok_or("a [ without a ]")?;
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the `]` of a class is, after its `[`.
fn class_end(class: &[char]) -> Option<usize> {
    let start = usize::from(class.first() == Some(&'^'));
    let mut at = start;
    loop {
        match class.get(at)? {
            ']' if at > start => return Some(at),
            ']' => return None,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether a pattern (cleaned parts) matches a whole path.
fn matches(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
    // Row by row as for wildcards in a text: no pattern makes this exponential.
    let mut row = vec![false; path.len() + 1];
    row[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        let any_depth = part.as_slice() == ['*', '*'];
        for at in 0..=path.len() {
            let here = row.get(at).copied().unwrap_or_default();
            next[at] = match (any_depth, at.checked_sub(1)) {
                (true, None) => here,
                (true, Some(before)) => here || next[before],
                (false, None) => false,
                (false, Some(before)) => row[before] && matches_name(part, &path[before]),
            };
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Go's filepath.Match of one component.
pub(crate) fn matches_name(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if let Some('*') = pattern.get(p) {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return true;
        }
        if let (Some(character), Some(length)) = (name.get(n), one(pattern, p, name.get(n)))
            && *character != '/'
        {
            p += length;
            n += 1;
            continue;
        }
        // Let the last star take one more character.
        match star {
            Some((at, from)) if from < name.len() => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
}

/// How long the pattern element at `at` is, if it matches the character.
fn one(pattern: &[char], at: usize, character: Option<&char>) -> Option<usize> {
    let character = *character?;
    match pattern.get(at)? {
        '?' => Some(1),
        '\\' => (pattern.get(at + 1) == Some(&character)).then_some(2),
        '[' => {
            let class = pattern.get(at + 1..)?;
            let end = class_end(class)?;
            in_class(class.get(..end)?, character).then_some(end + 2)
        }
        literal => (*literal == character).then_some(1),
    }
}

fn in_class(class: &[char], character: char) -> bool {
    let (negated, mut rest) = match class.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    while let Some((low, after)) = take(rest) {
        let (high, after) = match after.split_first() {
            Some(('-', after)) => take(after).unwrap_or((low, after)),
            _ => (low, after),
        };
        found |= (low..=high).contains(&character);
        rest = after;
    }
    found != negated
}

fn take(rest: &[char]) -> Option<(char, &[char])> {
    match rest.split_first()? {
        ('\\', after) => after.split_first().map(|(next, after)| (*next, after)),
        (next, after) => Some((*next, after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_decides() {
        let text = "# comment\n\n/target/\n*.log\n!keep.log\n**/node_modules\ndocs/**/*.md\n!docs/README.md\nsrc/[a-c]?.rs\n/a/../b\n";
        let ignore = Ignore::parse(".dockerignore", text).unwrap();
        for (path, expected) in [
            ("target", true),
            ("target/debug/x", true),
            ("x/target", false),
            ("a.log", true),
            ("dir/a.log", false),
            ("keep.log", false),
            ("node_modules/x", true),
            ("a/b/node_modules/c", true),
            ("docs/x.md", true),
            ("docs/a/b/x.md", true),
            ("docs/README.md", false),
            ("src/b1.rs", true),
            ("src/d1.rs", false),
            ("src/b12.rs", false),
            ("b", true),
            ("a", false),
            ("# comment", false),
        ] {
            assert_eq!(ignore.is_ignored(path), expected, "{path}");
        }
        assert!(ignore.has_exceptions());
    }

    #[test]
    fn everything_but_is_a_common_form() {
        let ignore = Ignore::parse("f", "*\n!src\n!Cargo.toml\nsrc/secret\n").unwrap();
        assert!(ignore.is_ignored("a") && ignore.is_ignored("src/secret/x"));
        assert!(!ignore.is_ignored("src/main.rs") && !ignore.is_ignored("Cargo.toml"));
    }

    #[test]
    fn malformed_patterns_are_named() {
        for (text, line) in [("ok\n[a", 2), ("a\\", 1), ("!", 1), ("[]a]", 1)] {
            let error = Ignore::parse("f", text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn names_match_as_in_go_and_without_explosion() {
        let m = |pattern: &str, name: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            matches_name(&chars(pattern), &chars(name))
        };
        assert!(m("*", "") && m("a*b*c", "aXbYc") && m("\\*", "*") && m("[^a]", "b"));
        assert!(m("[\\]]", "]") && m("[a-]", "a"));
        assert!(!m("a", "ab") && !m("[^a]", "a") && !m("?", "") && !m("*a", "b"));
        assert!(!m(&"*a".repeat(30), &"a".repeat(29)));
        assert!(!m(&format!("{}b", "a*".repeat(40)), &"a".repeat(200)));
    }
}
