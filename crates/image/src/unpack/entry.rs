//! The walk through a tar stream: headers, extended headers and data.
//!
//! Own code rather than the `tar` crate's reader: that one skips malformed PAX records,
//! lets a PAX size differ from the header's, hands out a sparse file expanded and knows
//! no PAX sparse format; and it copies the data once more. Here the data is lent from
//! the buffer it was decompressed into.

use std::io::{self, BufRead};

use super::pax::{self, Pax, PaxError, SparseMap};
use super::tar_header::{BLOCK, Header, HeaderError};

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Hardlink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One entry, with all extended headers applied.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes of data that follow in the archive.
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<SparseMap>,
}

/// Why a stream is not a tar that this crate accepts.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed or ended early.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// A malformed header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A malformed extended header or sparse map.
    #[error("{0}")]
    Pax(#[from] PaxError),
    /// An entry that readers could take for different things.
    #[error("{path:?}: {problem}")]
    Entry {
        /// The entry's name.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An extended header larger than 1 MiB.
    #[error("an extended header of {0} bytes is over the limit of 1 MiB")]
    LongHeader(u64),
}

pub(crate) fn shown(path: &[u8]) -> String {
    crate::digest::clip(&String::from_utf8_lossy(path))
}

fn entry_error(path: &[u8], problem: impl Into<String>) -> TarError {
    TarError::Entry { path: shown(path), problem: problem.into() }
}

/// Reads entries from a decompressed stream.
pub(crate) struct TarReader<R> {
    inner: R,
    /// Bytes of the present entry's data, and the padding after them, still unread.
    data: u64,
    padding: u64,
}

/// Extended headers that wait for their entry.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(inner: R) -> TarReader<R> {
        TarReader { inner, data: 0, padding: 0 }
    }

    /// The next entry; `None` at the end-of-archive blocks or the end of the stream.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_data()?;
        let mut pending = Pending::default();
        loop {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return self.end(&pending);
            }
            let Some(header) = Header::parse(&block)? else {
                return self.end(&pending);
            };
            let size = header.number("size", 124, 12)?;
            let size = u64::try_from(size).map_err(|_| HeaderError::Number("size"))?;
            match header.typeflag() {
                b'x' | b'X' => {
                    let body = self.read_extended(size)?;
                    if pending.pax.replace(Pax::parse(&body)?).is_some() {
                        return Err(entry_error(b"", "two PAX headers in a row"));
                    }
                }
                b'g' => pax::check_global(&self.read_extended(size)?)?,
                b'L' => pending.long_name = Some(trim_nul(self.read_extended(size)?)),
                b'K' => pending.long_link = Some(trim_nul(self.read_extended(size)?)),
                // A GNU volume label: a name for the archive, not a file.
                b'V' => {
                    self.begin_data(size);
                    self.skip_data()?;
                }
                _ => return self.entry(&header, size, pending).map(Some),
            }
        }
    }

    fn end(&self, pending: &Pending) -> Result<Option<Entry>, TarError> {
        match (&pending.pax, &pending.long_name, &pending.long_link) {
            (None, None, None) => Ok(None),
            _ => Err(entry_error(b"", "the archive ends after an extended header")),
        }
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        size: u64,
        pending: Pending,
    ) -> Result<Entry, TarError> {
        let pax = pending.pax.unwrap_or_default();
        let mut path = pax.path.clone().or(pending.long_name).unwrap_or_else(|| header.name());
        if let Some(name) = pax.sparse.name.clone() {
            path = name;
        }
        let link = pax.link.clone().or(pending.long_link).unwrap_or_else(|| header.link_name());
        let kind = kind(header.typeflag(), &path)?;
        let size = self.entry_size(&path, kind, size, pax.size)?;
        let field = |name, start| -> Result<u32, TarError> {
            let number = header.number(name, start, 8)?;
            let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
            Ok(id.ok_or(HeaderError::Number(name))?)
        };
        let uid = pax.uid.map_or_else(|| field("uid", 108), Ok)?;
        let gid = pax.gid.map_or_else(|| field("gid", 116), Ok)?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (header.number("mtime", 136, 12)?, 0),
        };
        let device = match kind {
            Kind::Character | Kind::Block => {
                let part = |name, start| -> Result<u32, TarError> {
                    let number = header.number(name, start, 8)?;
                    Ok(u32::try_from(number).map_err(|_| HeaderError::Number(name))?)
                };
                (part("devmajor", 329)?, part("devminor", 337)?)
            }
            _ => (0, 0),
        };
        self.begin_data(size);
        let sparse = self.sparse(header, &path, kind, &pax)?;
        let mode = u32::try_from(header.number("mode", 100, 8)?)
            .map_err(|_| HeaderError::Number("mode"))?;
        Ok(Entry {
            kind,
            path,
            link,
            mode: mode & 0o7777,
            uid,
            gid,
            size: self.data,
            mtime,
            device,
            xattrs: pax.xattrs,
            sparse,
        })
    }

    /// The one size of the entry's data, or an error where readers could see two.
    fn entry_size(
        &self,
        path: &[u8],
        kind: Kind,
        header: u64,
        pax: Option<u64>,
    ) -> Result<u64, TarError> {
        // A writer uses a PAX size where the field is too small for it, and then the
        // field holds zero, a cut value or a maximum. Below that bound two different
        // sizes serve only to make two readers see two archives (CVE-2025-62518).
        const FIELD_LIMIT: u64 = 1 << 33;
        let size = match pax {
            Some(pax) if pax != header && pax < FIELD_LIMIT && header != 0 => {
                return Err(entry_error(
                    path,
                    format!("the PAX header says {pax} bytes and the tar header {header}"),
                ));
            }
            Some(pax) => pax,
            None => header,
        };
        if kind != Kind::Regular && size != 0 {
            let problem = format!("a link, directory or device with {size} bytes of data");
            return Err(entry_error(path, problem));
        }
        Ok(size)
    }

    fn sparse(
        &mut self,
        header: &Header<'_>,
        path: &[u8],
        kind: Kind,
        pax: &Pax,
    ) -> Result<Option<SparseMap>, TarError> {
        if header.typeflag() == b'S' {
            return self.old_gnu_sparse(header).map(Some);
        }
        let keys = &pax.sparse;
        if !keys.present || kind != Kind::Regular {
            return Ok(None);
        }
        let real = keys.real_size.ok_or(PaxError::Sparse("no GNU.sparse.realsize"))?;
        match (keys.major, keys.minor) {
            (None | Some(0), _) => Ok(Some(SparseMap::new(&keys.map, real, self.data)?)),
            (Some(1), Some(0)) => {
                let numbers = self.sparse_1_0_map()?;
                Ok(Some(SparseMap::new(&numbers, real, self.data)?))
            }
            _ => Err(entry_error(path, "a sparse format other than 0.0, 0.1 and 1.0")),
        }
    }

    /// The map of format 1.0 stands in front of the data: decimal lines in whole blocks.
    fn sparse_1_0_map(&mut self) -> Result<Vec<u64>, TarError> {
        let bad = || TarError::Pax(PaxError::Sparse("the map before the data is malformed"));
        let mut numbers: Vec<u64> = Vec::new();
        let mut count: Option<usize> = None;
        let mut current: Option<u64> = None;
        loop {
            let mut block = [0; BLOCK];
            if self.data < BLOCK as u64 || !self.read_block(&mut block)? {
                return Err(bad());
            }
            self.data -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let next = current.unwrap_or(0).checked_mul(10);
                        current = Some(next.and_then(|n| n.checked_add(digit)).ok_or_else(bad)?);
                    }
                    b'\n' => {
                        let number = current.take().ok_or_else(bad)?;
                        if count.is_none() {
                            let pairs = usize::try_from(number).map_err(|_| bad())?;
                            count = Some(pairs.checked_mul(2).ok_or_else(bad)?);
                        } else {
                            numbers.push(number);
                        }
                        if Some(numbers.len()) == count {
                            return Ok(numbers);
                        }
                    }
                    _ => return Err(bad()),
                }
            }
            if numbers.len() as u64 > pax::MAX_HEADER {
                return Err(bad());
            }
        }
    }

    /// Four segments in the header, then blocks of 21 while a flag says so.
    fn old_gnu_sparse(&mut self, header: &Header<'_>) -> Result<SparseMap, TarError> {
        let mut numbers = Vec::new();
        let mut take = |field: &[u8]| -> Result<(), TarError> {
            for pair in field.chunks_exact(24) {
                if pair.iter().all(|byte| *byte == 0) {
                    break;
                }
                for part in pair.chunks_exact(12) {
                    let number = super::tar_header::number(part);
                    let number = number.and_then(|number| u64::try_from(number).ok());
                    numbers.push(number.ok_or(PaxError::Sparse("a number is malformed"))?);
                }
            }
            match numbers.len() as u64 > pax::MAX_HEADER {
                true => Err(PaxError::Sparse("too many segments").into()),
                false => Ok(()),
            }
        };
        take(header.bytes(386, 96))?;
        let mut extended = header.bytes(482, 1) != [0];
        while extended {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Err(PaxError::Sparse("the archive ends within the map").into());
            }
            take(&block[..504])?;
            extended = block[504] != 0;
        }
        let real = header.number("realsize", 483, 12)?;
        let real = u64::try_from(real).map_err(|_| HeaderError::Number("realsize"))?;
        Ok(SparseMap::new(&numbers, real, self.data)?)
    }

    fn begin_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Lends up to `limit` bytes of the entry's data to `take`; `Ok(0)` at its end.
    pub(crate) fn with_data<E: From<io::Error>>(
        &mut self,
        limit: u64,
        take: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let limit = limit.min(self.data);
        if limit == 0 {
            return Ok(0);
        }
        let buffer = self.inner.fill_buf()?;
        if buffer.is_empty() {
            return Err(truncated().into());
        }
        let length = buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        take(buffer.get(..length).unwrap_or(buffer))?;
        self.inner.consume(length);
        self.data -= length as u64;
        Ok(length as u64)
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut left = self.data.saturating_add(self.padding);
        while left > 0 {
            let available = self.inner.fill_buf()?.len();
            if available == 0 {
                return Err(truncated().into());
            }
            let length = available.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.inner.consume(length);
            left -= length as u64;
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    fn read_extended(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > pax::MAX_HEADER {
            return Err(TarError::LongHeader(size));
        }
        self.begin_data(size);
        let mut body = Vec::new();
        while self.with_data(size, |bytes| {
            body.extend_from_slice(bytes);
            Ok::<(), io::Error>(())
        })? > 0
        {}
        self.skip_data()?;
        Ok(body)
    }

    /// `false` where the stream ends before the block begins.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(truncated().into()) };
            }
            let length = buffer.len().min(BLOCK - filled);
            if let (Some(to), Some(from)) =
                (block.get_mut(filled..filled + length), buffer.get(..length))
            {
                to.copy_from_slice(from);
            }
            self.inner.consume(length);
            filled += length;
        }
        Ok(true)
    }

    /// Gives the stream back, for what stands after the end of the archive.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar stream ends within an entry")
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

fn kind(typeflag: u8, path: &[u8]) -> Result<Kind, TarError> {
    Ok(match typeflag {
        // Before ustar a directory was a file whose name ends in a slash.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            let flag = char::from(other).escape_default();
            return Err(entry_error(path, format!("type '{flag}' is none that a layer may hold")));
        }
    })
}
