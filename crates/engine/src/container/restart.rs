//! When a container's program is run again after its end: restart policies, as Docker's
//! reference has them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first wait before a program is run again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A program that ran so long begins with the first wait again.
const STEADY: Duration = Duration::from_secs(10);

/// Which ends a policy takes for a reason to run the program again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// None.
    #[default]
    No,
    /// An exit status that is not 0.
    OnFailure,
    /// Any. After a reboot the container is started also if it was stopped by hand.
    Always,
    /// Any, unless the container was stopped by hand.
    UnlessStopped,
}

impl RestartCondition {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartPolicy {
    /// After which ends.
    pub condition: RestartCondition,
    /// How often at most, of `on-failure`; 0 for any number of times.
    pub maximum: u32,
}

impl RestartPolicy {
    /// Whether a program is run again that has ended with `exit_code`, after it was run again
    /// `count` times. `by_hand`: somebody has asked for the end.
    pub fn restarts(&self, exit_code: i32, count: u32, by_hand: bool) -> bool {
        !by_hand && self.starts_at_boot(exit_code, count, false)
    }

    /// Whether a container that ran once, and does not, is started when the machine has
    /// started. `by_hand`: it was stopped by somebody.
    pub fn starts_at_boot(&self, exit_code: i32, count: u32, by_hand: bool) -> bool {
        match self.condition {
            RestartCondition::No => false,
            RestartCondition::OnFailure => {
                exit_code != 0 && (self.maximum == 0 || count < self.maximum)
            }
            RestartCondition::Always => true,
            RestartCondition::UnlessStopped => !by_hand,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.condition.name())?;
        match self.maximum {
            0 => Ok(()),
            maximum => write!(f, ":{maximum}"),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = &'static str;

    /// `NAME[:COUNT]`; the empty text is `no`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, count) = text.split_once(':').unwrap_or((text, ""));
        let condition = match name {
            "" if text.is_empty() => RestartCondition::No,
            "no" => RestartCondition::No,
            "on-failure" => RestartCondition::OnFailure,
            "always" => RestartCondition::Always,
            "unless-stopped" => RestartCondition::UnlessStopped,
            _ => return Err("must be no, on-failure[:COUNT], always or unless-stopped"),
        };
        let maximum = match count {
            "" => 0,
            count => count.parse().map_err(|_| "the count of restarts must be 0 or more")?,
        };
        if maximum != 0 && condition != RestartCondition::OnFailure {
            return Err("a count of restarts is for on-failure only");
        }
        Ok(Self { condition, maximum })
    }
}

/// How long is waited before each restart.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    last: Duration,
}

impl BackOff {
    /// The wait after a run of this length.
    pub fn next(&mut self, ran: Duration) -> Duration {
        self.last = match self.last {
            Duration::ZERO => FIRST_WAIT,
            _ if ran >= STEADY => FIRST_WAIT,
            last => (last * 2).min(LONGEST_WAIT),
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("".parse(), Ok(RestartPolicy::default()));
        assert_eq!("on-failure:".parse::<RestartPolicy>().unwrap().to_string(), "on-failure");
        for text in ["foo", ":3", "always:3", "on-failure:x", "on-failure:-1", "no:1", "Always"] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_policy_has_its_ends() {
        let restarts = |text: &str, exit_code, count, by_hand| {
            text.parse::<RestartPolicy>().unwrap().restarts(exit_code, count, by_hand)
        };
        assert!(!restarts("no", 1, 0, false));
        assert!(restarts("always", 0, 1000, false));
        assert!(!restarts("always", 1, 0, true), "stopped by hand");
        assert!(!restarts("on-failure", 0, 0, false));
        assert!(restarts("on-failure", 1, 1000, false));
        assert!(restarts("on-failure:2", 1, 1, false));
        assert!(!restarts("on-failure:2", 1, 2, false));
        let at_boot = |text: &str, exit_code, by_hand| {
            text.parse::<RestartPolicy>().unwrap().starts_at_boot(exit_code, 0, by_hand)
        };
        assert!(at_boot("always", 0, true), "as Docker's daemon does");
        assert!(!at_boot("unless-stopped", 0, true));
        assert!(at_boot("unless-stopped", 0, false));
        assert!(at_boot("on-failure", 255, false));
        assert!(!at_boot("on-failure", 0, false));
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_begins_again() {
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..12).map(|_| back_off.next(STEADY / 2).as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [51_200, 60_000, 60_000]);
        assert_eq!(back_off.next(STEADY), FIRST_WAIT);
    }
}
