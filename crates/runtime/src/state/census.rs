//! The processes of a container, with a cgroup and without: an ordinary user has
//! none where nothing is delegated, and the pid namespace tells as well.

use std::fs;

use crate::host::cgroup_error;
use crate::report::{Code, Error, Result};
use crate::state::record::Record;

/// The processes of a container, as numbers of the caller's pid namespace.
pub fn processes(record: &Record) -> Result<Vec<i32>> {
    if !record.cgroup.is_none() {
        return record.cgroup.processes().map_err(cgroup_error);
    }
    // The others of a pid namespace end with its first process.
    let Some(_alive) = record.process()? else { return unknown_after_death(record) };
    if !record.own_pid_namespace {
        return Err(untold(record));
    }
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", record.pid)).map_err(|error| {
        Error::io(Code::Kernel, format_args!("/proc/{}/ns/pid", record.pid), &error)
    })?;
    let entries =
        fs::read_dir("/proc").map_err(|error| Error::io(Code::Kernel, "/proc", &error))?;
    let mut pids: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // What is gone, or another user's, is not of this container.
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|of| of == namespace))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

fn unknown_after_death(record: &Record) -> Result<Vec<i32>> {
    match record.own_pid_namespace {
        true => Ok(Vec::new()),
        false => Err(untold(record)),
    }
}

fn untold(record: &Record) -> Error {
    Error::new(
        Code::WrongState,
        format_args!("container {}", record.id),
        "its processes cannot be told from others",
    )
    .hint("it has neither a cgroup nor a pid namespace of its own")
}
