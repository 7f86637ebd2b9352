//! Flags of the health check.

use clap::Args;
use husk_engine::error::Field;

use crate::error::{Error, Result};
use husk_engine::container::health::{HealthCheck, OnUnhealthy};

/// Of `run` and `create`, and of `update`.
#[derive(Debug, Default, Args)]
pub(crate) struct HealthFlags {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks, such as 30s or 1m30s
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    health_retries: Option<i64>,
    /// Time between two checks during the start period
    #[arg(long, value_name = "TIME")]
    health_start_interval: Option<String>,
    /// Time for the container to start, in which failures do not count
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// Time that one check may take
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// What is done with an unhealthy container: none, restart, stop or kill
    #[arg(long, value_name = "ACTION")]
    health_on_failure: Option<String>,
    /// Disable the image's HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

fn time(flag: &'static str, text: Option<&String>) -> Result<u64> {
    let Some(text) = text else { return Ok(0) };
    husk_image::build::healthcheck::duration(text).ok_or_else(|| {
        let problem = "is neither 0 nor a time of 1ms or more, such as 30s or 1m30s";
        Error::flag(flag, text, problem)
    })
}

impl HealthFlags {
    /// The first flag that was given, and its value.
    fn given(&self) -> Option<(&'static str, String)> {
        let flags = [
            ("--health-cmd", self.health_cmd.clone()),
            ("--health-interval", self.health_interval.clone()),
            ("--health-retries", self.health_retries.map(|count| count.to_string())),
            ("--health-start-interval", self.health_start_interval.clone()),
            ("--health-start-period", self.health_start_period.clone()),
            ("--health-timeout", self.health_timeout.clone()),
            ("--health-on-failure", self.health_on_failure.clone()),
        ];
        flags.into_iter().find_map(|(flag, value)| Some((flag, value?)))
    }

    /// What the flags alone say; `None` where none was given.
    ///
    /// # Errors
    /// A flag's value that cannot be honoured, by its name.
    pub(crate) fn check(&self) -> Result<Option<HealthCheck>> {
        match (self.no_healthcheck, self.given()) {
            (false, None) => return Ok(None),
            (true, Some((flag, _))) => {
                return Err(Error::Usage(format!("--no-healthcheck conflicts with {flag}")));
            }
            (true, None) => {
                let test = vec!["NONE".to_owned()];
                return Ok(Some(HealthCheck { test, ..HealthCheck::default() }));
            }
            (false, Some(_)) => {}
        }
        let retries = self.health_retries.unwrap_or_default();
        let retries = u32::try_from(retries)
            .map_err(|_| Error::flag("--health-retries", retries, "must be 0 or more"))?;
        let command = self.health_cmd.iter().filter(|line| !line.is_empty());
        let test = command.flat_map(|line| ["CMD-SHELL".to_owned(), line.clone()]).collect();
        Ok(Some(HealthCheck {
            test,
            interval: time("--health-interval", self.health_interval.as_ref())?,
            timeout: time("--health-timeout", self.health_timeout.as_ref())?,
            start_period: time("--health-start-period", self.health_start_period.as_ref())?,
            start_interval: time("--health-start-interval", self.health_start_interval.as_ref())?,
            retries,
            shell: Vec::new(),
            on_unhealthy: on_unhealthy("--health-on-failure", self.health_on_failure.as_deref())?,
        }))
    }

    /// The value of a field as it was written.
    pub(super) fn written(&self, field: Field) -> Option<&String> {
        match field {
            Field::HealthInterval => self.health_interval.as_ref(),
            Field::HealthStartInterval => self.health_start_interval.as_ref(),
            Field::HealthStartPeriod => self.health_start_period.as_ref(),
            Field::HealthTimeout => self.health_timeout.as_ref(),
            _ => None,
        }
    }
}

fn on_unhealthy(flag: &'static str, text: Option<&str>) -> Result<OnUnhealthy> {
    let Some(text) = text else { return Ok(OnUnhealthy::None) };
    OnUnhealthy::from_name(text)
        .ok_or_else(|| Error::flag(flag, text, "must be none, restart, stop or kill"))
}
