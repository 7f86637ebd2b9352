//! What can go wrong, each in one line that says what and what to do.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::ipam::subnet::Subnet;
use crate::links::netlink::Refusal;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A network operation that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{operation} {object}: {refusal}")]
    Kernel {
        /// What was asked for, for example `add link`.
        operation: &'static str,
        /// The object of the request, for example the link's name.
        object: String,
        /// The errno and the kernel's own words.
        refusal: Refusal,
    },
    /// A file of the store, of /proc or of /sys.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// `open`, `read`, `write`, ...
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno.
        source: std::io::Error,
    },
    /// A system call that is about no file and no netlink request.
    #[error("{operation}: {source}")]
    System {
        /// The call and its purpose.
        operation: &'static str,
        /// The errno.
        source: std::io::Error,
    },
    /// A file of the store that is not what this crate wrote.
    #[error(
        "{} is damaged ({source}); \"husk system check\" says what can be done",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it and why.
        source: serde_json::Error,
    },
    /// A name that no network may have.
    #[error(
        "network name {name:?}: must begin with a letter or digit, hold only letters, digits, '_', '.' and '-', and be at most 128 long"
    )]
    NetworkName {
        /// As given.
        name: String,
    },
    /// `bridge`, `host`, `none`, `default` and `container` mean something else.
    #[error("network name {name:?} is reserved, choose another")]
    ReservedName {
        /// As given.
        name: String,
    },
    /// No network is so called.
    #[error("network {name} not found (`husk network ls` lists them)")]
    NoSuchNetwork {
        /// As given.
        name: String,
    },
    /// `network create` with a name in use.
    #[error("network {name} already exists")]
    NetworkExists {
        /// As given.
        name: String,
    },
    /// `network rm` of a network with containers on it.
    #[error("network {name} is used by {containers}: stop or disconnect them first")]
    NetworkInUse {
        /// The network.
        name: String,
        /// Names of the containers, comma separated.
        containers: String,
    },
    /// `network rm bridge`.
    #[error("network {name} is built in and cannot be removed")]
    BuiltIn {
        /// The network.
        name: String,
    },
    /// A subnet, gateway or range that is not one, or does not fit the rest.
    #[error("{property} {value}: {reason}")]
    Invalid {
        /// The flag or property, for example `--subnet`.
        property: &'static str,
        /// As given.
        value: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A subnet that something else routes already.
    #[error("subnet {subnet} overlaps {other}: choose another with --subnet")]
    SubnetTaken {
        /// The subnet asked for.
        subnet: Subnet,
        /// What has it.
        other: String,
    },
    /// No candidate subnet is free.
    #[error("no free subnet among {tried}: give one with --subnet")]
    NoFreeSubnet {
        /// What was tried.
        tried: String,
    },
    /// A fixed address that another container has.
    #[error("address {address} on network {network} is used by container {holder}")]
    AddressInUse {
        /// The address asked for.
        address: IpAddr,
        /// On which network.
        network: String,
        /// Name of the container that has it.
        holder: String,
    },
    /// Every address is given out.
    #[error(
        "network {network}: no free address left in {subnet} (remove containers or create a larger network)"
    )]
    SubnetFull {
        /// The network.
        network: String,
        /// Its subnet or range.
        subnet: Subnet,
    },
    /// A container twice on one network.
    #[error("container {container} is already connected to network {network}")]
    AlreadyConnected {
        /// Name of the container.
        container: String,
        /// The network.
        network: String,
    },
    /// `network disconnect` of what is not connected.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// Name of the container.
        container: String,
        /// The network.
        network: String,
    },
    /// A `--publish` that is none.
    #[error("publish {value:?}: {reason} (the form is [[HOST-IP:]HOST-PORT:]PORT[/tcp|/udp])")]
    PublishSyntax {
        /// As given.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A host port that someone else has.
    #[error("port {port} is already in use by {holder}: publish another port or stop it")]
    PortInUse {
        /// `HOST-IP:PORT/PROTOCOL`.
        port: String,
        /// A container, or a process with its pid, or what is known.
        holder: String,
    },
    /// A host port that cannot be bound for another reason.
    #[error("port {port}: {source}{hint}")]
    PortRefused {
        /// `HOST-IP:PORT/PROTOCOL`.
        port: String,
        /// The errno of bind(2).
        source: std::io::Error,
        /// What to do, or nothing.
        hint: &'static str,
    },
    /// A word after `--network` that asks for what cannot be had.
    #[error("--network {value}: {reason}")]
    Mode {
        /// As given.
        value: String,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// Rootless networking without its program.
    #[error(
        "rootless networking needs the program pasta, which is not in {path}: install the package \"passt\", or use --network none or host"
    )]
    PastaMissing {
        /// Where it was looked for.
        path: String,
    },
    /// pasta ran and failed.
    #[error("pasta: {message}")]
    Pasta {
        /// Its last words, in one line.
        message: String,
    },
    /// Two `--root`s with one `--runroot`.
    #[error(
        "{} is in use by containers of another --root: give another --runroot",
        runtime.display()
    )]
    RuntimeTaken {
        /// The directory.
        runtime: PathBuf,
    },
    /// Several steps of a tear-down failed; all were tried.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    pub(crate) fn file(
        operation: &'static str,
        path: &Path,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::File { operation, path: path.to_path_buf(), source: source.into() }
    }

    pub(crate) fn system(operation: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System { operation, source: source.into() }
    }
}

/// Collects the errors of steps that are all tried, whatever fails.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<Error>);

impl Failures {
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.push(error);
                None
            }
        }
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Several(self.0)),
        }
    }
}
