//! `state`, and the view of a container that `list` shares.

use std::collections::BTreeMap;

use husk_spec::Status;
use serde::Serialize;

use super::{Arguments, Command, Exit, Global, print};
use crate::report::{Error, Result};
use crate::state::Directory;
use crate::state::record::Record;

pub(super) const COMMAND: Command = Command {
    name: "state",
    usage: "state CONTAINER",
    about: "Print the state of a container as JSON",
    flags: &[],
    run,
    enters: false,
};

/// Annotation that tells how many processes the kernel has killed in the
/// container for want of memory.
const OOM_KILLS: &str = "io.github.husk.oom-kills";

/// The state document with what runc adds to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    status: &'static str,
    pub(super) bundle: String,
    rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(super) owner: String,
}

impl View {
    pub(super) fn new(directory: &Directory, record: Record) -> Self {
        let status = directory.status(&record);
        let mut annotations = record.annotations;
        if let Some(kills) = record.cgroup.oom_kills().ok().flatten().filter(|kills| *kills > 0) {
            annotations.insert(OOM_KILLS.to_owned(), kills.to_string());
        }
        Self {
            oci_version: record.oci_version,
            id: record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.name(),
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations,
            owner: user_name(record.owner),
        }
    }

    pub(super) fn status(&self) -> &'static str {
        self.status
    }
}

/// Name of a user of the host; the number where it has none.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

fn run(global: &Global, arguments: Arguments) -> Exit {
    let directory = global.store()?.open(&arguments.only_id()?)?;
    let record = directory.record()?;
    print(&(json(&View::new(&directory, record))? + "\n"))
}

pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::invalid("output", error))
}
