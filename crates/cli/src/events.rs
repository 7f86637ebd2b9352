//! `events`.

use clap::Args;
use serde_json::{Value, json};

use super::{logs, output};
use crate::error::{Error, Result};
use crate::template::OMITTED;
use husk_engine::clock;
use husk_engine::events::{self, Entry, Event, EventRequest, Filters, Journal};
use husk_engine::home::Home;
use husk_engine::notice::{notice, printable};

/// `events`.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Show events that pass a filter, such as type=container, event=die, container=NAME, image=NAME
    /// or label=NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output as json, or by a Go template such as '{{.Action}} {{.Actor.ID}}'
    #[arg(long)]
    format: Option<String>,
    /// Show events since a time (2026-01-02T15:04:05Z), Unix time, or relative (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show events until a time, Unix time, or relative, and then end
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Events {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if let Some(format) = self.format.as_deref().filter(|format| *format != "json") {
            output::check(format)?;
        }
        let request = EventRequest {
            since: self.since.as_deref().map(|text| logs::time("--since", text)).transpose()?,
            until: self.until.as_deref().map(|text| logs::time("--until", text)).transpose()?,
            filters: self.filters()?,
            stop: None,
        };
        events::read(&Journal::of(home), &request, &mut |entry| match entry {
            Entry::Event(event) => Ok(self.print(event)?),
            Entry::Damage(damage) => {
                let path = damage.path.display();
                notice(format_args!(
                    "{path}: {} bytes at {} are damaged and were skipped",
                    damage.length, damage.offset
                ));
                Ok(())
            }
        })?;
        Ok(0)
    }

    fn filters(&self) -> Result<Filters> {
        let pair = |text| {
            let pair = str::split_once(text, '=');
            pair.ok_or_else(|| Error::Usage(format!("--filter {text:?}: must be NAME=VALUE")))
        };
        let pairs: Vec<_> =
            self.filter.iter().map(|text| pair(text.as_str())).collect::<Result<_>>()?;
        Ok(Filters::new(pairs)?)
    }

    fn print(&self, event: &Event) -> Result<()> {
        match self.format.as_deref() {
            None | Some("") => output::line(text(event)),
            Some("json" | "{{json .}}") => output::line(event.to_docker_json(true)),
            Some(template) => output::line(output::format(template, &document(event))?),
        }
    }
}

/// One line, as Docker has it.
fn text(event: &Event) -> String {
    let time = clock::local_rfc3339(event.time());
    let (typ, action, id) = (event.typ.name(), &event.action, &event.actor.id);
    let each = event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}"));
    let attributes = each.collect::<Vec<_>>().join(", ");
    let attributes = if attributes.is_empty() { attributes } else { format!(" ({attributes})") };
    // Labels are chosen by images, and a line is one event.
    printable(&format!("{time} {typ} {action} {id}{attributes}"))
}

/// What templates see: the fields of Docker's document, and those by Go's names that it spells
/// otherwise.
fn document(event: &Event) -> Value {
    let mut document: Value = serde_json::from_str(&event.to_docker_json(true)).unwrap_or_default();
    let (status, id, from) = event.legacy().unwrap_or_default();
    let named = json!({
        "Status": status, "ID": id, "From": from.unwrap_or_default(),
        "Scope": "local", "Time": event.time().0, "TimeNano": event.time_nano,
    });
    if let Some(fields) = document.as_object_mut() {
        fields.insert(OMITTED.to_owned(), named);
    }
    document
}
