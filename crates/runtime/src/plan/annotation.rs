//! Annotations under our own prefix that change what a container may do:
//! docs/annotations.md.

use std::collections::BTreeMap;

use crate::report::{Error, Result};

use super::{Host, Landlock, Process};

/// Landlock rules as a JSON document.
pub const LANDLOCK: &str = "io.github.husk.landlock";
/// A core scheduling cookie of the container's own: `true` or `strict`.
pub const CORE_SCHEDULING: &str = "io.github.husk.core-scheduling";

/// What only goes as far as the kernel does, unless it is to be had whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What the kernel lacks is a warning.
    Best,
    /// What the kernel lacks is an error.
    Strict,
}

/// `annotations (KEY)`, as messages name it.
pub fn property(key: &str) -> String {
    format!("annotations ({key})")
}

impl Process {
    /// Adds what the container's annotations say of every process in it.
    pub fn plan_annotations(
        &mut self,
        annotations: &BTreeMap<String, String>,
        host: &Host,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        if let Some(value) = annotations.get(LANDLOCK) {
            self.landlock = Landlock::plan(value, host, warnings)?;
        }
        if let Some(value) = annotations.get(CORE_SCHEDULING) {
            self.core_scheduling = match value.as_str() {
                "true" => Some(Effort::Best),
                "strict" => Some(Effort::Strict),
                "false" => None,
                _ => {
                    return Err(Error::invalid(
                        format_args!("annotations ({CORE_SCHEDULING}={value})"),
                        "none of true, strict, false",
                    ));
                }
            };
        }
        Ok(())
    }
}
