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
mod collect;
mod layer;
mod lock;
mod record;
mod step;
mod usage;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::{Digest, DigestError};
use crate::document::DocumentError;
use crate::reference::ReferenceError;

pub use blob::{BlobClaim, PartialBlob};
pub use cache_mount::{CacheMount, Sharing};
pub use collect::Collected;
pub use layer::{Layer, LayerBuild, LayerClaim, LayerRecord};
pub use record::{Image, ImageLayer, ImageRecord, Removal};
pub use step::CachedStep;
pub use usage::Usage;

pub(crate) use lock::FileLock;

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
    /// A file of the store's own is malformed.
    #[error("{}: {source}", path.display())]
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

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
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
        // `tmp` is made last, so its presence says that all are there.
        if !root.join("tmp").is_dir() {
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
        let lock = FileLock::shared(&path).map_err(io_error("lock", &path))?;
        Ok(Activity { _lock: lock })
    }

    /// Says that nothing may be added meanwhile; `None` where something is being added.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn quiet(&self) -> Result<Option<Activity>, StoreError> {
        let path = self.lock_path("activity");
        let lock = FileLock::try_exclusive(&path).map_err(io_error("lock", &path))?;
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

    /// Writes a small file whole or not at all.
    fn write_record(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        // Beside its place, not in `tmp`: records are also written by those who hold no
        // activity, and a collection empties `tmp`.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unique = self.scratch_path(&Digest::of(name.as_bytes()).short());
        let unique = unique.file_name().unwrap_or_default().to_string_lossy();
        let scratch = path.with_file_name(format!(".{unique}"));
        let written = std::fs::write(&scratch, bytes).map_err(io_error("write", &scratch));
        let renamed = written
            .and_then(|()| std::fs::rename(&scratch, path).map_err(io_error("rename", path)));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&scratch);
        }
        renamed
    }

    fn read_record<T: serde::de::DeserializeOwned>(
        &self,
        path: &Path,
    ) -> Result<Option<T>, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        // Records are not waited for until they are on the disk: a power failure may leave
        // their names with nothing in them (or zeros), and what they said is made anew.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| StoreError::Record { path: path.to_owned(), source })
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
    match std::fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(io_error("remove", path)(error)),
    }
    open_up(path).map_err(io_error("open up", path))?;
    std::fs::remove_dir_all(path).map_err(io_error("remove", path))
}

fn open_up(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)? {
        open_up(&entry?.path())?;
    }
    Ok(())
}
