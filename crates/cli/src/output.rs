//! What is printed: errors, tables, `--format`.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::color;
use crate::error::{EngineError, Error, Result, file};
use crate::template::{self, Template};
use husk_engine::notice::{self, printable};

/// One line on standard error; of a build also the line of the Dockerfile and its place there.
pub(super) fn error(error: &Error) {
    let mut text = notice::without_errno(&error.to_string());
    // Not where the caller's own output is full.
    let is_full = text.contains("No space left on device") && !text.contains("standard output");
    if is_full && !text.contains("system prune") {
        // Of a build the first line is the mistake; what follows is its place.
        let hint = "; `husk system df` shows what uses the disk, `husk system prune` frees space";
        text.insert_str(text.find('\n').unwrap_or(text.len()), hint);
    }
    let shown = match error {
        Error::Engine(EngineError::Build(_)) => {
            text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
        }
        _ => printable(&text),
    };
    error_line(&shown);
}

/// `Error:` and a text on standard error, which logs can be searched for.
pub(super) fn error_line(text: &str) {
    match color::of_stderr() {
        true => notice::line(format_args!("{}Error:{} {text}", color::ERROR, color::RESET)),
        false => notice::line(format_args!("Error: {text}")),
    }
}

/// Text on standard output; what is printed on and on ends with its reader.
///
/// # Errors
/// [`Error::ReaderGone`], or the errno of write(2).
pub(super) fn print(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// Bytes on standard output, at once.
///
/// # Errors
/// [`Error::ReaderGone`] where that is a pipe that nobody reads, else the errno of write(2).
pub(super) fn write(data: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::ReaderGone),
        Err(error) => Err(file("write to", "standard output")(error)),
        Ok(()) => Ok(()),
    }
}

/// A line on standard output, of something that is done: that its reader has gone is no
/// failure, and no reason to leave the rest undone.
pub(super) fn line(text: impl std::fmt::Display) -> Result<()> {
    match print(&format!("{text}\n")) {
        Err(Error::ReaderGone) => Ok(()),
        other => other,
    }
}

/// A file's name, which its maker chose: without what a terminal would obey, on a terminal.
pub(super) fn name(text: &str) -> std::borrow::Cow<'_, str> {
    match std::io::stdout().is_terminal() {
        true => printable(text).into(),
        false => text.into(),
    }
}

/// Columns as wide as their widest cell, three blanks between, none below ten wide: Docker's.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    aligned(&std::iter::once(header).chain(rows.iter().cloned()).collect::<Vec<_>>())
}

fn aligned(rows: &[Vec<String>]) -> Result<()> {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 10);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    print(&text)
}

/// A list of objects by `--format`: `json`, a template for each, `table` and a template, or
/// without one the table of `columns`, each a header and a field.
///
/// # Errors
/// What is wrong with the template; those of [`print`].
pub(super) fn listing(
    format: Option<&str>,
    columns: &[(&str, &str)],
    rows: &[Value],
) -> Result<()> {
    let words = format.map(|format| (format, format.strip_prefix("table").map(str::trim_start)));
    match words {
        None | Some((_, Some(""))) => {
            let cell = |row: &Value, field: &str| {
                row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let cells = |row: &Value| columns.iter().map(|(_, field)| cell(row, field)).collect();
            let header: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
            table(&header, &rows.iter().map(cells).collect::<Vec<_>>())
        }
        Some((_, Some(template))) => {
            let cells = |text: String| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
            let mut lines = Vec::new();
            // Where a function does not take a header, there is none.
            lines.extend(self::format(template, &headers(columns, rows)).ok().map(cells));
            for row in rows {
                lines.push(cells(self::format(template, row)?));
            }
            aligned(&lines)
        }
        Some((format, None)) => {
            let mut text = String::new();
            for row in rows {
                text.push_str(&self::format(format, row)?);
                text.push('\n');
            }
            print(&text)
        }
    }
}

/// The header of each field: that of the columns, else its name as Docker spells it.
fn headers(columns: &[(&str, &str)], rows: &[Value]) -> Value {
    let mut headers = serde_json::Map::new();
    for field in rows.first().and_then(Value::as_object).into_iter().flat_map(|map| map.keys()) {
        let mut header = String::new();
        for character in field.chars() {
            if character.is_uppercase() && header.ends_with(|last: char| last.is_lowercase()) {
                header.push(' ');
            }
            header.push(character);
        }
        headers.insert(field.clone(), header.to_uppercase().into());
    }
    headers.extend(columns.iter().map(|(header, field)| ((*field).to_owned(), (*header).into())));
    Value::Object(headers)
}

/// Objects that are looked at: by a template one a line, as one JSON list else.
///
/// # Errors
/// As [`listing`].
pub(super) fn inspected(format: Option<&str>, found: &[Value]) -> Result<()> {
    if let Some(format) = format.filter(|format| *format != "json") {
        check(format)?;
    }
    match format {
        Some("json") => line(template::public(&Value::from(found))),
        // What is before a failure is printed: a mistake may be of one object alone.
        Some(template) => found.iter().try_for_each(|one| line(self::format(template, one)?)),
        None => {
            let shown = template::public(&Value::from(found));
            line(pretty(&shown)?)
        }
    }
}

/// JSON over several lines, indented by four blanks, which scripts that use grep(1) count on.
fn pretty(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).map_err(Error::other)?;
    String::from_utf8(bytes).map_err(Error::other)
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

/// Reads a template before there is anything to fill it with.
///
/// # Errors
/// [`Error::Template`].
pub(super) fn check(format: &str) -> Result<()> {
    let read = Template::parse(format).map(drop);
    read.map_err(|problem| Error::Template { template: format.to_owned(), problem })
}

/// One object by `--format`: `json`, or a template.
///
/// # Errors
/// What is wrong with the template.
pub(super) fn format(format: &str, value: &Value) -> Result<String> {
    if format == "json" {
        return Ok(template::json(value));
    }
    let tame = std::io::stdout().is_terminal();
    let filled = Template::parse(format).and_then(|template| template.fill(value, tame));
    filled.map_err(|problem| Error::flag("--format", format, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_spelled_as_dockers() {
        let rows = [serde_json::json!({"ID": "x", "CreatedAt": "", "LocalVolumes": ""})];
        let headers = headers(&[("CONTAINER ID", "ID")], &rows);
        let expected = serde_json::json!({
            "ID": "CONTAINER ID", "CreatedAt": "CREATED AT", "LocalVolumes": "LOCAL VOLUMES",
        });
        assert_eq!(headers, expected);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_500), "1.50kB");
        assert_eq!(size(77_800_000), "77.8MB");
        assert_eq!(size(117_000_000), "117MB");
    }
}
