//! Where the output goes.

use super::Flags;
use super::environment::pairs;
use super::limits::bytes;
use crate::error::{Error, Result};
use husk_engine::container::config::LogOptions;

impl Flags {
    pub(super) fn log(&self) -> Result<LogOptions> {
        let mut log = LogOptions::default();
        match self.log_driver.as_str() {
            // Docker's local driver is what is done here: files that are bounded.
            "json-file" | "local" => {}
            "none" => log.disabled = true,
            other => {
                return Err(Error::flag("--log-driver", other, "must be json-file, local or none"));
            }
        }
        for (name, value) in pairs("--log-opt", &self.log_opt, false)? {
            match name.as_str() {
                "max-size" => log.max_size = bytes("--log-opt max-size", &value)?.unsigned_abs(),
                "max-file" => {
                    let files = value.parse().ok().filter(|files| *files > 0);
                    log.max_files = files.ok_or_else(|| {
                        Error::flag("--log-opt max-file", &value, "must be a number above 0")
                    })?;
                }
                _ => {
                    return Err(Error::flag("--log-opt", name, "must be max-size or max-file"));
                }
            }
        }
        Ok(log)
    }
}
