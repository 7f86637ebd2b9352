//! The table: for a terminal and, being Markdown, for the documentation.

use std::fmt::Write as _;

use super::results::{Count, Found, Results, Row, Throughput, Timing};
use super::statistics::Summary;

/// Draws all of `results`; ratios are to the floor and to `subject`.
pub(crate) fn render(results: &Results, subject: &str) -> String {
    let mut text = String::new();
    heading(&mut text, results);
    for timing in &results.timings {
        timed(&mut text, timing, subject);
    }
    for throughput in &results.throughput {
        rates(&mut text, throughput, subject);
    }
    if !results.alive.is_empty() {
        alive(&mut text, results);
    }
    for count in &results.counts {
        counted(&mut text, count, subject);
    }
    text
}

fn heading(text: &mut String, results: &Results) {
    let machine: Vec<String> =
        results.machine.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let _ =
        writeln!(text, "{}; {} UTC; {} rounds\n", machine.join(", "), results.date, results.rounds);
    for (name, version) in &results.versions {
        let _ = writeln!(text, "- {name}: {version}");
    }
    if results.host_cgroups {
        text.push_str(
            "\nIn the host's cgroup hierarchies; the containers of lifecycle, exec, state and alive have \
             limits of memory, cpu, pids and devices.\n",
        );
    }
    if results.plain {
        text.push_str(
            "\nThe containers of lifecycle, exec, state, throughput and alive have no device \
             rules, since a peer cannot load them here.\n",
        );
    }
}

/// A row of a table: the peer, its cells, the value that ratios are made of.
struct Line<'a> {
    peer: &'a str,
    cells: Result<(Vec<String>, f64), &'a str>,
}

fn timed(text: &mut String, timing: &Timing, subject: &str) {
    let lines = lines(&timing.rows, |summary| {
        (vec![milliseconds(summary.median), milliseconds(summary.p99)], summary.median)
    });
    table(text, &timing.title, &["median", "p99"], &lines, subject);
}

fn rates(text: &mut String, throughput: &Throughput, subject: &str) {
    let title = format!("run, {} at a time", throughput.width);
    let lines = lines(&throughput.rows, |rate| {
        let Summary { median, p99, .. } = rate.each;
        let cells = vec![
            format!("{:.0}/s", rate.per_second),
            milliseconds(median),
            milliseconds(p99),
            format!("{:.2}", p99 / median),
        ];
        // The time a run takes of the whole, so that a greater ratio is slower here too.
        (cells, 1.0 / rate.per_second)
    });
    table(text, &title, &["rate", "median", "p99", "p99/median"], &lines, subject);
}

fn alive(text: &mut String, results: &Results) {
    let count = results.alive.iter().filter_map(|row| row.found.value()).map(|c| c.count).max();
    let title = format!("{} containers alive at once", count.unwrap_or(0));
    let lines = lines(&results.alive, |crowd| {
        let cells = vec![
            milliseconds(crowd.first.median),
            milliseconds(crowd.last.median),
            format!("{:.2}", crowd.last.median / crowd.first.median),
            milliseconds(crowd.list_us),
            format!("{} kB", crowd.memory / 1024),
            format!("{} ({} kB)", crowd.own_processes, crowd.own_memory / 1024),
        ];
        (cells, f64::NAN)
    });
    let columns =
        ["create + start, first", "last", "last/first", "list", "memory each", "own processes"];
    table(text, &title, &columns, &lines, "");
}

fn counted(text: &mut String, count: &Count, subject: &str) {
    let lines = lines(&count.rows, |value| {
        let shown = if count.bytes { kilobytes(*value) } else { value.to_string() };
        (vec![shown], *value as f64)
    });
    table(text, &count.title, &["value"], &lines, subject);
}

fn lines<T>(rows: &[Row<T>], cells: impl Fn(&T) -> (Vec<String>, f64)) -> Vec<Line<'_>> {
    rows.iter()
        .map(|row| Line {
            peer: &row.peer,
            cells: match &row.found {
                Found::Value(value) => Ok(cells(value)),
                Found::Failed(message) => Err(message),
            },
        })
        .collect()
}

/// One table. Ratios stand only where every peer did it: a peer that failed had other work,
/// or none, and the rest would be compared with nobody.
fn table(text: &mut String, title: &str, columns: &[&str], lines: &[Line<'_>], subject: &str) {
    let complete = lines.iter().all(|line| line.cells.is_ok());
    let value = |name: &str| {
        let line = lines.iter().find(|line| line.peer == name)?;
        line.cells
            .as_ref()
            .ok()
            .map(|(_, value)| *value)
            .filter(|value| value.is_finite() && *value > 0.0)
    };
    let bases: Vec<(&str, f64)> = ["floor", subject]
        .into_iter()
        .filter(|_| complete)
        .filter_map(|name| Some((name, value(name)?)))
        .collect();
    let mut head = vec!["program".to_owned()];
    head.extend(columns.iter().map(|column| (*column).to_owned()));
    head.extend(bases.iter().map(|(name, _)| format!("x {name}")));
    let mut body = Vec::new();
    for line in lines {
        let mut row = vec![line.peer.to_owned()];
        if let Ok((cells, value)) = &line.cells {
            row.extend(cells.iter().cloned());
            row.extend(bases.iter().map(|(_, base)| format!("{:.2}", value / base)));
        } else {
            row.push("failed".to_owned());
            row.resize(head.len(), String::new());
        }
        body.push(row);
    }
    let _ = writeln!(text, "\n**{title}**\n");
    draw(text, &head, &body);
    for line in lines {
        if let Err(message) = line.cells {
            let _ = writeln!(text, "\nNot compared: {} failed: {message}", line.peer);
        }
    }
}

fn draw(text: &mut String, head: &[String], body: &[Vec<String>]) {
    let width = |column: usize| {
        body.iter()
            .filter_map(|row| row.get(column))
            .chain(head.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut row = |cells: &[String]| {
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
    };
    row(head);
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
        })
        .collect();
    row(&rule);
    body.iter().for_each(|cells| row(cells));
}

fn milliseconds(microseconds: f64) -> String {
    format!("{:.2} ms", microseconds / 1000.0)
}

fn kilobytes(bytes: u64) -> String {
    format!("{} kB", bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, found: Found<u64>) -> Row<u64> {
        Row { peer: peer.to_owned(), found }
    }

    fn count(rows: Vec<Row<u64>>) -> String {
        let mut text = String::new();
        let title = "calls".to_owned();
        counted(&mut text, &Count { name: "calls".into(), title, bytes: false, rows }, "husk-oci");
        text
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_the_subject() {
        let text = count(vec![
            row("floor", Found::Value(100)),
            row("husk-oci", Found::Value(150)),
            row("crun", Found::Value(300)),
        ]);
        assert!(text.contains("| program  | value | x floor | x husk-oci |"), "{text}");
        assert!(text.contains("| crun     |   300 |    3.00 |       2.00 |"), "{text}");
    }

    #[test]
    fn what_did_not_run_on_every_peer_is_not_compared() {
        let text = count(vec![
            row("husk-oci", Found::Value(150)),
            row("crun", Found::Failed("no end within 30 s".into())),
        ]);
        assert!(!text.contains("x husk-oci"), "{text}");
        assert!(text.contains("Not compared: crun failed: no end within 30 s"), "{text}");
    }
}
