//! HEALTHCHECK (Dockerfile reference) and what an image config records of it.

use serde_json::{Value, json};

use super::dockerfile::Command;
use super::instruction::{LineParser, Problem, problem};

/// A probe of whether the program in a container is well, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// The probe; `None` is HEALTHCHECK NONE, which hides the base image's.
    pub command: Option<Command>,
    /// Nanoseconds between two probes; 0 where the engine chooses.
    pub interval: u64,
    /// Nanoseconds that a probe may take.
    pub timeout: u64,
    /// Nanoseconds at the start during which failures do not count.
    pub start_period: u64,
    /// Nanoseconds between two probes in that time.
    pub start_interval: u64,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

impl Healthcheck {
    /// The form of image configs (image-spec "config.md", after Docker's `HealthConfig`).
    #[must_use]
    pub fn recorded(&self) -> Value {
        let test = match &self.command {
            None => vec!["NONE".to_owned()],
            Some(Command::Exec(words)) => [&["CMD".to_owned()], words.as_slice()].concat(),
            Some(Command::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
        };
        let mut record = serde_json::Map::from_iter([("Test".to_owned(), json!(test))]);
        for (name, value) in [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
            ("Retries", u64::from(self.retries)),
        ] {
            if value != 0 {
                record.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(record)
    }
}

impl LineParser<'_> {
    pub(super) fn healthcheck(&self, rest: &str, start: usize) -> Result<Healthcheck, Problem> {
        const FORM: &str = "HEALTHCHECK takes: [--interval= --timeout= ...] CMD command, or NONE";
        let (flags, rest, start) = self.flags(rest, start)?;
        let mut check = Healthcheck::default();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (kind, command) = rest.split_at(end);
        let at = start + end + (command.len() - command.trim_start().len());
        let command = command.trim();
        match kind.to_ascii_uppercase().as_str() {
            "NONE" if command.is_empty() && flags.is_empty() => return Ok(check),
            "NONE" => return problem(at.min(start + rest.len()), "HEALTHCHECK NONE stands alone"),
            "CMD" if command.is_empty() => {
                return problem(start, "HEALTHCHECK CMD needs a command");
            }
            "CMD" => check.command = Some(self.command(command, at)?),
            _ => return problem(start, FORM),
        }
        if check.command == Some(Command::Exec(Vec::new())) {
            return problem(at, "HEALTHCHECK CMD needs a command");
        }
        for (offset, name, value) in flags {
            let text = value.map(|value| value.text).unwrap_or_default();
            let place = match name.as_str() {
                "interval" => &mut check.interval,
                "timeout" => &mut check.timeout,
                "start-period" => &mut check.start_period,
                "start-interval" => &mut check.start_interval,
                "retries" => {
                    let count = text.parse().map_err(|_| {
                        (offset, format!("--retries {text:?} is not a number, as in 3"))
                    });
                    check.retries = count?;
                    continue;
                }
                _ => return problem(offset, format!("HEALTHCHECK has no flag --{name}")),
            };
            *place = duration(&text).ok_or_else(|| {
                let form = "is not 0, nor a time of 1ms or more, as in 30s or 1m30s";
                (offset, format!("--{name} {text:?} {form}"))
            })?;
        }
        Ok(check)
    }
}

/// Reads a time as Go writes it, such as `1m30s`, in nanoseconds; `None` of anything else, of a
/// negative one and of one below Docker's least.
#[must_use]
pub fn duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("\u{b5}s", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    if text == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    let whole = total as u64;
    // A century is no interval but a slip; and Go's own type ends at 292 years.
    (!text.is_empty() && (whole == 0 || whole >= 1_000_000) && total < 3.2e18).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::dockerfile::{Dockerfile, Instruction};

    fn read(text: &str) -> Result<Value, String> {
        let parsed = Dockerfile::parse("f", &format!("FROM x\nHEALTHCHECK {text}\n"));
        let parsed = parsed.map_err(|error| error.to_string())?;
        let Instruction::Healthcheck(check) = &parsed.stages[0].steps[0].instruction else {
            panic!("{parsed:?}")
        };
        Ok(check.recorded())
    }

    #[test]
    fn what_docker_records() {
        let flags =
            "--interval=1m30s --timeout=1.5s --start-period=500ms --start-interval=1h --retries=3";
        assert_eq!(
            read(&format!("{flags} CMD curl -f http://localhost/ || exit 1")).unwrap(),
            json!({
                "Test": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"],
                "Interval": 90_000_000_000_u64, "Timeout": 1_500_000_000_u64,
                "StartPeriod": 500_000_000_u64, "StartInterval": 3_600_000_000_000_u64,
                "Retries": 3,
            })
        );
        assert_eq!(
            read("cmd [\"/probe\", \"-q\"]").unwrap(),
            json!({"Test": ["CMD", "/probe", "-q"]})
        );
        assert_eq!(read("--timeout=0 CMD x").unwrap(), json!({"Test": ["CMD-SHELL", "x"]}));
        assert_eq!(read("NONE").unwrap(), json!({"Test": ["NONE"]}));
    }

    #[test]
    fn nonsense_has_its_place() {
        for (text, expected) in [
            ("curl x", "2:13: HEALTHCHECK takes"),
            ("CMD", "2:13: HEALTHCHECK CMD needs"),
            ("CMD []", "2:17: HEALTHCHECK CMD needs"),
            ("NONE x", "2:18: HEALTHCHECK NONE stands alone"),
            ("--timeout=1s NONE", "HEALTHCHECK NONE stands alone"),
            ("--timeout=1 CMD x", "2:13: --timeout \"1\" is not 0, nor"),
            ("--timeout= CMD x", "2:13: --timeout \"\" is not"),
            ("--interval=10us CMD x", "--interval \"10us\" is not"),
            ("--interval=-5s CMD x", "--interval \"-5s\" is not"),
            ("--interval=1d CMD x", "--interval \"1d\" is not"),
            ("--interval=999999999h CMD x", "is not 0, nor"),
            ("--retries=-1 CMD x", "2:13: --retries \"-1\" is not a number"),
            ("--retries=1 --retries=2 CMD x", "2:25: --retries is given twice"),
            ("--disable CMD x", "2:13: HEALTHCHECK has no flag --disable"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
