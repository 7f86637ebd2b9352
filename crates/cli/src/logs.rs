//! `logs`.

use clap::Args;

use super::output;
use crate::error::{Error, Result};
use husk_engine::clock::{self, Instant};
use husk_engine::container::Container;
use husk_engine::home::Home;
use husk_engine::logs::{self, LogRequest, Piece};

/// `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show the labels and variables that --log-opt labels and env select
    #[arg(long)]
    details: bool,
    /// Number of lines to show from the end of the log, or all
    #[arg(short = 'n', long, default_value = "all", value_name = "N", allow_hyphen_values = true)]
    tail: String,
    /// Show logs since a time (2026-01-02T15:04:05Z), Unix time, or relative (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show logs before a time, Unix time, or relative
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or ID
    container: String,
}

/// A time as Docker takes it: RFC 3339, seconds since 1970, or how long ago.
pub(super) fn time(flag: &'static str, text: &str) -> Result<Instant> {
    let found = clock::instant(text).or_else(|| clock::seconds(text)).or_else(|| clock::ago(text));
    found.ok_or_else(|| {
        let problem = "must be a time such as 2026-01-02T15:04:05Z, 1767366245 or 1h30m";
        Error::flag(flag, text, problem)
    })
}

impl Logs {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let request = self.request()?;
        let container = Container::find(home, &self.container)?;
        logs::read(&container, &request, &mut |piece| Ok(self.print(piece)?))?;
        Ok(0)
    }

    fn request(&self) -> Result<LogRequest> {
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(
                text.parse::<usize>()
                    .map_err(|_| Error::flag("--tail", text, "must be a number or all"))?,
            ),
        };
        let since = self.since.as_deref().map(|text| time("--since", text)).transpose()?;
        let until = self.until.as_deref().map(|text| time("--until", text)).transpose()?;
        Ok(LogRequest { tail, since, until, follow: self.follow, cancel: None })
    }

    fn print(&self, piece: &Piece) -> Result<()> {
        let time = if self.timestamps && piece.begins { piece.time.as_str() } else { "" };
        let blank = if time.is_empty() { "" } else { " " };
        let details = match self.details && piece.begins {
            true => piece.details() + " ",
            false => String::new(),
        };
        let text = format!("{time}{blank}{details}{}", piece.text);
        match piece.stderr {
            true => husk_engine::notice::write(text.as_bytes()),
            false => output::print(&text)?,
        }
        Ok(())
    }
}
