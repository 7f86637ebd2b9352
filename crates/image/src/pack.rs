//! An overlayfs upper directory into a layer's tar: what [`crate::unpack`] does, backwards.
//! Also any other tree into a plain tar.
//!
//! Entries come in the order of their names, a directory before what it holds, so the
//! same tree gives the same bytes. A character device 0:0 becomes `.wh.NAME`, an opaque
//! directory gets `.wh..wh..opq`; attributes that overlayfs keeps for itself stay out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::digest::{Digest, Hasher, HashingWriter};
use crate::tree::walk::{Entry, Visitor, Walk};
use crate::tree::{TreeError, open_directory};
use crate::unpack::entry::shown;

/// Why a layer could not be made of a directory.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A system call on a file failed.
    #[error("layer from {path:?}: {operation}: {source}")]
    File {
        /// The file below the directory.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// The layer could not be written.
    #[error("write the layer: {0}")]
    Write(#[from] io::Error),
    /// The tree could not be walked.
    #[error("layer: {0}")]
    Tree(#[from] TreeError),
}

/// What packing a directory gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of file data.
    pub bytes: u64,
    /// Entries; none: the directory holds no change.
    pub entries: u64,
    /// What was left out.
    pub warnings: Vec<String>,
}

/// Writes the tree below `root`, which nobody changes meanwhile, to `out` as gzip.
/// The root itself is no entry.
///
/// # Errors
/// [`PackError`].
pub fn pack(root: BorrowedFd<'_>, out: impl Write) -> Result<Packed, PackError> {
    let gzip = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
    let tar = tar::Builder::new(HashingWriter::new(gzip));
    let mut packer = Packer::new(tar, true);
    packer.content(root, &[])?;
    let (gzip, diff_id, _) = packer.tar.into_inner()?.finish();
    gzip.finish()?.flush()?;
    Ok(Packed { diff_id, bytes: packer.bytes, entries: packer.entries, warnings: packer.warnings })
}

/// Writes a tree as an uncompressed tar, of which a program may change files meanwhile:
/// what it makes of them is in the tar or not, but nothing outside the tree is.
pub struct Archive<W: Write>(Packer<W>);

impl<W: Write> Archive<W> {
    /// Begins.
    pub fn new(out: W) -> Archive<W> {
        let tar = tar::Builder::new(HashingWriter::new(out));
        Archive(Packer::new(tar, false))
    }

    /// Adds what an O_PATH descriptor is of, and all below it, under the name `path`; a
    /// directory under an empty name stands for what it holds.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn add(&mut self, inode: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        if path.is_empty() {
            return self.0.content(inode, path);
        }
        let stat = fs::fstat(inode).map_err(at(path, "stat"))?;
        self.0.inode(inode, path, &stat)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.0.content(inode, path),
            _ => Ok(()),
        }
    }

    /// Adds what an O_PATH descriptor is of under the name `path`, and of a directory nothing
    /// that is in it.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn add_alone(&mut self, inode: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        let stat = fs::fstat(inode).map_err(at(path, "stat"))?;
        self.0.inode(inode, path, &stat)
    }

    /// Writes the end; gives what was left out.
    ///
    /// # Errors
    /// [`PackError::Write`].
    pub fn finish(self) -> Result<Vec<String>, PackError> {
        let (mut out, _, _) = self.0.tar.into_inner()?.finish();
        out.flush()?;
        Ok(self.0.warnings)
    }
}

struct Packer<W: Write> {
    /// Whiteouts and opaque directories mean that something is removed.
    layer: bool,
    tar: tar::Builder<HashingWriter<W>>,
    /// The first name of each file with several.
    inodes: HashMap<(u64, u64), Vec<u8>>,
    bytes: u64,
    entries: u64,
    warnings: Vec<String>,
    /// The path of the directory that is being packed.
    path: Vec<u8>,
}

