//! Health checks: what a container's probe is, and what its results say.
//!
//! The rules are Docker's: the first probe comes an interval after the start, each other an
//! interval after the end of the one before. As long as no probe has succeeded, one that fails
//! within the start period does not count.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Container;
use super::state::{State, Status};
use crate::error::Result;

/// How many results are kept.
const KEPT: usize = 5;
/// What is kept of a probe's output, in bytes.
pub(crate) const MAX_OUTPUT: usize = 4096;
/// Where the results are, in the container's run directory.
const FILE: &str = "health.json";

/// What is done when a container has become unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnhealthy {
    /// Nothing, as with Docker.
    #[default]
    None,
    /// It is stopped, and started again.
    Restart,
    /// It is stopped, as if by hand.
    Stop,
    /// Its program is killed: what follows is the restart policy's.
    Kill,
}

impl OnUnhealthy {
    /// Reads the value of `--health-on-failure`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "restart" => Self::Restart,
            "stop" => Self::Stop,
            "kill" => Self::Kill,
            _ => return None,
        })
    }

    /// That value.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Kill => "kill",
        }
    }
}

/// A container's health check. Times are nanoseconds; 0 is Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// `["CMD", program...]`, `["CMD-SHELL", line]`, or `["NONE"]`; empty for the image's.
    pub test: Vec<String>,
    /// Between two probes; 30 s.
    pub interval: u64,
    /// For one probe; 30 s.
    pub timeout: u64,
    /// From the container's start, for the time that it takes to become healthy; none.
    pub start_period: u64,
    /// Between two probes in that time; 5 s.
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy; 3.
    pub retries: u32,
    /// The shell of `CMD-SHELL`; empty for `/bin/sh -c`.
    pub shell: Vec<String>,
    /// What is done about it.
    pub on_unhealthy: OnUnhealthy,
}

fn time(nanoseconds: u64, default: u64) -> Duration {
    if nanoseconds == 0 { Duration::from_secs(default) } else { Duration::from_nanos(nanoseconds) }
}

impl HealthCheck {
    /// Reads an image's `Healthcheck`; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of_image(value: &Value) -> Result<Option<Self>, String> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Recorded {
            test: Option<Vec<String>>,
            interval: i64,
            timeout: i64,
            start_period: i64,
            start_interval: i64,
            retries: i64,
        }
        if value.is_null() {
            return Ok(None);
        }
        let recorded: Recorded = Recorded::deserialize(value).map_err(|why| why.to_string())?;
        let positive = |number: i64| u64::try_from(number).unwrap_or_default();
        let check = Self {
            test: recorded.test.unwrap_or_default(),
            interval: positive(recorded.interval),
            timeout: positive(recorded.timeout),
            start_period: positive(recorded.start_period),
            start_interval: positive(recorded.start_interval),
            retries: u32::try_from(recorded.retries).unwrap_or_default(),
            ..Self::default()
        };
        match check.test.first().map(String::as_str) {
            None | Some("") | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(Some(check)),
            Some(other) => Err(format!("Test[0] {other:?} is none of NONE, CMD and CMD-SHELL")),
        }
    }

    /// This with the image's where it says nothing, field by field.
    #[must_use]
    pub fn over(mut self, image: Option<Self>) -> Self {
        let image = image.unwrap_or_default();
        if self.test.is_empty() {
            self.test = image.test;
        }
        for (own, other) in [
            (&mut self.interval, image.interval),
            (&mut self.timeout, image.timeout),
            (&mut self.start_period, image.start_period),
            (&mut self.start_interval, image.start_interval),
        ] {
            if *own == 0 {
                *own = other;
            }
        }
        if self.retries == 0 {
            self.retries = image.retries;
        }
        self
    }

    /// The probe's program and its arguments; `None` where there is no probe.
    pub fn command(&self) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        match (kind.as_str(), words) {
            ("CMD", [_, ..]) => Some(words.to_vec()),
            ("CMD-SHELL", [line, ..]) => {
                let mut command = match self.shell.is_empty() {
                    true => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                    false => self.shell.clone(),
                };
                command.push(line.clone());
                Some(command)
            }
            _ => None,
        }
    }

    /// For one probe.
    pub fn timeout(&self) -> Duration {
        time(self.timeout, 30)
    }

    /// From the end of a probe to the next, `started` ago being the container's start.
    pub fn wait(&self, status: HealthStatus, started: Duration) -> Duration {
        match status == HealthStatus::Starting && started < self.start_period() {
            true => time(self.start_interval, 5),
            false => time(self.interval, 30),
        }
    }

    /// How long a container that does not become healthy can be `starting`.
    pub fn patience(&self) -> Duration {
        let round = time(self.interval, 30) + self.timeout();
        self.start_period() + round * self.retries().saturating_add(1)
    }

    fn start_period(&self) -> Duration {
        Duration::from_nanos(self.start_period)
    }

    fn retries(&self) -> u32 {
        if self.retries == 0 { 3 } else { self.retries }
    }
}

/// What the probes say of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing yet.
    #[default]
    Starting,
    /// The last one succeeded, or too few have failed since.
    Healthy,
    /// Too many have failed in a row. Also of a container that does not run, as with Docker.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The result of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeResult {
    /// RFC 3339, as the next.
    pub start: String,
    /// When it had ended.
    pub end: String,
    /// Its exit status; -1 where it could not be run or took too long.
    pub exit_code: i32,
    /// What it wrote, or what went wrong.
    pub output: String,
}

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// What all probes say.
    pub status: HealthStatus,
    /// How many have failed since the last that did not.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<ProbeResult>,
}

