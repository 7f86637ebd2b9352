//! A program in namespaces of its own ([`unshare`](unshare::unshare)) or of a process that runs
//! ([`enter`](enter::enter)), without an image: what containers are made of.
//!
//! Both write a bundle and have husk-oci run it in the foreground. So a pid namespace is entered
//! last and with nothing of the host's in reach (security.md, "Processes that join"), and what is
//! refused has husk-oci's words.

pub mod enter;
mod streams;
pub mod unshare;

use std::path::PathBuf;

use husk_spec::{Capabilities, Linux, Process, Root, Spec};

use crate::container::{name, remove_directory};
use crate::error::{Error, Result, file};
use crate::home::{Home, make_directory};
use crate::runtime::Runtime;
use crate::spec::capability;

/// A bundle that goes with its program's end.
struct Bundle {
    directory: PathBuf,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // It is in a directory that need not survive a reboot.
        let _ = remove_directory(&self.directory);
    }
}

/// What a program has as its standard streams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// The caller's own.
    Own,
    /// Pipes, which are copied.
    Between,
}

/// Runs a bundle's program to its end and gives its exit status. It stays in the caller's
/// cgroup.
fn run(home: &Home, spec: &Spec, streams: Streams) -> Result<i32> {
    let id = name::new_id()?;
    let bundle = Bundle { directory: home.run.join("namespaces").join(&id) };
    make_directory(&bundle.directory)?;
    husk_record::write_json(&bundle.directory.join("config.json"), spec)?;
    let mut command = Runtime::find(home)?.command();
    command.args(["--cgroup-manager", "disabled", "run", "--bundle"]);
    command.arg(&bundle.directory).arg(format!("namespaces-{id}"));
    let ended = match streams {
        Streams::Own => command.status(),
        Streams::Between => streams::run_between(&mut command),
    };
    let ended = ended.map_err(file("execute", "husk-oci"))?;
    ended.code().ok_or_else(|| Error::other("husk-oci was killed"))
}

/// A document with this root and program, and nothing else: no mounts, no namespaces.
fn document(root: &str, process: Process, linux: Linux) -> Spec {
    Spec {
        oci_version: husk_spec::VERSION.to_owned(),
        root: Some(Root { path: root.to_owned(), readonly: false }),
        process: Some(process),
        linux: Some(linux),
        ..Spec::default()
    }
}

/// Those of these capabilities that the caller's own bounding set has: others cannot be given.
fn capabilities(wanted: &[String]) -> Capabilities {
    let own = bounding("self").unwrap_or_default();
    let names: Vec<String> = wanted.iter().filter(|name| own.contains(name)).cloned().collect();
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

/// The bounding set of a process, by name.
fn bounding(process: &str) -> Option<Vec<String>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    let bits = u64::from_str_radix(bits.trim(), 16).ok()?;
    let all = capability::resolve(true, &[], &[]);
    let has = |(number, _): &(usize, &String)| bits >> number & 1 == 1;
    Some(all.iter().enumerate().filter(has).map(|(_, name)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_by_their_bits() {
        let own = bounding("self").unwrap();
        assert_eq!(capabilities(&own).bounding, own);
        assert!(capabilities(&["CAP_NONE".to_owned()]).bounding.is_empty());
        assert_eq!(bounding("0"), None);
    }
}
