//! Building images from Dockerfiles.
//!
//! [`dockerfile`] parses; `builder` resolves variables and stages, asks the cache, and
//! makes layers. What needs a container, RUN, is behind [`Runner`], which the engine
//! implements. COPY and ADD see the context by descriptor only and never leave it.

mod builder;
mod cache;
mod change;
mod commit;
mod copy;
mod copy_step;
pub mod dockerfile;
pub mod error;
pub(crate) mod expand;
mod export;
mod fetch_step;
pub mod git;
pub mod healthcheck;
pub mod ignore;
mod instruction;
mod layer_step;
pub mod lines;
mod metadata_step;
mod mount_step;
mod on_build;
mod options;
pub mod remote;
pub mod run_mount;
mod source;
mod state;
mod substitute;
mod variables;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::overlay::OverlayError;
use crate::pack::PackError;
use crate::store::StoreError;
use crate::tree::TreeError;

pub use builder::{Built, RunStep, Runner, build};
pub use cache::{CacheEntry, CacheExport, import_cache, write_layout};
pub use change::{config_of, config_on};
pub use commit::{CommitOptions, commit};
pub use copy::CopyError;
pub use error::DockerfileError;
pub use export::{export_directory, export_tar};
use ignore::{Ignore, PatternError};
pub use mount_step::{Secret, StepMount, StepSource};
pub use options::{BuildOptions, NamedContext};

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong, or a step of it cannot be done; with the place.
    #[error(transparent)]
    Dockerfile(DockerfileError),
    /// A RUN failed; with the place.
    #[error(transparent)]
    Run(DockerfileError),
    /// No stage has the name of `--target`.
    #[error("there is no stage {0:?} (--target)")]
    Target(String),
    /// `.dockerignore` is wrong.
    #[error(transparent)]
    Ignore(#[from] PatternError),
    /// The context could not be read.
    #[error("context: {operation} {}: {source}", path.display())]
    Context {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A file could not be made or copied.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A work directory could not be made.
    #[error("{}: {source}", path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// The root file system could not be mounted.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A layer could not be written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be unpacked again.
    #[error(transparent)]
    Unpack(Box<crate::registry::RegistryError>),
}

/// Opens a context directory and reads its ignore file: that of the Dockerfile
/// (`NAME.dockerignore`, beside it in the context) before `.dockerignore`.
///
/// # Errors
/// [`BuildError::Context`], [`BuildError::Ignore`].
pub fn open_context(
    directory: &std::path::Path,
    dockerfile: &str,
) -> Result<(OwnedFd, Ignore), BuildError> {
    let failed = |operation, path: PathBuf| {
        move |errno: Errno| BuildError::Context { operation, path, source: errno.into() }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let context = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(failed("open", directory.to_owned()))?;
    let ignore = read_ignore(context.as_fd(), dockerfile)?;
    Ok((context, ignore))
}

/// Reads the ignore file of a context, as [`open_context`] does.
///
/// # Errors
/// [`BuildError::Context`], [`BuildError::Ignore`].
pub fn read_ignore(context: BorrowedFd<'_>, dockerfile: &str) -> Result<Ignore, BuildError> {
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
        let failed = |operation, source| BuildError::Context {
            operation,
            path: PathBuf::from(&name),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = husk_rootfs::resolve::open_at(
            context,
            name.as_bytes(),
            flags,
            husk_rootfs::resolve::IN_ROOT,
        );
        let file = match opened {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(failed("open", errno.into())),
        };
        let mut text = String::new();
        let read = file.take(1 << 20).read_to_string(&mut text);
        read.map_err(|source| failed("read", source))?;
        return Ok(Ignore::parse(&name, &text)?);
    }
    Ok(Ignore::default())
}
