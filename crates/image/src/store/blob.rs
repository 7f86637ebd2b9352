//! Content-addressed blobs, and the beginnings of those still on their way.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use super::{FileLock, Store, StoreError, io_error, remove_tree};
use crate::digest::{Digest, Hasher, HashingWriter};

/// Bytes between two hints to the page cache.
const PAGES_STEP: u64 = 4 << 20;

/// Who makes a blob.
#[derive(Debug)]
pub enum BlobClaim {
    /// It is there already.
    Present(File),
    /// The caller does, and holds the lock.
    Absent(Box<PartialBlob>),
}

/// A blob that the holder is making. Dropped before [`PartialBlob::finish`], what was
/// written stays for a later attempt.
#[derive(Debug)]
pub struct PartialBlob {
    file: File,
    path: PathBuf,
    target: PathBuf,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    _lock: FileLock,
}

// The state inside is a hash's; what matters is how far it is.
impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({} bytes)", self.length())
    }
}

impl Store {
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The size of a blob in bytes.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`].
    pub fn blob_size(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.blob_path(digest);
        std::fs::metadata(&path).map(|meta| meta.len()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NoBlob(*digest),
            _ => io_error("stat", &path)(error),
        })
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NoBlob(*digest),
            _ => io_error("open", &path)(error),
        })
    }

    /// Reads a document whole and checks that it is still what its digest says.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`], [`StoreError::DigestMismatch`] for a damaged store, and
    /// [`StoreError::Size`] over `limit` bytes.
    pub fn read_document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        let path = self.blob_path(digest);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        if bytes.len() as u64 > limit {
            let found = bytes.len() as u64;
            return Err(StoreError::Size { digest: *digest, expected: limit, found });
        }
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::DigestMismatch { expected: *digest, found }),
        }
    }

    /// Stores a document.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_document(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        // Written anew even where there is one: it mends a damaged file.
        if path.is_dir() {
            remove_tree(&path)?;
        }
        husk_record::write_durably(&path, bytes)?;
        Ok(digest)
    }

    /// Stores what `write` writes, whatever its digest turns out to be.
    ///
    /// # Errors
    /// [`StoreError::Io`], and what `write` returns.
    pub fn put_blob<E: From<StoreError>>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(Digest, u64), E> {
        let scratch = self.scratch_path("blob");
        let file = File::create_new(&scratch).map_err(io_error("create", &scratch))?;
        let mut writer = HashingWriter::new(io::BufWriter::with_capacity(256 << 10, file));
        let finish = |mut writer: HashingWriter<io::BufWriter<File>>| {
            writer.flush().map_err(io_error("write", &scratch))?;
            let (_, digest, size) = writer.finish();
            let path = self.blob_path(&digest);
            std::fs::rename(&scratch, &path).map_err(io_error("rename", &path))?;
            Ok((digest, size))
        };
        let stored = write(&mut writer).and_then(|()| finish(writer).map_err(E::from));
        if stored.is_err() {
            let _ = std::fs::remove_file(&scratch);
        }
        stored
    }

    /// Finds a blob, or becomes the one who makes it. `waiting` is called once if
    /// another thread or process is making it now.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn claim_blob(
        &self,
        digest: &Digest,
        size: u64,
        waiting: &dyn Fn(),
    ) -> Result<BlobClaim, StoreError> {
        if let Some(file) = self.present(digest, size)? {
            return Ok(BlobClaim::Present(file));
        }
        let lock_path = self.lock_path(&format!("blob-{}", digest.hex()));
        let lock = FileLock::exclusive_told(&lock_path, waiting)?.removed_at_end(&lock_path);
        if let Some(file) = self.present(digest, size)? {
            return Ok(BlobClaim::Present(file));
        }
        let path = self.root.join("partial").join(digest.hex());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let target = self.blob_path(digest);
        Ok(BlobClaim::Absent(Box::new(PartialBlob {
            file,
            path,
            target,
            digest: *digest,
            size,
            hasher: Hasher::new(),
            _lock: lock,
        })))
    }

    fn hash_blob(mut file: File, path: &Path) -> Result<Digest, StoreError> {
        let mut hasher = HashingWriter::new(io::sink());
        io::copy(&mut file, &mut hasher).map_err(io_error("read", path))?;
        Ok(hasher.finish().1)
    }

    /// The blob, where its file has the size that is due.
    fn present(&self, digest: &Digest, size: u64) -> Result<Option<File>, StoreError> {
        match self.open_blob(digest) {
            Ok(file) => {
                let path = self.blob_path(digest);
                let found = file.metadata().map_err(io_error("stat", &path))?.len();
                if found == size {
                    return Ok(Some(file));
                }
                // Verified when it was stored; if the length no longer fits, either the
                // descriptor lies or a crash of the machine cut the file, which is then
                // made anew.
                match Store::hash_blob(file, &path)? == *digest {
                    true => Err(StoreError::Size { digest: *digest, expected: size, found }),
                    false => Ok(None),
                }
            }
            Err(StoreError::NoBlob(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl PartialBlob {
    /// The blob's digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How far it is: where a transfer has to go on, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.hasher.length()
    }

    /// Bytes still to come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.size - self.offset()
    }

    /// Bytes that an earlier attempt left, before [`PartialBlob::resume`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn kept(&self) -> Result<u64, StoreError> {
        let meta = self.file.metadata().map_err(io_error("stat", &self.path))?;
        Ok(meta.len())
    }

    /// Hashes what an earlier attempt left and hands it to `sink`; first of all calls.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for what `sink` returns.
    pub fn resume(
        &mut self,
        mut sink: impl FnMut(Vec<u8>) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        if self.kept()? > self.size {
            self.restart()?;
        }
        loop {
            let mut chunk = Vec::with_capacity(128 << 10);
            let read = (&mut self.file).take(128 << 10).read_to_end(&mut chunk);
            if read.map_err(io_error("read", &self.path))? == 0 {
                return Ok(());
            }
            self.hasher.update(&chunk);
            sink(chunk).map_err(io_error("unpack", &self.path))?;
        }
    }

    /// Throws away what there is.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(io_error("truncate", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(io_error("seek", &self.path))?;
        self.hasher = Hasher::new();
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`], and [`StoreError::Size`] for more than the descriptor says;
    /// then nothing is kept.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let found = self.offset() + bytes.len() as u64;
        if found > self.size {
            self.restart()?;
            return Err(StoreError::Size { digest: self.digest, expected: self.size, found });
        }
        self.file.write_all(bytes).map_err(io_error("write", &self.path))?;
        let before = self.offset();
        self.hasher.update(bytes);
        if before / PAGES_STEP != found / PAGES_STEP {
            self.let_pages_go();
        }
        Ok(())
    }

    /// Nobody reads the blob soon, since it is unpacked as it comes: its pages need not
    /// push others out of memory, and the layer's files get them while they are warm. The
    /// first call for a page has it written, a later one drops it; none waits for the disk.
    fn let_pages_go(&self) {
        let start = self.offset().saturating_sub(PAGES_STEP * 4);
        let length = NonZeroU64::new(PAGES_STEP * 4);
        // Advice that is not taken costs nothing but memory.
        let _ = rustix::fs::fadvise(&self.file, start, length, Advice::DontNeed);
    }

    /// Verifies size and digest and puts the blob in its place.
    ///
    /// # Errors
    /// [`StoreError::Size`] for less than the descriptor says; what there is stays.
    /// [`StoreError::DigestMismatch`]; then nothing is kept.
    pub fn finish(self) -> Result<(), StoreError> {
        let found = self.offset();
        if found != self.size {
            return Err(StoreError::Size { digest: self.digest, expected: self.size, found });
        }
        let digest = self.hasher.finish();
        if digest != self.digest {
            remove(&self.path)?;
            return Err(StoreError::DigestMismatch { expected: self.digest, found: digest });
        }
        std::fs::rename(&self.path, &self.target).map_err(io_error("rename", &self.target))
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}
