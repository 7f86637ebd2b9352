//! `completion`, and the man pages: both made of the one definition of the flags.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;
use husk_engine::error::{Result, file};
use husk_engine::home::make_directory;

/// `completion`.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self, command: &Command) -> Result<u8> {
        // The scripts know no hidden commands: those not for people are left out here.
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let mut command =
            Command::new("husk").args(command.get_arguments().cloned()).subcommands(shown.cloned());
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "husk", &mut script);
        output::print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}

/// `man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where the pages go: husk.1, husk-run.1, ...
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self, command: Command) -> Result<u8> {
        if !self.directory.is_dir() {
            make_directory(&self.directory)?;
        }
        clap_mangen::generate_to(command, &self.directory)
            .map_err(file("write the pages to", &self.directory))?;
        Ok(0)
    }
}
