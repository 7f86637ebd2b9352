//! Where the output goes.

use super::LogConfig;
use super::limits::parse_size;
use crate::container::config::LogOptions;
use crate::error::{Error, Field, Result};

impl LogConfig {
    pub(super) fn resolve(&self) -> Result<LogOptions> {
        let mut log = LogOptions::default();
        match self.driver.as_str() {
            // Docker's local driver is what is done here: files that are bounded.
            "" | "json-file" | "local" => {}
            "none" => log.disabled = true,
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
                _ => {
                    let problem = "must be max-size or max-file";
                    return Err(Error::field(Field::LogConfig, name, problem));
                }
            }
        }
        Ok(log)
    }
}
