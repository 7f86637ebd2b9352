//! `printf` of templates: Go's fmt, for the values that JSON has.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::plain;

/// More blanks or digits than a line has.
pub(super) const MAX_WIDTH: usize = 4096;

/// The flags, width and precision of a verb: `%-12.3f`.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    sharp: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

/// Fills in a format. What does not fit is written out in it, as Go does.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut rest = values.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let spec = spec(&mut characters, &mut rest);
        let Some(verb) = characters.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        match rest.next() {
            Some(value) => text.push_str(&formatted(verb, &spec, value)),
            None => text.push_str(&format!("%!{verb}(MISSING)")),
        }
    }
    let extra: Vec<String> = rest.map(|one| format!("{}={}", type_of(one), plain(one))).collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

fn spec<'a>(
    characters: &mut Peekable<Chars<'_>>,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Spec {
    let mut spec = Spec::default();
    while let Some(flag) = characters.next_if(|one| "-+ #0".contains(*one)) {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => spec.sharp = true,
            _ => spec.zeros = true,
        }
    }
    spec.width = number(characters, values).unwrap_or(0).min(MAX_WIDTH);
    if characters.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(characters, values).unwrap_or(0).min(MAX_WIDTH));
    }
    spec
}

fn number<'a>(
    characters: &mut Peekable<Chars<'_>>,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if characters.next_if_eq(&'*').is_some() {
        return values.next()?.as_u64().and_then(|number| usize::try_from(number).ok());
    }
    let mut found = None;
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        let digit = usize::try_from(digit.to_digit(10)?).ok()?;
        found = Some(found.unwrap_or(0usize).saturating_mul(10).saturating_add(digit));
    }
    found
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Null => "<nil>",
    }
}

fn formatted(verb: char, spec: &Spec, value: &Value) -> String {
    let text = match (verb, value) {
        ('v', Value::String(text)) if spec.sharp => Some(format!("{text:?}")),
        ('v', Value::Number(_)) => Some(signed(spec, plain(value))),
        ('v', _) => Some(plain(value)),
        ('T', _) => Some(type_of(value).to_owned()),
        ('s', Value::String(text)) => Some(cut(spec, text)),
        ('s', Value::Array(_) | Value::Object(_)) => Some(plain(value)),
        ('q', Value::String(text)) => Some(format!("{:?}", cut(spec, text))),
        ('q', Value::Array(items)) => {
            let quoted = items.iter().map(|item| format!("{:?}", plain(item)));
            Some(format!("[{}]", quoted.collect::<Vec<_>>().join(" ")))
        }
        ('t', Value::Bool(is)) => Some(is.to_string()),
        ('x' | 'X', Value::String(text)) => {
            let digits: String =
                cut(spec, text).bytes().map(|byte| format!("{byte:02x}")).collect();
            Some(if verb == 'X' { digits.to_uppercase() } else { digits })
        }
        ('d' | 'x' | 'X' | 'o' | 'b' | 'c', Value::Number(number)) => {
            number.as_i64().map(|number| signed(spec, integer(verb, spec, number)))
        }
        ('f' | 'F' | 'e' | 'g', Value::Number(number)) if number.is_f64() => {
            let precision = spec.precision.unwrap_or(6);
            number.as_f64().map(|number| {
                let text = match verb {
                    'e' => format!("{number:.precision$e}"),
                    'g' => number.to_string(),
                    _ => format!("{number:.precision$}"),
                };
                signed(spec, text)
            })
        }
        _ => None,
    };
    let Some(text) = text else {
        return match value {
            Value::Null => format!("%!{verb}(<nil>)"),
            value => format!("%!{verb}({}={})", type_of(value), plain(value)),
        };
    };
    let width = spec.width;
    match (spec.left, spec.zeros && value.is_number()) {
        (true, _) => format!("{text:<width$}"),
        (false, false) => format!("{text:>width$}"),
        (false, true) => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            let zeros = width.saturating_sub(text.chars().count());
            format!("{sign}{}{digits}", "0".repeat(zeros))
        }
    }
}

/// At most as many characters as the precision says.
fn cut(spec: &Spec, text: &str) -> String {
    text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect()
}

fn signed(spec: &Spec, text: String) -> String {
    match text.starts_with('-') {
        false if spec.plus => format!("+{text}"),
        false if spec.space => format!(" {text}"),
        _ => text,
    }
}

fn integer(verb: char, spec: &Spec, number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let size = number.unsigned_abs();
    match (verb, spec.sharp) {
        ('x', true) => format!("{sign}0x{size:x}"),
        ('x', false) => format!("{sign}{size:x}"),
        ('X', true) => format!("{sign}0X{size:X}"),
        ('X', false) => format!("{sign}{size:X}"),
        ('o', _) => format!("{sign}{size:o}"),
        ('b', _) => format!("{sign}{size:b}"),
        ('c', _) => u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').into(),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_go() {
        for (format, values, expected) in [
            (
                "%.12s|%5d|%-5s|",
                vec![json!("fdb3041075ea2f64"), json!(42), json!("a")],
                "fdb3041075ea|   42|a    |",
            ),
            (
                "%x %X %#x %o %b %c",
                vec![json!(255), json!(255), json!(255), json!(8), json!(5), json!(97)],
                "ff FF 0xff 10 101 a",
            ),
            ("%q %v %t", vec![json!("x"), json!(["A=1"]), json!(true)], "\"x\" [A=1] true"),
            (
                "%5.2f|%05d|%+d|% d",
                vec![json!(3.1875), json!(-7), json!(3), json!(3)],
                " 3.19|-0007|+3| 3",
            ),
            ("%*s%%", vec![json!(4), json!("x")], "   x%"),
            ("%s", vec![], "%!s(MISSING)"),
            ("%d", vec![json!("x")], "%!d(string=x)"),
            ("%s", vec![json!(5)], "%!s(int=5)"),
            ("x", vec![json!(5), json!("y")], "x%!(EXTRA int=5, string=y)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%v %s", vec![Value::Null, Value::Null], "<nil> %!s(<nil>)"),
            ("%T %x", vec![json!("a"), json!("hi")], "string 6869"),
        ] {
            assert_eq!(printf(format, &values), expected, "{format}");
        }
        assert_eq!(printf("%99999999d", &[json!(1)]).len(), MAX_WIDTH);
    }
}
