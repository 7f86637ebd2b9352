//! What the engine, the image store and the networks write down: small JSON files, each
//! replaced whole, and the locks under which they change.
//!
//! A record that must outlive a power failure is written beside its place, synced, renamed,
//! and its directory is synced: whoever looks afterwards sees the old record or the new one.
//! A record of the present boot (below /run), or one that can be made anew, is written the
//! same way without waiting for the disk.

mod file;
mod lock;

pub use file::{
    is_scratch, read, read_bytes, remove, write, write_durably, write_json, write_json_durably,
};
pub use lock::Lock;

use std::io;
use std::path::{Path, PathBuf};

/// Why a record or a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// The record is there and is none.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Everything here fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::File { operation, path, source: source.into() }
}
