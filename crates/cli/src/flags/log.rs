//! Where the output goes.

use super::Flags;
use super::environment::pairs;
use super::limits::bytes;
use husk_engine::container::config::LogOptions;
use husk_engine::error::{Error, Result};

impl Flags {
    pub(super) fn log(&self) -> Result<LogOptions> {
        let mut log = LogOptions::default();
        match self.log_driver.as_str() {
            "json-file" => {}
            "none" => log.disabled = true,
            other => {
                return Err(Error::flag(
                    "--log-driver",
                    other,
                    "only json-file and none are built yet",
                ));
            }
        }
        for (name, value) in pairs("--log-opt", &self.log_opt, false)? {
            match name.as_str() {
                "max-size" => log.max_size = bytes("--log-opt max-size", &value)?.unsigned_abs(),
                "max-file" => {
                    let files = value.parse().ok().filter(|files| *files > 0);
                    log.max_files = files.ok_or_else(|| {
                        Error::flag("--log-opt max-file", &value, "is no number above 0")
                    })?;
                }
                _ => {
                    return Err(Error::flag(
                        "--log-opt",
                        name,
                        "only max-size and max-file are built yet",
                    ));
                }
            }
        }
        Ok(log)
    }
}
