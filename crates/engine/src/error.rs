//! What goes wrong in the engine: one line each, with a kind from which a front end derives
//! an exit code or an HTTP status.

mod failure;
mod field;
mod kind;

use std::fmt;
use std::io;
use std::path::Path;

pub use failure::Failure;
pub use field::{Field, Problem};
pub use kind::ErrorKind;

/// One failure, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// The errno.
        source: io::Error,
    },
    /// A file of the engine's own is damaged: cut short by a power failure, say.
    #[error("{path} is damaged ({source}); \"husk system check\" says what can be done")]
    Record {
        /// The file.
        path: String,
        /// The parser's message.
        source: serde_json::Error,
    },
    /// A field of a request whose value cannot be honoured.
    #[error("{field} {value:?}: {problem}")]
    Field {
        /// The field.
        field: Field,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No container has the name or id.
    #[error("no such container: {0}")]
    NoContainer(String),
    /// No volume has the name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// A volume that a container has.
    #[error("volume {name} is in use by container {container}")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The container's name.
        container: String,
    },
    /// A name that another container has.
    #[error("the name {name:?} is in use by container {id}: remove or rename that container")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A container that is to be started runs.
    #[error("container {0} is already running")]
    Running(String),
    /// A container that does not run where a running one is needed.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A container whose program has ended and is about to be run again, where a running one is
    /// needed.
    #[error("container {0} is restarting: wait until it is running")]
    Restarting(String),
    /// A paused container where a running one is needed.
    #[error("container {0} is paused: unpause it first")]
    Paused(String),
    /// A paused container that is to be paused.
    #[error("container {0} is already paused")]
    AlreadyPaused(String),
    /// A container whose monitor is gone, or of a version that cannot do what is asked for.
    #[error(
        "the monitor of container {0} was killed, or is that of an older husk: restart the \
         container to give it a new one"
    )]
    NoMonitor(String),
    /// No checkpoint of the container has the name.
    #[error("container {container} has no checkpoint {name}")]
    NoCheckpoint {
        /// The container's name.
        container: String,
        /// The checkpoint's.
        name: String,
    },
    /// A checkpoint of that name is there.
    #[error(
        "container {container} has a checkpoint {name} already: remove it, or choose another name"
    )]
    CheckpointExists {
        /// The container's name.
        container: String,
        /// The checkpoint's.
        name: String,
    },
    /// No exec session of the container has the id.
    #[error("no such exec session: {0}")]
    NoExec(String),
    /// The runtime or the container's monitor failed.
    #[error("{message}")]
    Runtime {
        /// Its own line.
        message: String,
        /// Of which kind its failure is.
        kind: ErrorKind,
    },
    /// The image store failed.
    #[error(transparent)]
    Store(Box<husk_image::store::StoreError>),
    /// A registry failed.
    #[error(transparent)]
    Registry(Box<husk_image::registry::RegistryError>),
    /// An archive could not be read or written.
    #[error(transparent)]
    Archive(Box<husk_image::archive::ArchiveError>),
    /// An image could not be built.
    #[error(transparent)]
    Build(Box<husk_image::build::BuildError>),
    /// A tar could not be written.
    #[error(transparent)]
    Pack(#[from] husk_image::pack::PackError),
    /// A tree could not be copied.
    #[error(transparent)]
    Tree(#[from] husk_image::tree::TreeError),
    /// Neither the request nor the image says what is to be run.
    #[error("image {0} has no command: give one")]
    NoCommand(String),
    /// A malformed reference.
    #[error(transparent)]
    Reference(#[from] husk_image::reference::ReferenceError),
    /// The rootfs could not be mounted.
    #[error(transparent)]
    Overlay(#[from] husk_image::overlay::OverlayError),
    /// The user is not known.
    #[error(transparent)]
    User(#[from] husk_image::user::UserError),
    /// The image's config.
    #[error(transparent)]
    Facts(#[from] husk_image::facts::FactError),
    /// Docker's configuration file.
    #[error(transparent)]
    Credentials(#[from] husk_image::registry::CredentialError),
    /// Networks.
    #[error(transparent)]
    Net(#[from] husk_net::Error),
    /// Whoever asked wants no more of it: a consumer of output that is gone.
    #[error("the consumer of the output is gone")]
    ConsumerGone,
    /// Everything else, in one sentence.
    #[error("{0}")]
    Other(String),
}

/// Everything that fails here fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in one sentence.
    pub fn other(message: impl fmt::Display) -> Self {
        Self::Other(message.to_string())
    }

    /// A field's value that cannot be honoured.
    pub fn field(field: Field, value: impl fmt::Display, problem: impl Into<Problem>) -> Self {
        Self::Field { field, value: value.to_string(), problem: problem.into() }
    }

    /// Whether the container that is named is not there, or not in a state for what is asked.
    pub fn is_about_container(&self) -> bool {
        matches!(
            self,
            Self::NoContainer(_)
                | Self::NotRunning(_)
                | Self::Restarting(_)
                | Self::Paused(_)
                | Self::AlreadyPaused(_)
                | Self::NoMonitor(_)
        )
    }
}

/// For `map_err`: a system call on `path`.
pub fn file<E: Into<io::Error>>(
    operation: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(E) -> Error {
    let path = path.as_ref().display().to_string();
    move |source| Error::File { operation, path, source: source.into() }
}

impl From<husk_record::Error> for Error {
    fn from(error: husk_record::Error) -> Self {
        match error {
            husk_record::Error::File { operation, path, source } => {
                Self::File { operation, path: path.display().to_string(), source }
            }
            husk_record::Error::Damaged { path, source } => {
                Self::Record { path: path.display().to_string(), source }
            }
        }
    }
}

impl From<husk_image::store::StoreError> for Error {
    fn from(error: husk_image::store::StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<husk_image::registry::RegistryError> for Error {
    fn from(error: husk_image::registry::RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<husk_image::archive::ArchiveError> for Error {
    fn from(error: husk_image::archive::ArchiveError) -> Self {
        Self::Archive(Box::new(error))
    }
}

impl From<husk_image::build::BuildError> for Error {
    fn from(error: husk_image::build::BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}
