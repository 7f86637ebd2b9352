//! `linux.resources.unified`: files of v2 by their names.

use std::collections::BTreeMap;

use crate::controller::Controller;
use crate::error::Error;
use crate::layout::{Home, Layout};
use crate::setting::Settings;

/// Files that move, kill or stop processes instead of limiting them.
const NOT_SETTINGS: [&str; 4] = ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze"];

pub(crate) fn settings(
    files: &BTreeMap<String, String>,
    layout: &Layout,
    settings: &mut Settings,
) -> Result<(), Error> {
    for (file, text) in files {
        let property = format!("linux.resources.unified.{file}");
        let invalid = |reason: &str| Error::invalid(&property, format!("{text:?}"), reason);
        if file.contains(['/', '\0']) || file == "." || file == ".." {
            return Err(invalid("a key is the name of one file"));
        }
        let Some((prefix, _)) = file.split_once('.').filter(|(prefix, _)| !prefix.is_empty())
        else {
            return Err(invalid("a key is CONTROLLER.FILE"));
        };
        if NOT_SETTINGS.contains(&file.as_str()) {
            return Err(invalid("is no setting"));
        }
        let controller = controller(prefix);
        let present = match controller {
            Some(Controller::Core) => layout.v2.is_some(),
            Some(Controller::Misc) | None => layout
                .v2
                .as_ref()
                .is_some_and(|unified| unified.controllers.iter().any(|name| name == prefix)),
            Some(controller) => layout.home(controller) == Home::V2,
        };
        if !present {
            return Err(Error::Unsupported {
                property,
                value: text.clone(),
                file: file.clone(),
                controller: controller.map_or("named", |controller| controller.name(true)),
                reason: format!("cgroup v2 does not have it here ({})", layout.describe()),
            });
        }
        // Keyed files take one line a write.
        let mut sink = settings.of(controller.unwrap_or(Controller::Misc), true);
        for line in text.lines() {
            sink.set(property.clone(), file.clone(), line);
        }
    }
    Ok(())
}

fn controller(prefix: &str) -> Option<Controller> {
    [
        Controller::Cpuset,
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
        Controller::Io,
        Controller::Hugetlb,
        Controller::Rdma,
        Controller::Misc,
    ]
    .into_iter()
    .find(|controller| controller.v2_name() == Some(prefix))
    .or((prefix == "cgroup").then_some(Controller::Core))
}
