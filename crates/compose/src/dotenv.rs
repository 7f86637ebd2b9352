//! `.env` and `env_file`: `NAME=value`, with quotes, comments and variables.

use std::collections::BTreeMap;

use crate::interpolate::Variables;

/// What a file gave, in its order; `None` where a name stands alone and has no value.
pub(crate) type Pairs = BTreeMap<String, String>;

/// A malformed line: its number and what is wrong.
pub(crate) type Malformed = (usize, String);

/// Reads a file. `lookup` is the environment that names without a value and variables in
/// values come from; `earlier` is asked for variables that neither has.
///
/// # Errors
/// The first malformed line.
pub(crate) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    earlier: &dyn Fn(&str) -> Option<String>,
) -> Result<Pairs, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut pairs = Pairs::new();
    let mut rest = text.as_str();
    let line_of = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(pairs);
        }
        if rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, next)| next);
            continue;
        }
        let line = line_of(rest);
        let (name, next) = key(rest).map_err(|problem| (line, problem))?;
        match next {
            // A name alone: what the environment has.
            None => {
                if let Some(value) = lookup(name) {
                    pairs.insert(name.to_owned(), value);
                }
                rest = rest.split_once('\n').map_or("", |(_, next)| next);
            }
            Some(after) => {
                let (value, next) = {
                    let known = |name: &str| {
                        lookup(name).or_else(|| pairs.get(name).cloned()).or_else(|| earlier(name))
                    };
                    value(after, &known).map_err(|problem| (line, problem))?
                };
                pairs.insert(name.to_owned(), value);
                rest = next;
            }
        }
    }
}

/// The name, and what follows its `=`.
fn key(text: &str) -> Result<(&str, Option<&str>), String> {
    let text = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start_matches([' ', '\t']),
        _ => text,
    };
    for (index, c) in text.char_indices() {
        match c {
            '=' | ':' => {
                let name = text[..index].trim_end();
                return match name.contains([' ', '\t']) || name.is_empty() {
                    true => Err(format!("{name:?} is not a name of a variable")),
                    false => Ok((name, Some(text[index + 1..].trim_start_matches([' ', '\t'])))),
                };
            }
            '\n' => return alone(&text[..index]),
            c if c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']' | ' ' | '\t') => {}
            c => return Err(format!("unexpected character {c:?} in the name of a variable")),
        }
    }
    alone(text)
}

fn alone(name: &str) -> Result<(&str, Option<&str>), String> {
    let name = name.trim_end();
    match name.contains([' ', '\t']) {
        true => Err(format!("{name:?} is not a name of a variable")),
        false => Ok((name, None)),
    }
}

fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    Variables::new(lookup).replace(text)
}

/// The value that `text` begins with, and what follows it.
fn value<'a>(
    text: &'a str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, &'a str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let (line, next) = text.split_once('\n').unwrap_or((text, ""));
        let end = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
        let plain = if line.starts_with('#') { "" } else { line[..end].trim_end() };
        return Ok((expand(plain, lookup)?, next));
    };
    let inner = &text[1..];
    let mut escaped = false;
    for (index, c) in inner.char_indices() {
        if c == quote && !escaped {
            let (value, next) = (&inner[..index], &inner[index + 1..]);
            let value = match quote {
                '"' => expand(&escapes(value), lookup)?,
                _ => value.to_owned(),
            };
            // Only a comment may follow.
            let (tail, next) = next.split_once('\n').unwrap_or((next, ""));
            let tail = tail.trim();
            return match tail.is_empty() || tail.starts_with('#') {
                true => Ok((value, next)),
                false => Err(format!("unexpected {tail:?} after a quoted value")),
            };
        }
        escaped = c == '\\' && !escaped;
    }
    Err(format!("the quote {quote} is not closed"))
}

/// The escapes of a double-quoted value; a `\$` stays a plain dollar sign.
fn escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let lookup = |name: &str| (name == "OUT").then(|| "out".to_owned());
        parse(text, &lookup, &|_| None).map(|pairs| pairs.into_iter().collect())
    }

    #[test]
    fn values() {
        let text = "# c\nA=1\nexport B = two words # c\nC='$A #x'\nD=\"$A\\n${B}\"\nOUT\nNO\nE=\nF=a#b\nG: y\n";
        let pairs = read(text).unwrap();
        let get = |name: &str| pairs.iter().find(|(one, _)| one == name).map(|(_, v)| v.as_str());
        assert_eq!(get("A"), Some("1"));
        assert_eq!(get("B"), Some("two words"));
        assert_eq!(get("C"), Some("$A #x"));
        assert_eq!(get("D"), Some("1\ntwo words"));
        assert_eq!(get("OUT"), Some("out"));
        assert_eq!(get("NO"), None);
        assert_eq!(get("E"), Some(""));
        assert_eq!(get("F"), Some("a#b"));
        assert_eq!(get("G"), Some("y"));
    }

    #[test]
    fn mistakes() {
        assert_eq!(read("A=1\nB='x\n").unwrap_err().0, 2);
        assert_eq!(read("A B=1\n").unwrap_err().0, 1);
        assert!(read("A!=1").is_err());
        assert!(read("=1").is_err());
    }
}
