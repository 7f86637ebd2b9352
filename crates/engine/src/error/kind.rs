//! Kinds of failures: what a front end decides by, whatever the text says.

use std::io;

use husk_image::archive::ArchiveError;
use husk_image::build::BuildError;
use husk_image::document::DocumentError;
use husk_image::overlay::OverlayError;
use husk_image::pack::PackError;
use husk_image::registry::{CredentialError, RegistryError};
use husk_image::store::StoreError;
use husk_image::tree::TreeError;
use husk_image::user::UserError;
use serde::{Deserialize, Serialize};

use super::Error;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// The request itself cannot be honoured, whatever the state of things.
    InvalidArgument,
    /// What is named is not there.
    NotFound,
    /// What is asked for does not go with the state of something: a name that is taken, a
    /// volume that is in use, a container that is paused.
    Conflict,
    /// The container does not run, where a running one is needed.
    NotRunning,
    /// The container runs, where a stopped one is needed.
    AlreadyRunning,
    /// A registry, or the kernel, does not allow it to this caller.
    Denied,
    /// What is needed does not answer: a registry, a monitor, a program that is not installed.
    Unavailable,
    /// The program of a container is not there (exit status 127 of a shell).
    ProgramNotFound,
    /// The program of a container is there and cannot be executed (126).
    NotExecutable,
    /// The runtime failed.
    Runtime,
    /// A system call on a file failed.
    Io,
    /// A file of the engine's own, or data of a registry, is damaged.
    Damaged,
    /// Whoever asked wants no more of it.
    ConsumerGone,
    /// Everything else.
    Other,
}

/// Exit status where the engine itself failed.
const ENGINE_FAILED: u8 = 125;
/// Exit status where the program of a container could not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit status where the program of a container is not there.
const NOT_FOUND: u8 = 127;

impl ErrorKind {
    /// The exit status that stands for that of a program that could not be started: 127 and
    /// 126 as of a shell, else 125.
    pub fn program_status(self) -> u8 {
        match self {
            Self::ProgramNotFound => NOT_FOUND,
            Self::NotExecutable => NOT_EXECUTABLE,
            _ => ENGINE_FAILED,
        }
    }

    /// The kind that such an exit status stands for.
    pub fn from_program_status(status: u8) -> Self {
        match status {
            NOT_FOUND => Self::ProgramNotFound,
            NOT_EXECUTABLE => Self::NotExecutable,
            _ => Self::Runtime,
        }
    }
}

impl Error {
    /// Of which kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => of_io(source),
            Self::Record { .. } => ErrorKind::Damaged,
            Self::Field { .. } | Self::NoCommand(_) | Self::Reference(_) => {
                ErrorKind::InvalidArgument
            }
            Self::NoContainer(_) | Self::NoVolume(_) | Self::NoExec(_) => ErrorKind::NotFound,
            Self::NoCheckpoint { .. } => ErrorKind::NotFound,
            Self::CheckpointExists { .. } => ErrorKind::Conflict,
            Self::VolumeInUse { .. }
            | Self::NameInUse { .. }
            | Self::Restarting(_)
            | Self::Paused(_)
            | Self::AlreadyPaused(_) => ErrorKind::Conflict,
            Self::Running(_) => ErrorKind::AlreadyRunning,
            Self::NotRunning(_) => ErrorKind::NotRunning,
            Self::NoMonitor(_) => ErrorKind::Unavailable,
            Self::Runtime { kind, .. } => *kind,
            Self::Store(error) => of_store(error),
            Self::Registry(error) => of_registry(error),
            Self::Archive(error) => of_archive(error),
            Self::Build(error) => of_build(error),
            Self::Pack(error) => of_pack(error),
            Self::Tree(error) => of_tree(error),
            Self::Overlay(error) => of_overlay(error),
            Self::User(error) => of_user(error),
            Self::Facts(_) => ErrorKind::Damaged,
            Self::Credentials(error) => of_credentials(error),
            Self::Net(error) => of_net(error),
            Self::ConsumerGone => ErrorKind::ConsumerGone,
            Self::Other(_) => ErrorKind::Other,
        }
    }
}

fn of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Io,
    }
}

fn of_store(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Io { source, .. } => of_io(source),
        StoreError::DigestMismatch { .. }
        | StoreError::Size { .. }
        | StoreError::Record { .. }
        | StoreError::Document(_) => ErrorKind::Damaged,
        StoreError::NoBlob(_) | StoreError::NoLayer(_) | StoreError::NoImage(_) => {
            ErrorKind::NotFound
        }
        StoreError::LayerInUse(_)
        | StoreError::InUse { .. }
        | StoreError::SeveralNames { .. }
        | StoreError::Ambiguous(..) => ErrorKind::Conflict,
        StoreError::Reference(_) | StoreError::Digest(_) => ErrorKind::InvalidArgument,
    }
}

