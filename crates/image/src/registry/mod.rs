//! Registries (OCI distribution-spec 1.1, Docker Registry HTTP API V2).
//!
//! The client is blocking `ureq` on `rustls`. `oci-client` on tokio was weighed: it hands
//! a blob out as an async stream without Range, so a broken transfer starts over; it
//! re-serialises manifests into its own types, so their digest is at the mercy of field
//! order; and it brings an executor beside threads that decompressing and unpacking need
//! anyway. The part of the protocol that an engine uses is six requests; with blocking
//! threads a blob goes from the socket into the pipeline in one buffer, and memory stays
//! at a few chunks a layer.
//!
//! What holds everywhere here: credentials go to the registry's own host and to the token
//! server it names, never to where it redirects; redirects from https to http are
//! refused; every wait has an end; bodies are read up to a cap.

pub(crate) mod challenge;
mod client;
mod credentials;
mod download;
mod http;
mod pace;
mod pull;
mod push;

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::document::DocumentError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

pub use client::{Client, ClientOptions, FetchedManifest, TimeLimits};
pub use credentials::{CredentialError, Credentials, DockerConfig};
pub(crate) use download::download;
pub use pull::{PullOptions, Pulled, pull, unpack_image};
pub use push::{PushOptions, push};

/// Why a registry could not be used. Each names the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection: refused, unreachable, no such host.
    #[error("registry {host}: {problem}")]
    Connect {
        /// The registry.
        host: String,
        /// What failed.
        problem: String,
    },
    /// Nothing came for longer than the limit.
    #[error("registry {host}: timed out while {phase}")]
    Timeout {
        /// The registry.
        host: String,
        /// In which phase.
        phase: &'static str,
    },
    /// What came was less than the pace.
    #[error("registry {host}: too slow: {problem}")]
    Slow {
        /// The registry.
        host: String,
        /// By how much.
        problem: String,
    },
    /// TLS failed.
    #[error("registry {host}: TLS: {problem}{hint}")]
    Tls {
        /// The registry.
        host: String,
        /// What failed.
        problem: String,
        /// What to do, where that is known.
        hint: &'static str,
    },
    /// A status that the protocol has no use for.
    #[error("registry {host}: {what}: status {status}{message}")]
    Status {
        /// The registry.
        host: String,
        /// What was asked.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own message, after a colon, or nothing.
        message: String,
    },
    /// The repository or tag is not there.
    #[error("{reference} is not known to its registry{message}")]
    NotFound {
        /// The reference.
        reference: String,
        /// The registry's own message, after a colon, or nothing.
        message: String,
    },
    /// Credentials are missing or were refused.
    #[error(
        "registry {host}: access to {what} denied{message} (it may not exist, or needs `login`)"
    )]
    Denied {
        /// The registry.
        host: String,
        /// What was asked.
        what: String,
        /// The registry's own message, after a colon, or nothing.
        message: String,
    },
    /// An answer that breaks the protocol.
    #[error("registry {host}: {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// What was wrong.
        problem: String,
    },
    /// A transfer broke off again and again.
    #[error("registry {host}: blob {digest} broke off at byte {offset} of {size}: {problem}")]
    Broken {
        /// The registry.
        host: String,
        /// The blob.
        digest: Digest,
        /// How far it came; kept for the next attempt.
        offset: u64,
        /// Its size.
        size: u64,
        /// The last failure.
        problem: String,
    },
    /// A malformed document.
    #[error("{what}: {source}")]
    Document {
        /// The reference.
        what: String,
        /// The problem.
        source: DocumentError,
    },
    /// A document is not what its digest says.
    #[error("registry {host}: {what} is {found}, not {expected}")]
    DigestMismatch {
        /// The registry.
        host: String,
        /// Which document.
        what: &'static str,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk of the store is full.
    #[error("{source}; free some space for {}, `system prune` removes what is not used", root.display())]
    DiskFull {
        /// The store's root.
        root: PathBuf,
        /// What failed because of it.
        source: Box<RegistryError>,
    },
    /// A layer could not be unpacked.
    #[error("layer {digest}: {source}")]
    Unpack {
        /// The layer's blob.
        digest: Digest,
        /// Why.
        source: UnpackError,
    },
    /// Docker's configuration.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// A thread could not be made.
    #[error("start a thread: {0}")]
    Thread(io::Error),
    /// Another layer failed first.
    #[error("stopped")]
    Stopped,
}
