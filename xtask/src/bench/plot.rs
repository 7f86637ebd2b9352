//! Bars with their spread, as SVG.

use std::fmt::Write as _;

use super::results::Timing;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 46.0;
const BAR: f64 = 22.0;
const GAP: f64 = 12.0;

/// One chart of a timing: a bar to the median of every peer, a whisker from the 5th to the
/// 95th percentile, the subject in another colour. `None` where nothing was measured.
pub(crate) fn bars(timing: &Timing, subject: &str) -> Option<String> {
    let rows: Vec<_> =
        timing.rows.iter().filter_map(|row| Some((&row.peer, row.found.value()?))).collect();
    let most = rows.iter().map(|(_, summary)| summary.p95).fold(f64::NAN, f64::max);
    if !most.is_finite() || most <= 0.0 {
        return None;
    }
    let height = TOP + (BAR + GAP) * rows.len() as f64 + 30.0;
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let mut svg = open(height, &timing.title);
    for (index, (peer, summary)) in rows.iter().enumerate() {
        let y = TOP + (BAR + GAP) * index as f64;
        let middle = y + BAR / 2.0;
        let colour = match peer.as_str() {
            "floor" => "#8a8f98",
            name if name == subject => "#d9622b",
            _ => "#4b78b0",
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
            LEFT - 8.0,
            middle + 4.5,
            escape(peer),
            summary.median * scale,
        );
        let (from, to) = (LEFT + summary.p5 * scale, LEFT + summary.p95 * scale);
        let _ = write!(
            svg,
            "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}V{:.1}M{to:.1} {:.1}V{:.1}\" \
             stroke=\"#202020\" fill=\"none\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2} ms</text>",
            middle - 5.0,
            middle + 5.0,
            middle - 5.0,
            middle + 5.0,
            to.max(LEFT + summary.median * scale) + 8.0,
            middle + 4.5,
            summary.median / 1000.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#606060\">bar: median; whisker: 5th to 95th \
         percentile of {} rounds</text></svg>",
        height - 10.0,
        rows.iter().map(|(_, summary)| summary.count).max().unwrap_or(0),
    );
    Some(svg)
}

/// The head of a picture, on white, with its title.
pub(crate) fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" font-size=\"13\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    )
}

/// Text as XML wants it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::results::{Found, Row};
    use crate::bench::statistics::Summary;

    #[test]
    fn a_peer_that_failed_has_no_bar() {
        let summary = Summary::of(&[Duration::from_millis(3)]).expect("a sample");
        let timing = Timing {
            name: "run".into(),
            title: "run <of> a & b".into(),
            rows: vec![
                Row { peer: "husk-oci".into(), found: Found::Value(summary) },
                Row { peer: "crun".into(), found: Found::Failed("hangs".into()) },
            ],
        };
        let svg = bars(&timing, "husk-oci").expect("a chart");
        assert!(svg.contains("run &lt;of&gt; a &amp; b") && svg.contains("3.00 ms"));
        assert!(!svg.contains("crun"));
        assert_eq!(bars(&Timing { rows: Vec::new(), ..timing }, "husk-oci"), None);
    }
}
