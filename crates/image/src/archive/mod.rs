//! Images in files: OCI layouts and docker-archives as tars, in and out, and OCI layouts as
//! directories and a bare rootfs in.
//!
//! An archive is read once, front to back, so it may come from a pipe: every file goes
//! into the store under the digest of its content, and the documents say afterwards
//! which of them make an image. What is left over is collected.

mod import;
mod load;
mod save;

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::document::DocumentError;
use crate::reference::Reference;
use crate::registry::RegistryError;
use crate::store::{ImageRecord, StoreError};
use crate::unpack::TarError;

pub use import::{ImportOptions, import};
pub use load::{load_directory, load_stream};
pub use save::{Format, save_stream};

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image, unpacked.
    pub image: ImageRecord,
    /// The names that the archive gives it, which now point to it.
    pub names: Vec<Reference>,
}

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream failed.
    #[error("archive: {0}")]
    Stream(#[from] io::Error),
    /// Not a tar.
    #[error("archive: {0}")]
    Tar(#[from] TarError),
    /// A file of a layout directory could not be read.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// Neither of the formats.
    #[error("archive: neither index.json (OCI layout) nor manifest.json (docker-archive) in it")]
    NoImage,
    /// A file that the archive's documents name is missing.
    #[error("archive: {0} is not in it")]
    Missing(String),
    /// A blob's file name is not its content's digest.
    #[error("archive: blob {expected} has the content of {found}")]
    DigestMismatch {
        /// The digest of the name.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// A blob of the store is not what its digest says.
    #[error(
        "blob {expected} is damaged: its content is {found}; \"husk system check --repair\" removes \
         it, and pulling or loading the image again brings it back"
    )]
    DamagedBlob {
        /// The blob.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A malformed document.
    #[error("archive: {what}: {source}")]
    Document {
        /// Its file.
        what: String,
        /// The problem.
        source: DocumentError,
    },
    /// A document says something that cannot be.
    #[error("archive: {0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be unpacked.
    #[error(transparent)]
    Unpack(RegistryError),
}
