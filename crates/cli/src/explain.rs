//! `explain`.

use clap::Args;
use serde_json::Value;

use super::output;
use crate::error::{Error, Result};
use husk_engine::container::{Container, name};
use husk_engine::explain::{self, Explanation};
use husk_engine::home::Home;
use husk_engine::notice::printable;

/// `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Format output as json, or by a Go template such as '{{.Summary}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Name or ID
    container: String,
}

impl Explain {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        let found = explain::explain(home, &container)?;
        let Some(format) = self.format.as_deref() else {
            return output::print(&text(&found)).map(|()| 0);
        };
        let document: Value = serde_json::to_value(&found).map_err(Error::other)?;
        output::line(output::format(format, &document)?).map(|()| 0)
    }
}

/// Sentences, each on a line of its own below what it is about. Programs choose what is in their
/// logs, so no line is printed with control characters.
fn text(found: &Explanation) -> String {
    let id = name::short(&found.id);
    let mut text = format!("{} ({id}, {}): {}\n", found.name, found.status, found.summary);
    let mut part = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            for line in lines {
                text.push_str(&format!("  {}\n", printable(line)));
            }
        }
    };
    part("Why", &found.reasons);
    part("What to do", &found.remedies);
    part("Last ends of its program", &found.history);
    let each = |port: &explain::Port| format!("{}: {}", port.mapping, port.reach);
    part("Published ports", &found.ports.iter().map(each).collect::<Vec<_>>());
    part("Last lines of its log", &found.log);
    text
}
