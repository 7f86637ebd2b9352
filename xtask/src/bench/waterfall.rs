//! One start by phase, as SVG: the spans of `husk-oci --timings=FILE`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use serde::Deserialize;

use super::peer::{self, Peer};
use super::plot::{escape, open};
use super::site::{Kind, Site};
use crate::process::Words;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 520.0;
const TOP: f64 = 46.0;
const ROW: f64 = 22.0;

/// How often it is run; the quickest is drawn, since what is more is chance.
const ROUNDS: usize = 9;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    name: String,
    start_time_unix_nano: u64,
    end_time_unix_nano: u64,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "husk.process")]
    process: String,
}

/// The picture of the quickest of a few runs.
///
/// # Errors
/// A run fails, or the runtime does not know `--timings`.
pub(super) fn draw(site: &Site, subject: &Peer) -> anyhow::Result<String> {
    let mut runs = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let file = site.work.join(format!("spans{round}"));
        let mut run = subject.command(site);
        run.arg(format!("--timings={}", file.display())).args(["run", "--bundle"]);
        run.arg(site.bundle(Kind::Default)).arg(format!("{}w{round}", site.prefix));
        peer::succeed(&mut run, &mut Words::new()?)?;
        let text = fs::read_to_string(&file).context("the spans")?;
        runs.push(parse(&text)?);
    }
    let quickest = runs.iter().min_by_key(|spans| length(&spans[0]));
    quickest.map(|spans| picture(spans)).context("no run")
}

/// The spans, the whole first.
fn parse(text: &str) -> anyhow::Result<Vec<Span>> {
    let spans = text.lines().map(serde_json::from_str).collect::<Result<Vec<Span>, _>>();
    let mut spans = spans.context("a span")?;
    anyhow::ensure!(!spans.is_empty(), "no spans");
    spans[1..].sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    Ok(spans)
}

fn length(span: &Span) -> u64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)
}

fn picture(spans: &[Span]) -> String {
    let whole = &spans[0];
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let title =
        format!("{} of /bin/true by phase: {:.2} ms", whole.name, milliseconds(length(whole)));
    let height = TOP + ROW * (spans.len() - 1) as f64 + 30.0;
    let scale = WIDTH / length(whole).max(1) as f64;
    let mut svg = open(height, &title);
    for (row, span) in spans[1..].iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let from = span.start_time_unix_nano.saturating_sub(whole.start_time_unix_nano);
        let x = LEFT + from as f64 * scale;
        let width = (length(span) as f64 * scale).max(1.0);
        let colour = match (span.attributes.process.as_str(), span.name.as_str()) {
            (_, "program") => "#8a8f98",
            ("container", _) => "#4b78b0",
            _ => "#d9622b",
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            LEFT - 8.0,
            y + 13.0,
            escape(&span.name),
            ROW - 5.0,
            x + width + 5.0,
            y + 13.0,
            milliseconds(length(span)),
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#606060\">milliseconds; red: the runtime, blue: the \
         container's process, beside each other; grey: the program</text></svg>",
        height - 10.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_where_their_spans_are() {
        let span = |name: &str, start: u64, end: u64, process: &str| {
            format!(
                "{{\"name\":\"{name}\",\"startTimeUnixNano\":{start},\"endTimeUnixNano\":{end},\
                 \"attributes\":{{\"husk.process\":\"{process}\"}}}}\n"
            )
        };
        let text = span("husk-oci run", 1_000_000, 3_000_000, "runtime")
            + &span("wait <for>", 2_000_000, 3_000_000, "runtime")
            + &span("mounts", 1_000_000, 2_000_000, "container");
        let svg = picture(&parse(&text).expect("spans"));
        assert!(svg.contains("by phase: 2.00 ms"), "{svg}");
        assert!(svg.contains("wait &lt;for&gt;"), "{svg}");
        let mounts = svg.find("mounts").expect("mounts");
        assert!(mounts < svg.find("wait").expect("wait"), "sorted by their start: {svg}");
        assert!(svg.contains("<rect x=\"410.0\""), "half way: {svg}");
        assert!(parse("").is_err() && parse("{}").is_err());
    }
}
