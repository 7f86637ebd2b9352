//! `diff`.

use clap::Args;

use super::output;
use crate::error::Result;
use husk_engine::changes::{self, Kind};
use husk_engine::container::Container;
use husk_engine::home::Home;

/// `diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Name or ID
    container: String,
}

impl Diff {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        for (kind, path) in changes::of(home, &container)? {
            let letter = match kind {
                Kind::Added => 'A',
                Kind::Changed => 'C',
                Kind::Deleted => 'D',
            };
            output::line(format_args!("{letter} {}", output::name(&path)))?;
        }
        Ok(0)
    }
}
