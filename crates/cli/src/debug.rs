//! `debug`.

use std::io::IsTerminal;

use clap::Args;

use super::attach::{self, End, Options};
use crate::error::Result;
use husk_engine::debug::{self, DebugRequest};
use husk_engine::home::Home;
use husk_engine::launch;
use husk_engine::notice::notice;
use husk_engine::remove::{self, RemoveRequest};

/// `debug`.
#[derive(Debug, Args)]
pub(super) struct Debug {
    /// Image with the tools; host for this machine's programs
    #[arg(long, default_value = "host")]
    image: String,
    /// Container name or ID, running or not, or an image
    target: String,
    /// Command to run, and its arguments [default: sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Debug {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let request = DebugRequest {
            target: self.target.clone(),
            image: self.image.clone(),
            args: self.command.clone(),
            tty,
        };
        let options = Options {
            stdin: true,
            stdout: true,
            stderr: true,
            tty,
            detach_keys: attach::parse_keys("ctrl-p,ctrl-q")?,
            signals: true,
        };
        let container = debug::create(home, &request)?;
        let mut start = options.start_request();
        // Nobody would look for it.
        start.owned = true;
        let started = launch::start(home, &container, &start, &mut |text| notice(text));
        let attachment = started.inspect_err(|_| {
            let request = RemoveRequest { force: true, volumes: true };
            let _ = remove::remove_container(home, &container, &request);
        })?;
        let signals = options.block_signals()?;
        match attach::serve(&attachment, signals.as_ref(), &options)? {
            End::Exited(code) => Ok(u8::try_from(code & 0xff).unwrap_or(255)),
            End::Detached => Ok(0),
        }
    }
}
