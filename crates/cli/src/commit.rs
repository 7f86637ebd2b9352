//! `commit`.

use clap::Args;

use super::output;
use super::progress::Notices;
use crate::error::Result;
use husk_engine::commit::{self, CommitRequest};
use husk_engine::home::Home;

/// `commit`.
#[derive(Debug, Args)]
pub(super) struct Commit {
    /// Author, such as "Jane Doe <jane@example.org>"
    #[arg(short, long)]
    author: Option<String>,
    /// Apply an instruction of a Dockerfile that changes the config and no file, as in "CMD ls"
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// Pause the container while its changes are read
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pause: bool,
    /// Do not pause the container
    #[arg(long)]
    no_pause: bool,
    /// Name or ID
    container: String,
    /// Name of the image
    name: Option<String>,
}

impl Commit {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let request = CommitRequest {
            container: self.container.clone(),
            name: self.name.clone(),
            author: self.author.clone(),
            message: self.message.clone(),
            changes: self.change.clone(),
            pause: self.pause && !self.no_pause,
        };
        output::line(commit::commit(home, &request, &Notices)?.id)?;
        Ok(0)
    }
}
