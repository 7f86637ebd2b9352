//! `update`.

use clap::Args;

use super::flags::{HealthFlags, LimitFlags, restart_policy};
use super::progress::Notices;
use super::{for_each, output};
use crate::error::{EngineError, Error, Result};
use husk_engine::container::Container;
use husk_engine::home::Home;
use husk_engine::live::{self, UpdateRequest};

/// `update`.
#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    limits: LimitFlags,
    /// When the container is started again: no, on-failure[:COUNT], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    #[command(flatten)]
    health: HealthFlags,
    /// Names or IDs
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Update {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let as_written = |error| match error {
            EngineError::Field { field, value, problem } => {
                let value = self.limits.written(field).cloned().unwrap_or(value);
                EngineError::Field { field, value, problem }
            }
            error => error,
        };
        let request = UpdateRequest {
            limits: self.limits.limits()?.checked().map_err(as_written)?,
            restart_policy: self.restart.as_deref().map(restart_policy).transpose()?,
            health: self.health.check()?,
        };
        if request.is_empty() {
            return Err(Error::other("nothing to update (husk update --help)"));
        }
        for_each(&self.containers, |name| {
            live::update(home, &Container::find(home, name)?, &request, &Notices)?;
            output::line(name)
        })
    }
}
