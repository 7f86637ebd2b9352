//! Building images from Dockerfiles.
//!
//! [`dockerfile`] parses; `builder` resolves variables and stages, asks the cache, and
//! makes layers. What needs a container, RUN, is behind [`Runner`], which the engine
//! implements. COPY and ADD see the context by descriptor only and never leave it.

mod builder;
mod change;
mod copy;
mod copy_step;
pub mod dockerfile;
pub mod error;
pub(crate) mod expand;
pub mod healthcheck;
pub mod ignore;
mod instruction;
mod layer_step;
pub mod lines;
mod metadata_step;
mod mount_step;
mod on_build;
pub mod run_mount;
mod state;
mod substitute;
mod variables;

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::overlay::OverlayError;
use crate::pack::PackError;
use crate::store::StoreError;

pub use builder::{BuildOptions, RunStep, Runner, build};
pub use change::config_of;
pub use copy::CopyError;
pub use error::DockerfileError;
use ignore::{Ignore, PatternError};
pub use mount_step::{Secret, StepMount, StepSource};

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
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = husk_rootfs::resolve::open_at(
            context.as_fd(),
            name.as_bytes(),
            flags,
            husk_rootfs::resolve::IN_ROOT,
        );
        let file = match opened {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(failed("open", directory.join(&name))(errno)),
        };
        let mut text = String::new();
        file.take(1 << 20).read_to_string(&mut text).map_err(|source| BuildError::Context {
            operation: "read",
            path: directory.join(&name),
            source,
        })?;
        return Ok((context, Ignore::parse(&name, &text)?));
    }
    Ok((context, Ignore::default()))
}
