//! What a layer is compressed with, found by its first bytes.
//!
//! Decompression happens in this process, never by a program found on a path
//! (CVE-2026-41567). The bytes decide, not the media type: registries and engines
//! mislabel layers, and the diff id settles whether the result is right.

use std::io::{self, BufRead, Chain, Cursor, Read};

/// A compression that Docker's reference names for archives; layers of the image-spec have
/// none, gzip or zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A bare tar.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz (the .xz file format 1.2).
    Xz,
}

/// Largest zstd window: more would let a layer take the memory of the host.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory for xz, in KiB: `xz -9` takes 65 MiB to decompress.
const XZ_MEMORY: u32 = 256 << 10;

impl Compression {
    /// Recognises the first bytes of a stream.
    ///
    /// # Errors
    /// Names a format that is none of them.
    pub fn detect(start: &[u8]) -> Result<Compression, &'static str> {
        const KNOWN: [(&[u8], Result<Compression, &str>); 7] = [
            (b"\x1f\x8b", Ok(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd", Ok(Compression::Zstd)),
            (b"\xfd7zXZ\0", Ok(Compression::Xz)),
            (b"BZh", Ok(Compression::Bzip2)),
            (b"\x04\x22\x4d\x18", Err("lz4")),
            (b"hsqs", Err("squashfs")),
            (b"<!", Err("HTML")),
        ];
        // A zstd stream may begin with a skippable frame, 0x184D2A50 to 0x184D2A5F.
        if let [low, 0x2a, 0x4d, 0x18, ..] = start
            && low & 0xf0 == 0x50
        {
            return Ok(Compression::Zstd);
        }
        let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
        known.map_or(Ok(Compression::None), |(_, kind)| *kind)
    }
}

/// A stream whose first bytes were looked at.
pub type Source<R> = Chain<Cursor<Vec<u8>>, R>;

/// The first bytes of a stream, at most six, and the whole stream.
///
/// # Errors
/// The source's own.
pub fn peek<R: BufRead>(mut source: R) -> io::Result<(Vec<u8>, Source<R>)> {
    let mut start = Vec::with_capacity(6);
    while start.len() < 6 {
        let buffer = source.fill_buf()?;
        let Some(bytes) = buffer.get(..buffer.len().min(6 - start.len())) else { break };
        if bytes.is_empty() {
            break;
        }
        start.extend_from_slice(bytes);
        let length = bytes.len();
        source.consume(length);
    }
    let whole = Cursor::new(start.clone()).chain(source);
    Ok((start, whole))
}

/// A stream, decompressed as its first bytes ask.
pub enum Decoder<R: BufRead> {
    /// Not compressed.
    Plain(Source<R>),
    /// gzip, of any number of members.
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source<R>>>),
    /// zstd, of any number of frames.
    Zstd(Box<zstd::stream::read::Decoder<'static, Source<R>>>),
    /// bzip2, of any number of streams.
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Source<R>>>),
    /// xz, of any number of streams.
    Xz(Box<lzma_rust2::XzReader<Source<R>>>),
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes of `source`.
    ///
    /// # Errors
    /// The source's own, and [`io::ErrorKind::InvalidData`] naming a compression that
    /// is not supported.
    pub fn new(source: R) -> io::Result<Decoder<R>> {
        let (start, source) = peek(source)?;
        let kind = Compression::detect(&start).map_err(|name| {
            let text = format!("it is {name}, not a tar (plain, or as gzip, bzip2, xz or zstd)");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(match kind {
            Compression::None => Decoder::Plain(source),
            Compression::Gzip => {
                Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source)))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(Box::new(decoder))
            }
            Compression::Bzip2 => {
                Decoder::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(source)))
            }
            Compression::Xz => {
                let decoder = lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY);
                Decoder::Xz(Box::new(decoder))
            }
        })
    }

    /// What was found.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self {
            Decoder::Plain(_) => Compression::None,
            Decoder::Gzip(_) => Compression::Gzip,
            Decoder::Zstd(_) => Compression::Zstd,
            Decoder::Bzip2(_) => Compression::Bzip2,
            Decoder::Xz(_) => Compression::Xz,
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(source) => source.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
            Decoder::Bzip2(decoder) => decoder.read(buffer).map_err(|e| damaged("bzip2", &e)),
            Decoder::Xz(decoder) => decoder.read(buffer).map_err(|e| damaged("xz", &e)),
        }
    }
}

/// The decoders of these formats do not say what they were reading.
fn damaged(format: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("damaged {format}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        assert_eq!(Compression::detect(b"\x1f\x8b\x08"), Ok(Compression::Gzip));
        assert_eq!(Compression::detect(b"\x28\xb5\x2f\xfd"), Ok(Compression::Zstd));
        assert_eq!(Compression::detect(b"\x53\x2a\x4d\x18\0\0"), Ok(Compression::Zstd));
        assert_eq!(Compression::detect(b"usr/\0\0"), Ok(Compression::None));
        assert_eq!(Compression::detect(b"\xfd7zXZ\0"), Ok(Compression::Xz));
        assert_eq!(Compression::detect(b"BZh9"), Ok(Compression::Bzip2));
        assert_eq!(Compression::detect(b"\x04\x22\x4d\x18"), Err("lz4"));
        assert_eq!(Compression::detect(b""), Ok(Compression::None));
    }
}
