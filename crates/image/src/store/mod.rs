//! The image store: blobs, unpacked layers and names, in plain files.
//!
//! ```text
//! blobs/sha256/HEX        verified blobs: manifests, configs, layers as they came
//! partial/HEX             the beginning of a blob whose transfer broke off
//! layers/HEX/             by chain id: `diff` (overlayfs's form) and `layer.json`
//! images/HEX.json         by manifest digest: what is needed to list and to run
//! names/NAME              one file a reference: which image it names
//! cache/HEX.json          results of build steps
//! pins/ID                 one file a container: the image it runs on
//! cache-mounts/HEX/       directories that steps of builds keep
//! locks/                  one file while a blob or a layer is being made, and those
//!                         that stay: `names`, `activity`, one a cache mount
//! tmp/                    what is being made; never read by anything else
//! ```
//!
//! There is no database and no daemon: a file appears by rename(2) when it is complete
//! and verified. What two processes want at once is made by one of them, under a lock of
//! its digest; the other waits and finds it there. Whoever adds holds `activity` shared,
//! [`Store::collect`] holds it alone, so nothing is collected between its making and its
//! naming.

mod blob;
mod cache_mount;
mod check;
mod collect;
mod layer;
mod record;
mod step;
mod usage;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::digest::{Digest, DigestError};
use crate::document::DocumentError;
use crate::reference::ReferenceError;

pub use blob::{BlobClaim, PartialBlob};
pub use cache_mount::{CacheMount, Sharing};
pub use check::{Fault, Repair};
pub use collect::Collected;
pub use layer::{Layer, LayerBuild, LayerClaim, LayerRecord};
pub use record::{Image, ImageLayer, ImageRecord, Removal};
pub use step::CachedStep;
pub use usage::Usage;

pub(crate) use husk_record::Lock as FileLock;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A blob is not what its digest says.
    #[error("blob {expected}: the content is {found}; it was not kept")]
    DigestMismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error("blob {digest}: {found} bytes where the descriptor says {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// The size of the descriptor.
        expected: u64,
        /// The size that came.
        found: u64,
    },
    /// A blob that should be there is not.
    #[error("blob {0} is not in the store")]
    NoBlob(Digest),
    /// An unpacked layer that should be there is not.
    #[error("layer {0} is not unpacked")]
    NoLayer(Digest),
    /// A damaged layer that containers run on.
    #[error("layer {0} is damaged and running containers use it: stop them first")]
    LayerInUse(Digest),
    /// A file of the store's own is damaged: cut short by a power failure, say.
    #[error(
        "{} is damaged ({source}); \"husk system check\" says what can be done",
        path.display()
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        source: serde_json::Error,
    },
    /// No image has the name or id.
    #[error("no such image: {0}")]
    NoImage(String),
    /// Several images begin with the id.
    #[error("image id {0:?} is ambiguous: {1}")]
    Ambiguous(String, String),
    /// A malformed reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A malformed digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A malformed document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A container runs on the image.
    #[error("image {image} is used by container {container}; remove it first, or force")]
    InUse {
        /// The image, as asked for.
        image: String,
        /// One of the containers.
        container: String,
    },
    /// An image with several names was to be removed by its id.
    #[error("image {image} has several names ({names}); force to remove all of them")]
    SeveralNames {
        /// The image, as asked for.
        image: String,
        /// Its names.
        names: String,
    },
}

impl From<husk_record::Error> for StoreError {
    fn from(error: husk_record::Error) -> Self {
        match error {
            husk_record::Error::File { operation, path, source } => {
                Self::Io { operation, path, source }
            }
            husk_record::Error::Damaged { path, source } => Self::Record { path, source },
        }
    }
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}

/// When a file was written, or a directory changed.
fn modified(path: &Path) -> Result<SystemTime, StoreError> {
    let status = std::fs::symlink_metadata(path).map_err(io_error("stat", path))?;
    status.modified().map_err(io_error("stat", path))
}

/// A store on disk. Cheap to open: no file is read before it is asked for.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Held while something is added, so that it is not collected before it has a name.
#[derive(Debug)]
pub struct Activity {
    _lock: FileLock,
}

const SECTIONS: [&str; 9] =
    ["blobs/sha256", "partial", "layers", "images", "names", "cache", "pins", "locks", "tmp"];

impl Store {
    /// Opens the store at `root`, making what is missing with mode 0700: set-user-id
    /// programs of images must not be reachable by users of the host (CVE-2021-41091).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let root = root.into();
        // They are made in this order; `tmp` alone does not say that the others are there.
        if !root.join("tmp").is_dir() || !root.join("locks").is_dir() {
            for section in SECTIONS {
                let path = root.join(section);
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(io_error("make", &path))?;
            }
        }
        Ok(Store { root })
    }

    /// Where the store of this user is: `/var/lib/husk`, or for `rootless`
    /// `$XDG_DATA_HOME/husk` with the default of the XDG base directory specification.
    ///
    /// `None` where neither XDG_DATA_HOME nor HOME is an absolute path.
    #[must_use]
    pub fn default_root(rootless: bool) -> Option<PathBuf> {
        if !rootless {
            return Some(PathBuf::from("/var/lib/husk"));
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let data = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
        Some(data.join("husk"))
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says that something is being added; see [`Activity`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn activity(&self) -> Result<Activity, StoreError> {
        let path = self.lock_path("activity");
        let lock = FileLock::shared(&path)?;
        Ok(Activity { _lock: lock })
    }

    /// Says that nothing may be added meanwhile; `None` where something is being added.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn quiet(&self) -> Result<Option<Activity>, StoreError> {
        let path = self.lock_path("activity");
        let lock = FileLock::try_exclusive(&path)?;
        Ok(lock.map(|lock| Activity { _lock: lock }))
    }

    /// Waits until everything written to the store's file system is on disk.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let directory = std::fs::File::open(&self.root).map_err(io_error("open", &self.root))?;
        rustix::fs::syncfs(directory).map_err(|e| io_error("sync", &self.root)(e.into()))
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    /// A path in `tmp` that no other thread or process uses.
    pub(crate) fn scratch_path(&self, what: &str) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = rustix::process::getpid().as_raw_nonzero();
        self.root.join("tmp").join(format!("{what}-{pid}-{count}"))
    }

    /// The names of the files of a section.
    fn names_in(&self, section: &str) -> Result<Vec<String>, StoreError> {
        let path = self.root.join(section);
        let entries = std::fs::read_dir(&path).map_err(io_error("list", &path))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error("list", &path))?.file_name();
            names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
        }
        names.sort();
        Ok(names)
    }
}

/// Removes a tree of the store's own, also where an unprivileged unpack left
/// directories that their owner may not write.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    husk_rootfs::remove::tree(path).map_err(io_error("remove", path))
}
