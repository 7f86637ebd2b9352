//! Where the output goes.

use std::collections::BTreeMap;

use super::LogConfig;
use super::limits::parse_size;
use crate::container::config::LogOptions;
use crate::error::{Error, Field, Result};

impl LogConfig {
    /// # Errors
    /// A driver that is not there; an option that cannot be honoured.
    pub(super) fn resolve(
        &self,
        labels: &BTreeMap<String, String>,
        env: &[String],
    ) -> Result<LogOptions> {
        let mut log = LogOptions::default();
        match self.driver.as_str() {
            // Docker's local driver is what is done here: files that are bounded.
            "" | "json-file" | "local" => {}
            "none" => log.disabled = true,
            "journald" | "syslog" => {
                let problem = "is not supported: use json-file, and husk logs --follow to pass \
                               the output on";
                return Err(Error::field(Field::LogType, &self.driver, problem));
            }
            other => {
                let problem = "must be json-file, local or none";
                return Err(Error::field(Field::LogType, other, problem));
            }
        }
        for (name, value) in &self.options {
            match name.as_str() {
                "max-size" => {
                    let size = parse_size(value).ok_or_else(|| {
                        let problem = "must be a size such as 64m or 1g";
                        Error::field(Field::LogMaxSize, value, problem)
                    })?;
                    log.max_size = size.unsigned_abs();
                }
                "max-file" => {
                    let files = value.parse().ok().filter(|files| *files > 0);
                    log.max_files = files.ok_or_else(|| {
                        Error::field(Field::LogMaxFile, value, "must be a number above 0")
                    })?;
                }
                "labels" => {
                    let wanted = |label: &str| value.split(',').any(|one| one == label);
                    let chosen = labels.iter().filter(|(label, _)| wanted(label));
                    log.attributes.extend(chosen.map(|(a, b)| (a.clone(), b.clone())));
                    log.selected.insert(name.clone(), value.clone());
                }
                "env" => {
                    let variables = env.iter().filter_map(|one| one.split_once('='));
                    let chosen = variables.filter(|(a, _)| value.split(',').any(|one| one == *a));
                    log.attributes.extend(chosen.map(|(a, b)| (a.to_owned(), b.to_owned())));
                    log.selected.insert(name.clone(), value.clone());
                }
                // A file is written at once, and rotated files are not compressed.
                "mode" if value == "blocking" => {}
                "compress" if value == "false" => {}
                "mode" => {
                    let problem = "mode must be blocking: output is written to the file at once";
                    return Err(Error::field(Field::LogConfig, value, problem));
                }
                "compress" => {
                    let problem = "compress must be false; use max-size and max-file";
                    return Err(Error::field(Field::LogConfig, value, problem));
                }
                _ => {
                    let problem = "must be max-size, max-file, labels or env";
                    return Err(Error::field(Field::LogConfig, name, problem));
                }
            }
        }
        Ok(log)
    }
}
