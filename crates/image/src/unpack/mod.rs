//! A layer's blob into a directory that overlayfs can stack.
//!
//! The apply step is where engines are broken into, so it is our own and works on file
//! descriptors only: `tree` walks, `apply` makes, `entry` reads the tar. The
//! policy, in one place:
//!
//! - absolute names, `..`, whiteouts of `.`/`..`, data behind links, two sizes for one
//!   entry: refused, and the layer is not kept;
//! - a later entry of a name replaces an earlier one; a directory over a directory
//!   updates it;
//! - hard links only to what this layer has already made;
//! - devices need root on the host; otherwise they are left out with a warning;
//! - attributes that overlayfs or the host own are left out with a warning.

mod apply;
pub mod decompress;
pub(crate) mod entry;
pub(crate) mod pax;
pub mod stack;
pub(crate) mod stream;
pub(crate) mod tar_header;
pub(crate) mod tree;

use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;

use crate::digest::Digest;
use decompress::Decoder;
use entry::TarReader;
use stream::{CHUNK, ChunkReader, ChunkWriter};

pub use entry::TarError;

/// Which extended attributes say "opaque" to overlayfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// `trusted.overlay.*`: root on the host.
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, in a user namespace.
    User,
}

impl Whiteouts {
    /// The name of the opaque attribute.
    #[must_use]
    pub fn opaque_attribute(self) -> &'static str {
        match self {
            Whiteouts::Trusted => "trusted.overlay.opaque",
            Whiteouts::User => "user.overlay.opaque",
        }
    }
}

/// Whose the files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The ids of the layer, as the present user namespace maps them.
    Keep,
    /// The caller's: without a user namespace an ordinary user has one id only.
    Squash,
    /// These ids, whatever the archive says (`ADD --chown`).
    All {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl Owners {
    /// The owner of an entry that says `uid` and `gid`; none where it stays the caller's.
    pub(crate) fn owner(self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        match self {
            Owners::Keep => Some((uid, gid)),
            Owners::All { uid, gid } => Some((uid, gid)),
            Owners::Squash => None,
        }
    }
}

/// How a layer is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackOptions {
    /// The form of opaque directories.
    pub whiteouts: Whiteouts,
    /// Make device nodes. Also: a refused attribute is an error, not a warning.
    pub devices: bool,
    /// Whose the files become.
    pub owners: Owners,
    /// Most bytes of the uncompressed stream.
    pub limit: u64,
}

impl UnpackOptions {
    /// What the present process can do: root on the host, root in a user namespace, or
    /// an ordinary user.
    #[must_use]
    pub fn of_this_process() -> UnpackOptions {
        let root = rustix::process::geteuid().is_root();
        // user_namespaces(7): the initial namespace maps all ids onto themselves.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
        let host_root = root && initial;
        UnpackOptions {
            whiteouts: if host_root { Whiteouts::Trusted } else { Whiteouts::User },
            devices: host_root,
            owners: if root && !is_single(&map) { Owners::Keep } else { Owners::Squash },
            limit: crate::document::MAX_BLOB,
        }
    }
}

/// Whether a map of /proc/PID/uid_map has one id alone: there is nobody else to give to.
fn is_single(map: &str) -> bool {
    let mut numbers = map.split_whitespace();
    numbers.nth(2) == Some("1") && numbers.next().is_none()
}

