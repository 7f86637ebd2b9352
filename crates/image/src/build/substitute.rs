//! Patterns in variables: `${name#pattern}`, `${name%pattern}`, `${name/pattern/text}`
//! (Dockerfile reference, "Environment replacement").

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glob {
    /// `?`.
    One,
    /// `*`.
    Any,
    /// Itself.
    Literal(char),
}

impl Glob {
    /// A character that nothing makes literal.
    pub(super) fn of(character: char) -> Glob {
        match character {
            '?' => Glob::One,
            '*' => Glob::Any,
            other => Glob::Literal(other),
        }
    }
}

/// What is done with a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `#`, and `##` for the longest.
    RemoveStart { longest: bool },
    /// `%`, and `%%` for the longest.
    RemoveEnd { longest: bool },
    /// `/`, and `//` for all.
    Replace { all: bool },
}

/// Where a match that begins at the start of `text` may end.
fn ends(pattern: &[Glob], text: &[char]) -> Vec<usize> {
    let mut at = vec![0];
    for part in pattern {
        at = match part {
            Glob::Any => at.first().map_or(Vec::new(), |least| (*least..=text.len()).collect()),
            Glob::One => {
                at.into_iter().filter(|end| *end < text.len()).map(|end| end + 1).collect()
            }
            Glob::Literal(wanted) => {
                let fits = |end: &usize| text.get(*end) == Some(wanted);
                at.into_iter().filter(fits).map(|end| end + 1).collect()
            }
        };
    }
    at
}

/// Applies an operation to a variable's value.
pub(super) fn substitute(
    value: &str,
    operation: Operation,
    pattern: &[Glob],
    replacement: &str,
) -> String {
    let text: Vec<char> = value.chars().collect();
    let rest = |from: usize| text.get(from..).unwrap_or_default();
    let string = |part: &[char]| part.iter().collect::<String>();
    match operation {
        Operation::RemoveStart { longest } => {
            let found = ends(pattern, &text);
            let end = if longest { found.last() } else { found.first() };
            string(rest(end.copied().unwrap_or(0)))
        }
        Operation::RemoveEnd { longest } => {
            let reaches =
                |start: &usize| ends(pattern, rest(*start)).last() == Some(&(text.len() - start));
            let mut starts = (0..=text.len()).filter(reaches);
            let start = if longest { starts.next() } else { starts.next_back() };
            string(text.get(..start.unwrap_or(text.len())).unwrap_or_default())
        }
        Operation::Replace { all } => {
            let (mut out, mut at) = (String::new(), 0);
            while at < text.len() {
                match ends(pattern, rest(at)).last().copied().filter(|length| *length > 0) {
                    Some(length) => {
                        out.push_str(replacement);
                        at += length;
                        if !all {
                            break;
                        }
                    }
                    None => {
                        out.extend(text.get(at));
                        at += 1;
                    }
                }
            }
            out + &string(rest(at))
        }
    }
}
