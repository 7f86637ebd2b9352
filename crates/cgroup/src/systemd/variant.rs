//! Values of `org.systemd.property.*` annotations, in the text form of GVariant
//! that `busctl` and other runtimes take: `true`, `uint64 5`, `'text'`, `['a', 'b']`.

use super::wire::Value;

/// Reads one value; the error is what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    let value = reader.value()?;
    match reader.rest.trim() {
        "" => Ok(value),
        rest => Err(format!("{rest:?} is left over")),
    }
}

/// Deepest nesting of lists and type words: annotations may well come from an image.
const MAX_DEPTH: u32 = 8;

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        self.depth += 1;
        let value = self.value_inside();
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self) -> Result<Value, String> {
        if self.eat('@') {
            let kind = self.word();
            return match (kind.as_str(), self.value()?) {
                ("as", value @ Value::Texts(_)) => Ok(value),
                ("au", Value::Texts(none)) if none.is_empty() => Ok(Value::Numbers(Vec::new())),
                (kind, Value::I32(value)) => number(kind, &value.to_string()),
                (kind, _) => Err(format!("a value of type @{kind} is not supported")),
            };
        }
        match self.rest.chars().next() {
            Some('[') => self.array(),
            Some('\'' | '"') => self.text().map(Value::Text),
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Result<Value, String> {
        let word = self.word();
        match word.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "" => Err("a value is missing".to_owned()),
            kind @ ("byte" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "uint64"
            | "double") => {
                let digits = self.word();
                number(kind, &digits)
            }
            "boolean" | "string" => self.value(),
            digits if digits.contains('.') => number("double", digits),
            digits => number("int32", digits),
        }
    }

    fn array(&mut self) -> Result<Value, String> {
        self.eat('[');
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        while !self.eat(']') {
            match self.value()? {
                Value::Text(text) => texts.push(text),
                Value::U32(value) => numbers.push(value),
                Value::I32(value) => {
                    let value = u32::try_from(value).map_err(|_| "a negative number in a list")?;
                    numbers.push(value);
                }
                _ => return Err("lists hold text or numbers".to_owned()),
            }
            if !self.eat(',') && !self.rest.trim_start().starts_with(']') {
                return Err("a list has no end".to_owned());
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (_, true) => Ok(Value::Texts(texts)),
            (true, false) => Ok(Value::Numbers(numbers)),
            (false, false) => Err("a list of text and numbers".to_owned()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let mut letters = self.rest.chars();
        let quote = letters.next();
        let mut text = String::new();
        loop {
            match letters.next() {
                None => return Err("text without its closing quote".to_owned()),
                letter if letter == quote => break,
                Some('\0') => return Err("text with a NUL byte, which D-Bus cannot carry".into()),
                Some('\\') => text.push(match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(letter @ ('\\' | '\'' | '"')) => letter,
                    other => return Err(format!("the escape {other:?} is not supported")),
                }),
                Some(letter) => text.push(letter),
            }
        }
        self.rest = letters.as_str();
        Ok(text)
    }

    fn eat(&mut self, letter: char) -> bool {
        match self.rest.trim_start().strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> String {
        let start = self.rest.trim_start();
        let end = start
            .find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-._".contains(letter))
            .unwrap_or(start.len());
        let (word, rest) = start.split_at(end);
        self.rest = rest.trim_start();
        word.to_owned()
    }
}

fn number(kind: &str, digits: &str) -> Result<Value, String> {
    let wrong = || format!("{digits:?} is no {kind}");
    if matches!(kind, "double" | "d") {
        return digits.parse().map(Value::Double).map_err(|_| wrong());
    }
    let negative = digits.strip_prefix('-');
    let plain = negative.or(digits.strip_prefix('+')).unwrap_or(digits);
    // A second sign is none of a number's letters; std would take it.
    let (radix, plain) = plain.strip_prefix("0x").map_or((10, plain), |hex| (16, hex));
    let magnitude = match plain.starts_with(['+', '-']) {
        true => return Err(wrong()),
        false => i128::from_str_radix(plain, radix).map_err(|_| wrong())?,
    };
    let value = if negative.is_some() { -magnitude } else { magnitude };
    match kind {
        "byte" | "y" => value.try_into().map(Value::Byte),
        "int16" | "n" => value.try_into().map(Value::I16),
        "uint16" | "q" => value.try_into().map(Value::U16),
        "int32" | "i" => value.try_into().map(Value::I32),
        "uint32" | "u" => value.try_into().map(Value::U32),
        "int64" | "x" => value.try_into().map(Value::I64),
        "uint64" | "t" => value.try_into().map(Value::U64),
        _ => return Err(format!("a value of type @{kind} is not supported")),
    }
    .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let texts =
            |all: &[&str]| Value::Texts(all.iter().map(|text| (*text).to_owned()).collect());
        let pairs = [
            ("true", Value::Bool(true)),
            ("'inactive-or-failed'", Value::Text("inactive-or-failed".into())),
            (r#""it\'s""#, Value::Text("it's".into())),
            ("uint64 5", Value::U64(5)),
            ("@t 5", Value::U64(5)),
            ("int64 -5", Value::I64(-5)),
            ("7", Value::I32(7)),
            ("+7", Value::I32(7)),
            ("-0x10", Value::I32(-16)),
            ("0x10", Value::I32(16)),
            ("1.5", Value::Double(1.5)),
            ("byte 255", Value::Byte(255)),
            ("['a', 'b']", texts(&["a", "b"])),
            ("@as []", texts(&[])),
            ("[uint32 1, 2]", Value::Numbers(vec![1, 2])),
        ];
        for (text, value) in pairs {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "tru",
            "'a",
            "['a'",
            "['a' 'b']",
            "5 6",
            "uint64 -1",
            "byte 256",
            "@t",
            "[",
            "['a', 1]",
            "{'a': 1}",
            "99999999999",
            "@(st) 1",
            "'a\0b'",
            "-+5",
            "0x-5",
            "-0x-80000000000000000000000000000000",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_nesting_takes_all_of_the_stack() {
        for part in ["[", "boolean ", "@t "] {
            let error = parse(&part.repeat(1 << 20)).unwrap_err();
            assert_eq!(error, "nested more than 8 levels deep");
        }
        assert_eq!(
            parse(&format!("[{}]", "1, ".repeat(100))).unwrap(),
            Value::Numbers(vec![1; 100])
        );
    }
}