/// What unpacking a layer gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// The digest of the uncompressed stream.
    pub diff_id: Option<Digest>,
    /// Bytes of the uncompressed stream.
    pub stream_size: u64,
    /// Directories that no entry named, resolved, parents first: their attributes are
    /// those of the layers below.
    pub implied: Vec<Vec<u8>>,
    /// The layer hides everything below it.
    pub opaque_root: bool,
    /// An entry gave the root's own attributes.
    pub names_root: bool,
    /// What was left out; at most 50 are kept.
    pub warnings: Vec<String>,
    /// How many warnings there were.
    pub warning_count: u64,
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A malformed tar.
    #[error("layer: {0}")]
    Tar(#[from] TarError),
    /// The blob ended, failed, or is not what its compression allows.
    #[error("layer: {0}")]
    Read(#[from] io::Error),
    /// An entry that is not taken.
    #[error("layer entry {path:?} is refused: {problem}")]
    Refused {
        /// The entry's name.
        path: String,
        /// Why.
        problem: String,
    },
    /// A system call on an entry failed.
    #[error("layer entry {path:?}: {operation} it: {source}")]
    Entry {
        /// The entry's name.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// An owner that the user namespace does not map.
    #[error(
        "layer entry {path:?}: owner {uid}:{gid} is not mapped here; give your user a larger range in /etc/subuid and /etc/subgid"
    )]
    Unmapped {
        /// The entry's name.
        path: String,
        /// Its uid.
        uid: u32,
        /// Its gid.
        gid: u32,
    },
    /// The uncompressed stream is not the one that the config names.
    #[error("layer is {found}, not {expected} as the image config says (diff_id)")]
    DiffId {
        /// What the config says.
        expected: Digest,
        /// What was unpacked.
        found: Digest,
    },
    /// More than the limit.
    #[error("layer is over the limit of {0} bytes when uncompressed")]
    TooLarge(u64),
    /// A thread could not be made.
    #[error("start a thread: {0}")]
    Thread(io::Error),
}

/// Unpacks a layer's blob, compressed or not, into `directory`.
///
/// Decompression runs on a thread of its own; this one hashes and applies. `directory`
/// must be empty and reachable by nobody else until this returns; after an error what is
/// in it must be removed. The attributes of directories that the layer does not name
/// are left to [`stack::complete`].
///
/// # Errors
/// [`UnpackError`], naming the entry.
pub fn unpack(
    blob: impl BufRead + Send,
    directory: OwnedFd,
    expected: Option<&Digest>,
    options: &UnpackOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<UnpackReport, UnpackError> {
    let (writer, reader) = stream::channel();
    std::thread::scope(|scope| {
        let decompress = std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn_scoped(scope, move || decompress(blob, writer));
        decompress.map_err(UnpackError::Thread)?;
        apply_stream(reader.hashing(), directory, expected, options, progress)
    })
}

fn decompress(blob: impl BufRead, mut writer: ChunkWriter) {
    let copy = || -> io::Result<()> {
        let mut decoder = Decoder::new(blob)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = (&mut decoder).take(CHUNK as u64).read_to_end(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            writer.send(chunk)?;
        }
    };
    match copy() {
        Ok(()) => writer.finish(),
        Err(error) => writer.fail(error),
    }
}

fn apply_stream(
    stream: ChunkReader,
    directory: OwnedFd,
    expected: Option<&Digest>,
    options: &UnpackOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<UnpackReport, UnpackError> {
    let mut reader = TarReader::new(Limited { stream, limit: options.limit, told: 0, progress });
    let mut apply = apply::Apply::new(directory, options);
    while let Some(entry) = reader.next_entry().map_err(over_limit(options))? {
        apply.entry(&entry, &mut reader).map_err(|error| match error {
            UnpackError::Read(error) => over_limit(options)(TarError::Read(error)),
            error => error,
        })?;
    }
    let mut report = apply.finish()?;
    // The digest is over the whole stream, padding and all.
    let mut rest = reader.into_inner();
    loop {
        let length = rest.fill_buf().map_err(|e| over_limit(options)(TarError::Read(e)))?.len();
        if length == 0 {
            break;
        }
        rest.consume(length);
    }
    report.stream_size = rest.stream.received();
    report.diff_id = rest.stream.digest();
    match (expected, report.diff_id) {
        (Some(expected), Some(found)) if *expected != found => {
            Err(UnpackError::DiffId { expected: *expected, found })
        }
        _ => Ok(report),
    }
}

fn over_limit(options: &UnpackOptions) -> impl FnOnce(TarError) -> UnpackError {
    let limit = options.limit;
    move |error| match error {
        TarError::Read(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            UnpackError::TooLarge(limit)
        }
        error => UnpackError::Tar(error),
    }
}

struct Limited<'a> {
    stream: ChunkReader,
    limit: u64,
    told: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl BufRead for Limited<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf()?;
        let received = self.stream.received();
        if received > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if received - self.told >= 1 << 20 {
            self.told = received;
            (self.progress)(received);
        }
        self.stream.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.stream.consume(amount);
    }
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