fn at<E: Into<io::Error>>(path: &[u8], operation: &'static str) -> impl FnOnce(E) -> PackError {
    let path = shown(path);
    move |source| PackError::File { path, operation, source: source.into() }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The extended attributes of an inode, sorted, without overlayfs's and SELinux's own.
pub(crate) fn attributes(fd: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // O_PATH takes no fgetxattr; the magic link ends at the inode itself.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mut list = vec![0; 64 << 10];
    let length = match fs::listxattr(&path, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let own = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if name.is_empty() || own || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = fs::getxattr(&path, name, value.as_mut_slice())?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 4];
        fs::fgetxattr(directory, *name, &mut value[..]) == Ok(1) && value.first() == Some(&b'y')
    })
}

impl<W: Write> Visitor<PackError> for Packer<W> {
    fn visit(&mut self, entry: &Entry<'_>) -> Result<(), PackError> {
        let path = match self.path.is_empty() {
            true => entry.name.to_vec(),
            false => [self.path.as_slice(), entry.name].join(&b'/'),
        };
        self.inode(entry.inode, &path, entry.stat)?;
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory {
            self.path = path;
        }
        Ok(())
    }

    fn leave(&mut self, _: &Entry<'_>) -> Result<(), PackError> {
        let end = self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.path.truncate(end);
        Ok(())
    }
}

impl<W: Write> Packer<W> {
    fn new(tar: tar::Builder<HashingWriter<W>>, layer: bool) -> Packer<W> {
        let inodes = HashMap::new();
        Packer { layer, tar, inodes, bytes: 0, entries: 0, warnings: Vec::new(), path: Vec::new() }
    }

    /// Adds what is in a directory.
    fn content(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        self.path = path.to_vec();
        let refused = RefCell::new(Vec::new());
        let whiteout = |path: &str| path.rsplit('/').next().unwrap_or(path).starts_with(".wh.");
        let keep = |path: &str, _| {
            let refuse = whiteout(path);
            if refuse {
                let text = format!("{path:?} left out: a layer cannot hold .wh. names");
                refused.borrow_mut().push(text);
            }
            !refuse
        };
        let walk = match self.layer {
            true => Walk { keep: Some(&keep), ..Walk::LAYER },
            false => Walk::LIVE,
        };
        let walked = walk.walk(directory, &String::from_utf8_lossy(path), self);
        self.warnings.append(&mut refused.borrow_mut());
        walked
    }

