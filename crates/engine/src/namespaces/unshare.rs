//! `husk unshare`: a program in new namespaces, as unshare(1).

use husk_spec::{IdMapping, Linux, Mount, Namespace, NamespaceType, Process};

use super::{Streams, capabilities, document, run};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::spec::capability;

/// What to run in which namespaces.
#[derive(Clone, Debug, Default)]
pub struct UnshareRequest {
    /// The namespaces to make; others are the caller's own.
    pub kinds: Vec<NamespaceType>,
    /// Mount a procfs of the pid namespace at /proc, which takes a mount namespace, too.
    pub mount_proc: bool,
    /// A directory to have as root, absolute; `None` for the caller's.
    pub root: Option<String>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory in the root, absolute.
    pub working_dir: String,
    /// Whether standard input and output are a terminal.
    pub terminal: bool,
}

/// Runs the program to its end and gives its exit status. It has every capability that the caller
/// has, over the new namespaces: nothing confines it but what they are.
///
/// # Errors
/// What husk-oci refuses.
pub fn unshare(home: &Home, request: &UnshareRequest) -> Result<i32> {
    if request.args.is_empty() {
        return Err(Error::other("there is no command to run"));
    }
    run(home, &spec(request), Streams::Own)
}

fn spec(request: &UnshareRequest) -> husk_spec::Spec {
    let mut kinds = request.kinds.clone();
    if request.mount_proc || request.root.is_some() {
        kinds.push(NamespaceType::Mount);
    }
    kinds.sort_unstable();
    kinds.dedup();
    let own = |id: u32| vec![IdMapping { container_id: 0, host_id: id, size: 1 }];
    let has_user = kinds.contains(&NamespaceType::User);
    let linux = Linux {
        namespaces: kinds.iter().map(|typ| Namespace { typ: *typ, path: None }).collect(),
        uid_mappings: if has_user { own(rustix::process::geteuid().as_raw()) } else { Vec::new() },
        gid_mappings: if has_user { own(rustix::process::getegid().as_raw()) } else { Vec::new() },
        ..Linux::default()
    };
    let process = Process {
        terminal: request.terminal,
        cwd: request.working_dir.clone(),
        args: request.args.clone(),
        env: request.env.clone(),
        capabilities: Some(capabilities(&capability::resolve(true, &[], &[]))),
        ..Process::default()
    };
    let mut spec = document(request.root.as_deref().unwrap_or("/"), process, linux);
    if kinds.contains(&NamespaceType::Mount) {
        // husk-oci makes the devices of every container in a /dev that is not mounted here: in this
        // machine's own, or in the directory, where they would stay.
        spec.mounts.push(match request.root {
            None => mount("/dev", "bind", "/dev", &["rbind"]),
            Some(_) => mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
        });
    }
    if request.mount_proc {
        spec.mounts.push(mount("/proc", "proc", "proc", &["nosuid", "nodev", "noexec"]));
    }
    spec
}

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        typ: Some(typ.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for() {
        let request = UnshareRequest {
            kinds: vec![NamespaceType::Uts, NamespaceType::User],
            working_dir: "/".to_owned(),
            args: vec!["id".to_owned()],
            ..UnshareRequest::default()
        };
        let spec_of = |request: &UnshareRequest| {
            let spec = spec(request);
            let linux = spec.linux.clone().unwrap();
            let kinds: Vec<_> = linux.namespaces.iter().map(|one| one.typ).collect();
            (spec, linux, kinds)
        };
        let (spec, linux, kinds) = spec_of(&request);
        assert_eq!(kinds, [NamespaceType::Uts, NamespaceType::User]);
        assert_eq!(linux.uid_mappings.len(), 1);
        assert!(spec.mounts.is_empty() && spec.root.is_some_and(|root| root.path == "/"));
        let request = UnshareRequest { mount_proc: true, kinds: Vec::new(), ..request };
        let (spec, linux, kinds) = spec_of(&request);
        assert_eq!(kinds, [NamespaceType::Mount]);
        assert!(linux.uid_mappings.is_empty());
        let places: Vec<&str> = spec.mounts.iter().map(|one| one.destination.as_str()).collect();
        assert_eq!(places, ["/dev", "/proc"]);
    }
}
