//! The list of volumes.

use super::Volume;
use crate::error::Result;
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::reporter::Reporter;

/// The filters of the list.
pub const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];

/// The volumes that pass, by name. One whose record is damaged is a notice.
///
/// # Errors
/// A filter that cannot be honoured, a directory that cannot be read.
pub fn list(home: &Home, filters: &[Filter], reporter: &dyn Reporter) -> Result<Vec<Volume>> {
    let all = Volume::all(home)?;
    filter::check(filters, &FILTERS)?;
    let mut passing = Vec::new();
    for one in all {
        if let Some(damage) = &one.damage {
            reporter.notice(&format!(
                "volume {}: {damage}: its labels are lost, its data are not; \"husk system \
                 check --repair\" writes a new record",
                one.name
            ));
        }
        let passes = filter::all_pass(filters, |filter| match filter.name.as_str() {
            "name" => filter.names(&one.name),
            "label" => Ok(filter.has_label(&one.labels)),
            "driver" => Ok(filter.value == "local"),
            _ => Ok(filter.truth()? == Volume::user(home, &one.name)?.is_none()),
        })?;
        passing.extend(passes.then_some(one));
    }
    Ok(passing)
}
