//! The phases as spans of a distributed trace: one JSON object a line, with the names that
//! OpenTelemetry's JSON encoding has.

use std::io::{Result, Write};

use serde::Serialize;

use super::{Lap, Process};

/// Whose trace this is part of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// 32 hexadecimal digits.
    id: String,
    /// 16 hexadecimal digits.
    parent: Option<String>,
}

impl Trace {
    /// The caller's, named by `TRACEPARENT`, or a new one.
    pub(super) fn from_environment() -> Self {
        let given = std::env::var("TRACEPARENT").ok();
        given.as_deref().and_then(Self::parse).unwrap_or_else(|| Self {
            id: format!("{:016x}{:016x}", random(), random()),
            parent: None,
        })
    }

    /// W3C Trace Context, "traceparent": `00-TRACE-PARENT-FLAGS`, all in lower-case
    /// hexadecimal digits; what does not look like it is as if it were not there.
    fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut fields = text.split('-');
        let version = fields.next().filter(|field| digits(field, 2) && *field != "ff")?;
        let named = |field: &&str| field.bytes().any(|digit| digit != b'0');
        let id = fields.next().filter(|field| digits(field, 32)).filter(named)?;
        let parent = fields.next().filter(|field| digits(field, 16)).filter(named)?;
        fields.next().filter(|field| digits(field, 2))?;
        // Only a later version has more fields.
        if version == "00" && fields.next().is_some() {
            return None;
        }
        Some(Self { id: id.to_owned(), parent: Some(parent.to_owned()) })
    }
}

/// Unlike every other in all likelihood; nothing is kept secret by it.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Fails only before the machine has gathered any.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::INSECURE);
    u64::from_le_bytes(bytes)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: &'a str,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<&'a str>,
    name: String,
    start_time_unix_nano: u64,
    end_time_unix_nano: u64,
    attributes: Attributes<'a>,
}

#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(rename = "container.id")]
    container: &'a str,
    #[serde(rename = "husk.process")]
    process: &'static str,
}

/// Writes a span for the command and, below it, one for each phase. `begin` and `end` are of the
/// clock of `laps`, `epoch` is 1970 on it, counted backwards.
pub(super) fn write(
    file: &mut impl Write,
    trace: &Trace,
    (command, container): (&str, &str),
    (begin, end, epoch): (u64, u64, u64),
    laps: &[Lap],
) -> Result<()> {
    let base = random();
    let id = |number: u64| format!("{:016x}", base.wrapping_add(number).max(1));
    let root = id(0);
    let span = |number: u64, parent, name, start: u64, end: u64, process| Span {
        trace_id: &trace.id,
        span_id: id(number),
        parent_span_id: parent,
        name,
        start_time_unix_nano: epoch + start,
        end_time_unix_nano: epoch + end,
        attributes: Attributes { container, process },
    };
    let whole =
        span(0, trace.parent.as_deref(), format!("husk-oci {command}"), begin, end, "runtime");
    let phases = laps.iter().zip(1..).map(|(lap, number)| {
        let process = match lap.phase.process() {
            Process::Runtime => "runtime",
            Process::Container => "container",
        };
        span(number, Some(root.as_str()), lap.phase.name().to_owned(), lap.start, lap.end, process)
    });
    let mut lines = Vec::new();
    for span in std::iter::once(whole).chain(phases) {
        serde_json::to_writer(&mut lines, &span)?;
        lines.push(b'\n');
    }
    // At once, so that commands beside each other may share the file.
    file.write_all(&lines)
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued() {
        let trace = Trace::parse(GIVEN).unwrap();
        let laps = [Lap { phase: Phase::Mounts, start: 12, end: 15 }];
        let mut lines = Vec::new();
        write(&mut lines, &trace, ("run", "web"), (10, 20, 1000), &laps).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let [root, mounts] = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!(root["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(mounts["parentSpanId"], root["spanId"]);
        assert_eq!(mounts["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&mounts["name"], &mounts["startTimeUnixNano"]),
            (&"mounts".into(), &1012.into())
        );
        assert_eq!(mounts["attributes"]["husk.process"], "container");
    }

    #[test]
    fn what_is_no_traceparent_is_as_if_it_were_not_there() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for bad in ["", "00", zeros, &GIVEN.to_uppercase(), &format!("{GIVEN}-00"), &GIVEN[3..]] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
        assert!(Trace::parse(&GIVEN.replacen("00-", "01-", 1)).is_some());
    }
}