impl Health {
    /// Takes a result of a probe that began `started` after the container's start. Gives the
    /// status where it is another now.
    pub fn take(
        &mut self,
        result: ProbeResult,
        check: &HealthCheck,
        started: Duration,
    ) -> Option<HealthStatus> {
        let before = self.status;
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || started >= check.start_period() {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries() {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        let surplus = self.log.len().saturating_sub(KEPT);
        self.log.drain(..surplus);
        (self.status != before).then_some(self.status)
    }

    /// Begins anew; the results stay.
    pub(crate) fn restart(&mut self) {
        self.status = HealthStatus::Starting;
        self.failing_streak = 0;
    }
}

impl Container {
    /// Whether the container is checked at all.
    pub fn is_checked(&self) -> bool {
        let check = self.record.config.health.as_ref();
        check.is_some_and(|check| check.command().is_some())
    }

    /// What is known of its health, `state` being the container's; `None` where it is not
    /// checked, or never ran.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn health(&self, state: &State) -> Result<Option<Health>> {
        if !self.is_checked() || state.status == Status::Created {
            return Ok(None);
        }
        let mut health = self.written_health();
        if state.status != Status::Running {
            health.status = HealthStatus::Unhealthy;
        }
        Ok(Some(health))
    }

    /// As it was last written; a damaged file is as none, since the next probe writes another.
    pub(crate) fn written_health(&self) -> Health {
        husk_record::read(&self.run.join(FILE)).ok().flatten().unwrap_or_default()
    }

    /// Writes what is known of its health. It need not survive a power failure.
    pub(crate) fn write_health(&self, health: &Health) -> Result<()> {
        Ok(husk_record::write_json(&self.run.join(FILE), health)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> ProbeResult {
        ProbeResult { exit_code, ..ProbeResult::default() }
    }

    const LATE: Duration = Duration::from_secs(3600);

    #[test]
    fn it_is_unhealthy_after_failures_in_a_row_and_healthy_after_one_success() {
        let check = HealthCheck { retries: 2, ..HealthCheck::default() };
        let mut health = Health::default();
        assert_eq!(health.take(result(1), &check, LATE), None);
        assert_eq!(health.status, HealthStatus::Starting);
        assert_eq!(health.take(result(-1), &check, LATE), Some(HealthStatus::Unhealthy));
        assert_eq!(health.take(result(2), &check, LATE), None, "told once");
        assert_eq!(health.failing_streak, 3);
        assert_eq!(health.take(result(0), &check, LATE), Some(HealthStatus::Healthy));
        assert_eq!(health.take(result(1), &check, LATE), None);
        assert_eq!(health.take(result(0), &check, LATE), None, "not two in a row");
        assert_eq!((health.failing_streak, health.log.len()), (0, KEPT));
    }

    #[test]
    fn failures_of_the_start_period_do_not_count_until_a_success() {
        let second = 1_000_000_000;
        let check = HealthCheck { retries: 1, start_period: second, ..HealthCheck::default() };
        let mut health = Health::default();
        let early = Duration::from_millis(500);
        assert_eq!(health.take(result(1), &check, early), None);
        assert_eq!(health.failing_streak, 0);
        assert_eq!(health.take(result(0), &check, early), Some(HealthStatus::Healthy));
        assert_eq!(health.take(result(1), &check, early), Some(HealthStatus::Unhealthy));
        health.restart();
        assert_eq!(health.take(result(1), &check, LATE), Some(HealthStatus::Unhealthy));
        assert_eq!(check.wait(HealthStatus::Starting, early), Duration::from_secs(5));
        assert_eq!(check.wait(HealthStatus::Healthy, early), Duration::from_secs(30));
        assert_eq!(check.wait(HealthStatus::Starting, LATE), Duration::from_secs(30));
    }

    #[test]
    fn flags_go_over_the_image_field_by_field() {
        let image =
            serde_json::json!({ "Test": ["CMD-SHELL", "x y"], "Interval": 5, "Retries": 7 });
        let image = HealthCheck::of_image(&image).unwrap();
        let own = HealthCheck { interval: 9, ..HealthCheck::default() };
        let both = own.over(image);
        assert_eq!((both.interval, both.retries), (9, 7));
        assert_eq!(both.command().unwrap(), ["/bin/sh", "-c", "x y"]);
        let shell =
            HealthCheck { shell: vec!["/ash".to_owned(), "-ec".to_owned()], ..both.clone() };
        assert_eq!(shell.command().unwrap(), ["/ash", "-ec", "x y"]);
        let none = HealthCheck { test: vec!["NONE".to_owned()], ..HealthCheck::default() };
        assert_eq!(none.over(Some(both)).command(), None);
        for wrong in [r#"["CMD"]"#, r#"{"Test":["FOO"]}"#, r#"{"Test":"x"}"#, "7"] {
            let value = serde_json::from_str(wrong).unwrap();
            assert!(HealthCheck::of_image(&value).is_err(), "{wrong}");
        }
        assert_eq!(HealthCheck::of_image(&Value::Null), Ok(None));
    }
}