    /// Adds an inode itself.
    fn inode(&mut self, inode: BorrowedFd<'_>, path: &[u8], stat: &Stat) -> Result<(), PackError> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.add(inode, path, stat, tar::EntryType::Directory)?;
                let directory = open_directory(inode).map_err(at(path, "open"))?;
                if self.layer && is_opaque(&directory) {
                    self.whiteout(&[path, b".wh..wh..opq"].join(&b'/'))?;
                }
                Ok(())
            }
            FileType::CharacterDevice if self.layer && stat.st_rdev == 0 => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
                let before = path.get(..path.len() - name.len()).unwrap_or_default();
                self.whiteout(&[before, b".wh.", name].concat())
            }
            FileType::RegularFile => self.add(inode, path, stat, tar::EntryType::Regular),
            FileType::Symlink => self.add(inode, path, stat, tar::EntryType::Symlink),
            FileType::CharacterDevice => self.add(inode, path, stat, tar::EntryType::Char),
            FileType::BlockDevice => self.add(inode, path, stat, tar::EntryType::Block),
            FileType::Fifo => self.add(inode, path, stat, tar::EntryType::Fifo),
            _ => {
                self.warnings.push(format!("{:?} left out: a socket", shown(path)));
                Ok(())
            }
        }
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), PackError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_size(0);
        self.append(header, path, Vec::new(), io::empty())
    }

    fn add(
        &mut self,
        inode: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        kind: tar::EntryType,
    ) -> Result<(), PackError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
        header.set_size(0);
        let mut pax: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if stat.st_mtime_nsec != 0 || stat.st_mtime < 0 {
            pax.push((b"mtime".to_vec(), time(stat).into_bytes()));
        }
        if kind != tar::EntryType::Directory && stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.inodes.get(&number).cloned() {
                header.set_entry_type(tar::EntryType::Link);
                set_link(&mut header, &mut pax, &first);
                return self.append(header, path, pax, io::empty());
            }
            self.inodes.insert(number, path.to_vec());
        }
        if kind != tar::EntryType::Symlink {
            for (key, value) in attributes(inode).map_err(at(path, "read attributes of"))? {
                pax.push(([b"SCHILY.xattr.", key.as_slice()].concat(), value));
            }
        }
        match kind {
            tar::EntryType::Regular => {
                let link = format!("/proc/self/fd/{}", inode.as_raw_fd());
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = fs::open(link, flags, Mode::empty()).map_err(at(path, "open"))?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                header.set_size(size);
                self.bytes += size;
                let mut data = File::from(file).take(size);
                self.append(header, path, pax, &mut data)?;
                match data.limit() {
                    0 => Ok(()),
                    _ => Err(at(path, "read")(io::Error::from(io::ErrorKind::UnexpectedEof))),
                }
            }
            tar::EntryType::Symlink => {
                let target = fs::readlinkat(inode, "", Vec::new()).map_err(at(path, "read"))?;
                set_link(&mut header, &mut pax, target.to_bytes());
                self.append(header, path, pax, io::empty())
            }
            tar::EntryType::Char | tar::EntryType::Block => {
                header.set_device_major(fs::major(stat.st_rdev))?;
                header.set_device_minor(fs::minor(stat.st_rdev))?;
                self.append(header, path, pax, io::empty())
            }
            _ => self.append(header, path, pax, io::empty()),
        }
    }

    fn append(
        &mut self,
        mut header: tar::Header,
        path: &[u8],
        mut pax: Vec<(Vec<u8>, Vec<u8>)>,
        data: impl Read,
    ) -> Result<(), PackError> {
        let mut name = path.to_vec();
        if header.entry_type() == tar::EntryType::Directory {
            name.push(b'/');
        }
        // A name that does not fit is cut in the header and whole in front of it.
        let fits = name.len() <= 100;
        if !fits {
            pax.push((b"path".to_vec(), name.clone()));
        }
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        for (to, from) in field.iter_mut().zip(&name) {
            *to = *from;
        }
        if !pax.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &pax {
                record(&mut body, key, value);
            }
            let mut extended = tar::Header::new_ustar();
            extended.set_entry_type(tar::EntryType::XHeader);
            extended.set_path("PaxHeaders.0/x")?;
            extended.set_mode(0o644);
            extended.set_mtime(0);
            extended.set_size(body.len() as u64);
            extended.set_cksum();
            self.tar.append(&extended, body.as_slice())?;
        }
        header.set_cksum();
        self.tar.append(&header, data)?;
        self.entries += 1;
        Ok(())
    }
}

fn set_link(header: &mut tar::Header, pax: &mut Vec<(Vec<u8>, Vec<u8>)>, target: &[u8]) {
    if target.len() > 100 {
        pax.push((b"linkpath".to_vec(), target.to_vec()));
    }
    let field = &mut header.as_old_mut().linkname;
    field.fill(0);
    for (to, from) in field.iter_mut().zip(target) {
        *to = *from;
    }
}

/// `length key=value\n`, the length counting itself (POSIX.1 pax).
fn record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    body.extend_from_slice(format!("{length} ").as_bytes());
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

/// Seconds and nine digits; before the epoch the fraction counts down from the second.
fn time(stat: &Stat) -> String {
    let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
    if seconds < 0 && nanoseconds != 0 {
        let seconds = -(seconds + 1);
        return format!("-{seconds}.{:09}", 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// The digest of a file tree's content, for cache keys: names, kinds, modes, targets,
/// attributes and data, but neither times nor owners, which COPY sets anew.
pub(crate) struct TreeHash {
    hasher: Hasher,
}

impl TreeHash {
    pub(crate) fn new() -> TreeHash {
        TreeHash { hasher: Hasher::new() }
    }

    /// Adds a field; its length goes first, so that no two lists of fields are alike.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// Adds the rest of a file of `size` bytes.
    pub(crate) fn data(&mut self, mut file: impl Read, size: u64) -> io::Result<()> {
        self.hasher.update(&size.to_le_bytes());
        let mut buffer = vec![0; 128 << 10];
        let mut left = size;
        while left > 0 {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            let wanted = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.hasher.update(bytes.get(..wanted).unwrap_or(bytes));
            left -= wanted as u64;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}
