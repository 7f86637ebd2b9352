//! The health check: what is asked for, over the image's.

use std::collections::BTreeMap;

use husk_image::facts::Facts;

use super::ContainerRequest;
use crate::container::health::{HealthCheck, OnUnhealthy};
use crate::error::{Error, Field, Problem, Result};

/// The label that says what is done with an unhealthy container.
const LABEL: &str = "husk.health.on-failure";

impl ContainerRequest {
    pub(super) fn health(
        &self,
        image: &Facts,
        labels: &BTreeMap<String, String>,
    ) -> Result<Option<HealthCheck>> {
        let own = self.healthcheck.clone();
        let is_none = own.as_ref().is_some_and(|check| check.test == ["NONE"]);
        let recorded = image.healthcheck.as_ref().map(HealthCheck::of_image);
        let recorded = recorded.transpose().map_err(|problem| {
            Error::other(format_args!(
                "the image's Healthcheck: {problem}; give another test, or NONE"
            ))
        });
        let recorded = match is_none {
            true => None,
            false => recorded?.flatten(),
        };
        if own.is_none() && recorded.is_none() {
            return Ok(None);
        }
        let given = own.as_ref().and_then(given);
        let mut check = own.unwrap_or_default().over(recorded);
        check.shell.clone_from(&image.shell);
        if check.on_unhealthy == OnUnhealthy::None
            && let Some(text) = labels.get(LABEL)
        {
            let problem = "must be none, restart, stop or kill";
            check.on_unhealthy = OnUnhealthy::from_name(text)
                .ok_or_else(|| Error::field(Field::HealthLabel, text, problem))?;
        }
        match given {
            Some((field, value)) if check.test.is_empty() => {
                let problem = Problem::from("needs ").field(Field::HealthTest);
                let problem = problem.text(", as the image has no HEALTHCHECK");
                Err(Error::field(field, value, problem))
            }
            _ => Ok(Some(check).filter(|check| !check.test.is_empty())),
        }
    }
}

/// The first field that asks for something, and its value.
fn given(check: &HealthCheck) -> Option<(Field, String)> {
    let on_unhealthy = check.on_unhealthy;
    let fields = [
        (Field::HealthInterval, check.interval != 0, check.interval.to_string()),
        (Field::HealthRetries, check.retries != 0, check.retries.to_string()),
        (Field::HealthStartInterval, check.start_interval != 0, check.start_interval.to_string()),
        (Field::HealthStartPeriod, check.start_period != 0, check.start_period.to_string()),
        (Field::HealthTimeout, check.timeout != 0, check.timeout.to_string()),
        (Field::HealthOnFailure, on_unhealthy != OnUnhealthy::None, on_unhealthy.name().to_owned()),
    ];
    fields.into_iter().find_map(|(field, is_given, value)| is_given.then_some((field, value)))
}
