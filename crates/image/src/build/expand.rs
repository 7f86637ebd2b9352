//! Words of a Dockerfile: splitting, quotes, and variables (Dockerfile reference,
//! "Environment replacement").

use super::substitute::{Glob, Operation, substitute};

/// What is wrong with a word, at a byte offset in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WordError {
    /// Where in the word.
    pub(crate) offset: usize,
    /// What.
    pub(crate) message: String,
}

fn wrong(offset: usize, message: impl Into<String>) -> WordError {
    WordError { offset, message: message.into() }
}

/// Splits at blanks outside of quotes; gives each word, quotes and all, with its offset.
pub(crate) fn words(text: &str, escape: char) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (offset, character) in text.char_indices() {
        if quote.is_none() && !escaped && character.is_whitespace() {
            if let Some(start) = start.take() {
                found.extend(text.get(start..offset).map(|word| (start, word)));
            }
            continue;
        }
        start.get_or_insert(offset);
        match (quote, character) {
            _ if escaped => escaped = false,
            (open, character) if character == escape && open != Some('\'') => escaped = true,
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            _ => {}
        }
    }
    if let Some(start) = start {
        found.extend(text.get(start..).map(|word| (start, word)));
    }
    found
}

/// Bytes that variables may add to a word: one that doubles itself is gigabytes after
/// thirty lines, and the kernel takes 128 kB for one variable of a program.
const MAX_GROWTH: usize = 1 << 20;

/// Removes quotes and replaces variables. `lookup` gives a variable's value.
///
/// # Errors
/// [`WordError`] for an open quote or brace, and for a modifier that is not known.
pub(crate) fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, WordError> {
    let mut parser = Parser { word, at: 0, escape, lookup, depth: 0 };
    parser.until(None)
}