fn of_document(error: &DocumentError) -> ErrorKind {
    match error {
        DocumentError::NoPlatform { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Damaged,
    }
}

fn of_registry(error: &RegistryError) -> ErrorKind {
    match error {
        RegistryError::Connect { .. }
        | RegistryError::Timeout { .. }
        | RegistryError::Slow { .. }
        | RegistryError::Tls { .. }
        | RegistryError::Status { .. }
        | RegistryError::Protocol { .. }
        | RegistryError::Broken { .. } => ErrorKind::Unavailable,
        RegistryError::NotFound { .. } => ErrorKind::NotFound,
        RegistryError::Denied { .. } => ErrorKind::Denied,
        RegistryError::Document { source, .. } => of_document(source),
        RegistryError::DigestMismatch { .. } | RegistryError::Unpack { .. } => ErrorKind::Damaged,
        RegistryError::Store(error) => of_store(error),
        RegistryError::DiskFull { .. } | RegistryError::Thread(_) => ErrorKind::Io,
        RegistryError::Credentials(error) => of_credentials(error),
        RegistryError::Stopped => ErrorKind::Other,
    }
}

fn of_archive(error: &ArchiveError) -> ErrorKind {
    match error {
        ArchiveError::Stream(error) | ArchiveError::File { source: error, .. } => of_io(error),
        ArchiveError::Store(error) => of_store(error),
        ArchiveError::Unpack(error) => of_registry(error),
        ArchiveError::DamagedBlob { .. } => ErrorKind::Damaged,
        ArchiveError::Tar(_)
        | ArchiveError::NoImage
        | ArchiveError::Missing(_)
        | ArchiveError::DigestMismatch { .. }
        | ArchiveError::Document { .. }
        | ArchiveError::Invalid(_) => ErrorKind::InvalidArgument,
    }
}

fn of_build(error: &BuildError) -> ErrorKind {
    match error {
        BuildError::Dockerfile(_) | BuildError::Target(_) | BuildError::Ignore(_) => {
            ErrorKind::InvalidArgument
        }
        BuildError::Context { source, .. } | BuildError::Scratch { source, .. } => of_io(source),
        BuildError::Tree(error) => of_tree(error),
        BuildError::Overlay(error) => of_overlay(error),
        BuildError::Pack(error) => of_pack(error),
        BuildError::Store(error) => of_store(error),
        BuildError::Unpack(error) => of_registry(error),
        BuildError::Run(_) | BuildError::Copy(_) => ErrorKind::Other,
    }
}

fn of_pack(error: &PackError) -> ErrorKind {
    match error {
        PackError::File { source, .. } | PackError::Write(source) => of_io(source),
        PackError::Tree(error) => of_tree(error),
    }
}

fn of_tree(error: &TreeError) -> ErrorKind {
    match error {
        TreeError::File { source, .. } => of_io(source),
        TreeError::NotDirectory { .. } | TreeError::IsDirectory { .. } => ErrorKind::Conflict,
        TreeError::Deep { .. } => ErrorKind::Other,
    }
}

fn of_overlay(error: &OverlayError) -> ErrorKind {
    match error {
        OverlayError::Directory { source, .. }
        | OverlayError::Option { source, .. }
        | OverlayError::Mount { source, .. } => of_io(source),
        OverlayError::TooManyLayers(_) => ErrorKind::Other,
    }
}

fn of_user(error: &UserError) -> ErrorKind {
    match error {
        UserError::Syntax(_) | UserError::Range { .. } | UserError::Unknown { .. } => {
            ErrorKind::InvalidArgument
        }
        UserError::File { .. } => ErrorKind::Damaged,
        UserError::Read { source, .. } => of_io(source),
    }
}

fn of_credentials(error: &CredentialError) -> ErrorKind {
    match error {
        CredentialError::Io { source, .. } => of_io(source),
        CredentialError::Malformed { .. } => ErrorKind::Damaged,
        CredentialError::Helper { .. } => ErrorKind::Unavailable,
        CredentialError::NoHome => ErrorKind::Other,
    }
}

fn of_net(error: &husk_net::Error) -> ErrorKind {
    use husk_net::Error;
    match error {
        Error::Kernel { .. } => ErrorKind::Io,
        Error::File { source, .. }
        | Error::System { source, .. }
        | Error::PortRefused { source, .. } => of_io(source),
        Error::Damaged { .. } => ErrorKind::Damaged,
        Error::NetworkName { .. }
        | Error::ReservedName { .. }
        | Error::Invalid { .. }
        | Error::PublishSyntax { .. }
        | Error::Mode { .. } => ErrorKind::InvalidArgument,
        Error::NoSuchNetwork { .. } => ErrorKind::NotFound,
        Error::NetworkExists { .. }
        | Error::NetworkInUse { .. }
        | Error::BuiltIn { .. }
        | Error::SubnetTaken { .. }
        | Error::NoFreeSubnet { .. }
        | Error::AddressInUse { .. }
        | Error::SubnetFull { .. }
        | Error::AlreadyConnected { .. }
        | Error::NotConnected { .. }
        | Error::PortInUse { .. }
        | Error::RuntimeTaken { .. } => ErrorKind::Conflict,
        Error::PastaMissing { .. } | Error::Pasta { .. } => ErrorKind::Unavailable,
        Error::Several(errors) => errors.first().map_or(ErrorKind::Other, of_net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_follows_from_what_is_inside() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let store = StoreError::Io { operation: "open", path: "/x".into(), source: denied() };
        let cases: [(Error, ErrorKind); 6] = [
            (Error::NoContainer("x".to_owned()), ErrorKind::NotFound),
            (StoreError::NoImage("x".to_owned()).into(), ErrorKind::NotFound),
            (store.into(), ErrorKind::Denied),
            (ArchiveError::Store(StoreError::NoImage("x".to_owned())).into(), ErrorKind::NotFound),
            (husk_net::Error::NetworkExists { name: "n".to_owned() }.into(), ErrorKind::Conflict),
            (
                husk_net::Error::Several(vec![husk_net::Error::NoSuchNetwork {
                    name: "n".to_owned(),
                }])
                .into(),
                ErrorKind::NotFound,
            ),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn a_program_status_is_that_of_a_shell() {
        for status in [125, 126, 127] {
            assert_eq!(ErrorKind::from_program_status(status).program_status(), status);
        }
        assert_eq!(ErrorKind::Conflict.program_status(), 125);
    }
}
