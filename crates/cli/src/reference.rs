//! `completion`, and the man pages: both made of the one definition of the flags.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{complete, manual, output};
use crate::error::{Result, file};
use husk_engine::home::make_directory;

/// `completion`.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// Shell: bash, zsh, fish, elvish or powershell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self, command: &Command) -> Result<u8> {
        // These three ask husk itself, and know names too.
        match self.shell {
            Shell::Bash => return output::print(complete::BASH).map(|()| 0),
            Shell::Zsh => return output::print(complete::ZSH).map(|()| 0),
            Shell::Fish => return output::print(complete::FISH).map(|()| 0),
            _ => {}
        }
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
    /// Directory for the pages husk.1, husk-run.1, ...
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self, command: Command) -> Result<u8> {
        if !self.directory.is_dir() {
            make_directory(&self.directory)?;
        }
        for (name, page) in manual::pages(command)? {
            let path = self.directory.join(name);
            std::fs::write(&path, page).map_err(file("write", &path))?;
        }
        Ok(0)
    }
}