struct Parser<'a> {
    word: &'a str,
    at: usize,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: u32,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.word.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Up to `end`, which stays, or the end of the word.
    fn until(&mut self, end: Option<char>) -> Result<String, WordError> {
        let mut out = String::new();
        while let Some(character) = self.peek() {
            if Some(character) == end {
                break;
            }
            let start = self.at;
            self.next();
            match character {
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(inner) => out.push(inner),
                        None => return Err(wrong(start, "this quote has no end")),
                    }
                },
                '"' => self.double_quoted(start, &mut out)?,
                '$' => self.insert(start, &mut out)?,
                character if character == self.escape => match self.next() {
                    Some(next) => out.push(next),
                    None => out.push(character),
                },
                character => out.push(character),
            }
        }
        Ok(out)
    }

    fn double_quoted(&mut self, start: usize, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.next() {
                None => return Err(wrong(start, "this quote has no end")),
                Some('"') => return Ok(()),
                Some('$') => self.insert(start, out)?,
                Some(character) if character == self.escape => match self.next() {
                    Some(next @ ('"' | '$')) => out.push(next),
                    Some(next) if next == self.escape => out.push(next),
                    Some(next) => out.extend([character, next]),
                    None => return Err(wrong(start, "this quote has no end")),
                },
                Some(character) => out.push(character),
            }
        }
    }

    /// After a `$`: adds the variable's value.
    fn insert(&mut self, start: usize, out: &mut String) -> Result<(), WordError> {
        out.push_str(&self.variable()?);
        match out.len() > self.word.len() + MAX_GROWTH {
            true => Err(wrong(start, "its variables make it longer by more than 1 MiB")),
            false => Ok(()),
        }
    }

    /// After a `$`.
    fn variable(&mut self) -> Result<String, WordError> {
        let start = self.at.saturating_sub(1);
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => (self.lookup)(&name).unwrap_or_default(),
            });
        }
        self.next();
        self.depth += 1;
        if self.depth > 20 {
            return Err(wrong(start, "variables are nested too deep"));
        }
        let name = self.name();
        if name.is_empty() {
            return Err(wrong(start, "${ needs a variable's name"));
        }
        let value = (self.lookup)(&name);
        let (colon, operator) = match self.next() {
            Some('}') => {
                self.depth -= 1;
                return Ok(value.unwrap_or_default());
            }
            Some(':') => (true, self.next()),
            Some(sign @ ('#' | '%' | '/')) => {
                let value = self.substituted(start, sign, &value.unwrap_or_default())?;
                self.depth -= 1;
                return Ok(value);
            }
            other => (false, other),
        };
        let at = self.at;
        let operand = self.until(Some('}'))?;
        if self.next() != Some('}') {
            return Err(wrong(start, "this ${ has no }"));
        }
        self.depth -= 1;
        let set = value.filter(|value| !colon || !value.is_empty());
        match operator {
            Some('-') => Ok(set.unwrap_or(operand)),
            Some('+') => Ok(if set.is_some() { operand } else { String::new() }),
            Some('?') => set.ok_or_else(|| {
                let text = if operand.is_empty() { "is not set" } else { &operand };
                wrong(start, format!("{name}: {text}"))
            }),
            _ => Err(wrong(
                at.saturating_sub(1),
                "a modifier is one of :- :+ :? - + ? # ## % %% / //",
            )),
        }
    }

    /// After `${name` and one of `#`, `%` and `/`, up to and with the brace.
    fn substituted(&mut self, start: usize, sign: char, value: &str) -> Result<String, WordError> {
        let double = self.peek() == Some(sign);
        if double {
            self.next();
        }
        let operation = match sign {
            '#' => Operation::RemoveStart { longest: double },
            '%' => Operation::RemoveEnd { longest: double },
            _ => Operation::Replace { all: double },
        };
        let replaces = sign == '/';
        let pattern = self.pattern(if replaces { "/}" } else { "}" })?;
        let mut replacement = String::new();
        // Without a second slash what matches is removed, as in a shell.
        if replaces && self.peek() == Some('/') {
            self.next();
            replacement = self.until(Some('}'))?;
        }
        match self.next() {
            Some('}') => Ok(substitute(value, operation, &pattern, &replacement)),
            _ => Err(wrong(start, "this ${ has no }")),
        }
    }

    /// A pattern up to one of `ends`, which stays.
    fn pattern(&mut self, ends: &str) -> Result<Vec<Glob>, WordError> {
        let mut parts = Vec::new();
        while let Some(character) = self.peek().filter(|next| !ends.contains(*next)) {
            let start = self.at;
            self.next();
            match character {
                '$' => parts.extend(self.variable()?.chars().map(Glob::of)),
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(inner) => parts.push(Glob::Literal(inner)),
                        None => return Err(wrong(start, "this quote has no end")),
                    }
                },
                '"' => {
                    let mut inner = String::new();
                    self.double_quoted(start, &mut inner)?;
                    parts.extend(inner.chars().map(Glob::Literal));
                }
                character if character == self.escape => {
                    parts.push(Glob::Literal(self.next().unwrap_or(character)));
                }
                character => parts.push(Glob::of(character)),
            }
        }
        Ok(parts)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.peek() {
            let digit = character.is_ascii_digit();
            if !(character.is_ascii_alphabetic() || character == '_' || digit) {
                break;
            }
            // $12 is $1 and a 2.
            if digit && name.is_empty() {
                self.next();
                return character.to_string();
            }
            name.push(character);
            self.next();
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(word: &str) -> Result<String, WordError> {
        expand(word, '\\', &|name| match name {
            "A" => Some("a".into()),
            "EMPTY" => Some(String::new()),
            "SP" => Some("x y".into()),
            "PATH" => Some("/usr/lib/x.tar.gz".into()),
            "GLOB" => Some("*/".into()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_quotes() {
        for (word, expected) in [
            ("$A/b", "a/b"),
            ("${A}b", "ab"),
            ("$Ab", ""),
            ("'$A'", "$A"),
            ("\"$A\"", "a"),
            ("\\$A", "$A"),
            ("\"\\$A \\x \\\"\"", "$A \\x \""),
            ("a\\ b", "a b"),
            ("${B:-x$A}", "xa"),
            ("${B:-${C:-deep}}", "deep"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${A:+y}", "y"),
            ("${EMPTY:+y}", ""),
            ("${EMPTY+y}", "y"),
            ("${A:?no}", "a"),
            ("$SP", "x y"),
            ("$", "$"),
            ("a$", "a$"),
            ("$1x", "x"),
            ("ü$A", "üa"),
            ("", ""),
        ] {
            assert_eq!(run(word).unwrap(), expected, "{word}");
        }
    }

    #[test]
    fn patterns_remove_and_replace() {
        for (word, expected) in [
            ("${PATH#*/}", "usr/lib/x.tar.gz"),
            ("${PATH##*/}", "x.tar.gz"),
            ("${PATH%.*}", "/usr/lib/x.tar"),
            ("${PATH%%.*}", "/usr/lib/x"),
            ("${PATH#none}", "/usr/lib/x.tar.gz"),
            ("${PATH%none}", "/usr/lib/x.tar.gz"),
            ("${PATH#/u?r}", "/lib/x.tar.gz"),
            ("${PATH#\\*/}", "/usr/lib/x.tar.gz"),
            ("${PATH#'*'/}", "/usr/lib/x.tar.gz"),
            ("${PATH##$GLOB}", "x.tar.gz"),
            ("${PATH##\"$GLOB\"}", "/usr/lib/x.tar.gz"),
            ("${PATH/r/R}", "/usR/lib/x.tar.gz"),
            ("${PATH//r/R}", "/usR/lib/x.taR.gz"),
            ("${PATH/.*/}", "/usr/lib/x"),
            ("${PATH/lib}", "/usr//x.tar.gz"),
            ("${PATH//[/]/x}", "/usr/lib/x.tar.gz"),
            ("${PATH/lib/$A-${B:-b}}", "/usr/a-b/x.tar.gz"),
            ("${PATH//\\//_}", "_usr_lib_x.tar.gz"),
            ("${PATH//}", "/usr/lib/x.tar.gz"),
            ("${A/a/amd64}", "amd64"),
            ("${NONE#x}-${EMPTY/x/y}", "-"),
            ("\"${PATH%/*}\"", "/usr/lib"),
        ] {
            assert_eq!(run(word).unwrap(), expected, "{word}");
        }
    }

    #[test]
    fn malformed_words_say_where() {
        for (word, offset, text) in [
            ("ab'c", 2, "quote"),
            ("\"c", 0, "quote"),
            ("x${A", 1, "no }"),
            ("${}", 0, "name"),
            ("${A^x}", 3, "modifier"),
            ("${A#x", 0, "no }"),
            ("${A/x", 0, "no }"),
            ("${A/'x/y}", 4, "quote"),
            ("${B:?gone}", 0, "B: gone"),
        ] {
            let error = run(word).unwrap_err();
            assert!(error.message.contains(text), "{word}: {error:?}");
            assert_eq!(error.offset, offset, "{word}");
        }
        assert!(run(&"${A:-".repeat(100)).is_err());
    }

    #[test]
    fn no_word_grows_without_end() {
        let lookup = |_: &str| Some("x".repeat(1 << 10));
        let long = |count: usize, quote: &str| {
            expand(&format!("{quote}{}{quote}", "$A".repeat(count)), '\\', &lookup)
        };
        for quote in ["", "\""] {
            assert_eq!(long(1000, quote).unwrap().len(), 1000 << 10);
            assert!(long(2000, quote).unwrap_err().message.contains("1 MiB"));
        }
    }

    #[test]
    fn words_keep_quotes_together() {
        let text = r#"a="b c" d\ e 'f g'h  i"#;
        let found: Vec<&str> = words(text, '\\').into_iter().map(|(_, word)| word).collect();
        assert_eq!(found, [r#"a="b c""#, r"d\ e", "'f g'h", "i"]);
    }
}
