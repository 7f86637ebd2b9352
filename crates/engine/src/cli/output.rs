//! What is printed: errors, tables, `--format`.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::notice::{self, printable};

/// One line on standard error; of a build also the line of the Dockerfile and its place there.
pub(super) fn error(error: &Error) {
    let text = error.to_string();
    let shown = match error {
        Error::Build(_) => text.split('\n').map(printable).collect::<Vec<_>>().join("\n"),
        _ => printable(&text),
    };
    notice::line(format_args!("husk: {shown}"));
}

/// Text on standard output; what is printed on and on ends with its reader.
///
/// # Errors
/// [`Error::ReaderGone`], or the errno of write(2).
pub(super) fn print(text: &str) -> Result<()> {
    crate::attach::write_output(text.as_bytes())
}

/// A line on standard output, of something that is done: that its reader has gone is no
/// failure, and no reason to leave the rest undone.
pub(super) fn line(text: impl std::fmt::Display) -> Result<()> {
    match print(&format!("{text}\n")) {
        Err(Error::ReaderGone) => Ok(()),
        other => other,
    }
}

/// Columns as wide as their widest cell, three blanks between.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: &Vec<Vec<String>> = &rows.iter().map(cells).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    print(&text)
}

/// A table of objects: these fields of each.
pub(super) fn rows(header: &[&str], fields: &[&str], rows: &[Value]) -> Result<()> {
    let cells = |row: &Value| {
        let text =
            |field: &&str| row.get(*field).and_then(Value::as_str).unwrap_or_default().to_owned();
        fields.iter().map(text).collect::<Vec<String>>()
    };
    table(header, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// A size in the words of Docker's listings: powers of 1000, three digits.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Prints one object for `--format`: `json`, or a template with `{{.Field.Sub}}`,
/// `{{json .Field}}` and `{{index .Field "key"}}`.
///
/// # Errors
/// Whatever else stands in the template.
pub(super) fn format(template: &str, value: &Value) -> Result<String> {
    if template == "json" || template == "{{json .}}" {
        return Ok(value.to_string());
    }
    let template = template.strip_prefix("table ").unwrap_or(template);
    let bad = |what: &str| Error::flag("--format", template, format_args!("{what}"));
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(&unescape(before));
        let (action, more) = after.split_once("}}").ok_or_else(|| bad("{{ without }}"))?;
        text.push_str(&evaluate(action.trim_matches(['-', ' ']).trim(), value).ok_or_else(|| {
            bad(&format!(
                "{{{{{action}}}}} is no field of this listing, or more of Go's templates than fields, json and index"
            ))
        })?);
        rest = more;
    }
    text.push_str(&unescape(rest));
    Ok(text)
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn evaluate(action: &str, value: &Value) -> Option<String> {
    if let Some(path) = action.strip_prefix("json ") {
        return lookup(path.trim(), value).map(Value::to_string);
    }
    if let Some(arguments) = action.strip_prefix("index ") {
        let (path, key) = arguments.trim().split_once(' ')?;
        let found = lookup(path, value)?;
        let key = key.trim();
        let found = match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
            Some(key) => found.get(key),
            None => found.get(key.parse::<usize>().ok()?),
        };
        return Some(found.map(plain).unwrap_or_default());
    }
    lookup(action, value).map(plain)
}

fn lookup<'a>(path: &str, value: &'a Value) -> Option<&'a Value> {
    let path = path.strip_prefix('.')?;
    let mut found = value;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        found = found.get(part)?;
    }
    Some(found)
}

/// As Go prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
            format!("map[{}]", map.iter().map(entry).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let value = serde_json::json!({"ID": "x", "State": {"Pid": 5}, "Labels": {"a.b": "c"}, "L": ["p", "q"]});
        let cases = [
            ("{{.ID}}", "x"),
            ("{{ .State.Pid }}\\t{{.ID}}", "5\tx"),
            ("{{json .State}}", "{\"Pid\":5}"),
            ("{{index .Labels \"a.b\"}}", "c"),
            ("{{index .L 1}}", "q"),
            ("{{.L}}", "[p q]"),
            ("table {{.ID}}", "x"),
        ];
        for (template, expected) in cases {
            assert_eq!(format(template, &value).unwrap(), expected, "{template}");
        }
        for bad in ["{{.Nope}}", "{{range .L}}", "{{.ID"] {
            assert!(format(bad, &value).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_500), "1.50kB");
        assert_eq!(size(77_800_000), "77.8MB");
        assert_eq!(size(117_000_000), "117MB");
    }
}
