//! PAX extended headers and sparse maps (POSIX.1 pax, GNU tar "Sparse Formats").
//!
//! Strict: a record whose length is wrong, a key that names the same fact twice in
//! conflict, or a map that is not ascending and within the file is refused. A lenient
//! reader sees another archive than the one that was scanned (CVE-2025-62518).

/// Largest extended header, Go's cap.
pub(crate) const MAX_HEADER: u64 = 1 << 20;
/// Most segments of a sparse file.
const MAX_SEGMENTS: usize = 1 << 18;

/// What an extended header says of the next entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseKeys,
}

/// GNU's sparse records, formats 0.0, 0.1 and 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseKeys {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    pub(crate) map: Vec<u64>,
    pub(crate) present: bool,
}

/// A malformed extended header or sparse map.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PaxError {
    /// A record that is not `length key=value\n`.
    #[error("PAX record at byte {0} is not \"length key=value\\n\"")]
    Record(usize),
    /// A value that is not what the key holds.
    #[error("PAX {0}: {1:?} is not a value of it")]
    Value(&'static str, String),
    /// A global header that would change entries.
    #[error("global PAX header sets {0:?}, which would change every later entry")]
    Global(String),
    /// A sparse map that is not ascending or leaves the file.
    #[error("sparse map: {0}")]
    Sparse(&'static str),
}

fn value_error(key: &'static str, value: &[u8]) -> PaxError {
    PaxError::Value(key, crate::digest::clip(&String::from_utf8_lossy(value)))
}

fn decimal(key: &'static str, value: &[u8]) -> Result<u64, PaxError> {
    let text = std::str::from_utf8(value).ok();
    let digits = text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| value_error(key, value))
}

/// `seconds[.fraction]`, perhaps negative, into seconds and nanoseconds from 0.
fn time(key: &'static str, value: &[u8]) -> Result<(i64, u32), PaxError> {
    let bad = || value_error(key, value);
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return Err(bad());
    }
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

fn id(key: &'static str, value: &[u8]) -> Result<u32, PaxError> {
    let number = decimal(key, value)?;
    u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or_else(|| value_error(key, value))
}

/// Splits the records of an extended header.
fn records(bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), PaxError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let record = record(rest);
        let Some((length, key, value)) = record else {
            let failed = at;
            at = bytes.len();
            return Some(Err(PaxError::Record(failed)));
        };
        at += length;
        Some(Ok((key, value)))
    })
}

fn record(rest: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let blank = rest.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(rest.get(..blank)?).ok()?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let body = rest.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    (!key.is_empty() && !key.contains(&0)).then_some((length, key, value))
}

impl Pax {
    /// Parses the body of an `x` header.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Pax, PaxError> {
        let mut pax = Pax::default();
        for record in records(bytes) {
            let (key, value) = record?;
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), PaxError> {
        let no_nul = |name: &'static str| match value.contains(&0) {
            true => Err(value_error(name, value)),
            false => Ok(Some(value.to_vec()).filter(|value| !value.is_empty())),
        };
        match key {
            b"path" => self.path = no_nul("path")?,
            b"linkpath" => self.link = no_nul("linkpath")?,
            b"size" => self.size = Some(decimal("size", value)?),
            b"uid" => self.uid = Some(id("uid", value)?),
            b"gid" => self.gid = Some(id("gid", value)?),
            b"mtime" => self.mtime = Some(time("mtime", value)?),
            b"GNU.sparse.major" => self.sparse.major = Some(decimal("GNU.sparse.major", value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(decimal("GNU.sparse.minor", value)?),
            b"GNU.sparse.name" => self.sparse.name = no_nul("GNU.sparse.name")?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = Some(decimal("GNU.sparse.realsize", value)?);
            }
            b"GNU.sparse.numblocks" => {
                decimal("GNU.sparse.numblocks", value)?;
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.map.push(decimal("GNU.sparse.offset", value)?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',');
                let map: Result<_, _> = numbers.map(|n| decimal("GNU.sparse.map", n)).collect();
                self.sparse.map = map?;
            }
            // Names, comments, times that are not restored, and vendors' own keys.
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        self.sparse.present |= key.starts_with(b"GNU.sparse.");
        if self.sparse.map.len() > 2 * MAX_SEGMENTS {
            return Err(PaxError::Sparse("too many segments"));
        }
        Ok(())
    }
}

/// A `g` header must not change entries: readers differ in whether it does.
pub(crate) fn check_global(bytes: &[u8]) -> Result<(), PaxError> {
    const CHANGING: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];
    for record in records(bytes) {
        let (key, _) = record?;
        if CHANGING.contains(&key)
            || key.starts_with(b"GNU.sparse.")
            || key.starts_with(b"SCHILY.xattr.")
        {
            return Err(PaxError::Global(String::from_utf8_lossy(key).into_owned()));
        }
    }
    Ok(())
}

/// Where the data of a sparse file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// The size of the file with its holes.
    pub(crate) real_size: u64,
    /// Offset and length of each run of data, ascending.
    pub(crate) segments: Vec<(u64, u64)>,
}

impl SparseMap {
    /// Checks offset and length pairs against the file's size and the archived size.
    pub(crate) fn new(numbers: &[u64], real_size: u64, stored: u64) -> Result<SparseMap, PaxError> {
        if !numbers.len().is_multiple_of(2) || numbers.len() > 2 * MAX_SEGMENTS {
            return Err(PaxError::Sparse("an odd count of numbers, or too many"));
        }
        let mut segments = Vec::with_capacity(numbers.len() / 2);
        let (mut end, mut total) = (0_u64, 0_u64);
        for pair in numbers.chunks_exact(2) {
            let (offset, length) = (pair[0], pair[1]);
            if offset < end {
                return Err(PaxError::Sparse("segments overlap or do not ascend"));
            }
            end = offset.checked_add(length).ok_or(PaxError::Sparse("a segment is too long"))?;
            total += length;
            if end > real_size {
                return Err(PaxError::Sparse("a segment ends after the file"));
            }
            if length > 0 {
                segments.push((offset, length));
            }
        }
        if total != stored {
            return Err(PaxError::Sparse("the segments are not as long as the archived data"));
        }
        Ok(SparseMap { real_size, segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, value: &str) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length += 1;
        }
        format!("{length} {key}={value}\n").into_bytes()
    }

    #[test]
    fn records_are_read() {
        let mut bytes = line("path", "a/b");
        bytes.extend(line("mtime", "12.5"));
        bytes.extend(line("uid", "4294967294"));
        bytes.extend(line("SCHILY.xattr.user.x", "a=b"));
        bytes.extend(line("comment", "x"));
        let pax = Pax::parse(&bytes).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.mtime, Some((12, 500_000_000)));
        assert_eq!(pax.uid, Some(u32::MAX - 1));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"a=b".to_vec())]);
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        assert_eq!(time("mtime", b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time("mtime", b"-3").unwrap(), (-3, 0));
        assert_eq!(time("mtime", b"1.1234567899").unwrap(), (1, 123_456_789));
        for bad in [&b""[..], b".5", b"1.x", b"1e3", b"--1"] {
            assert!(time("mtime", bad).is_err());
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let mut long = line("path", "a");
        long[0] = b'8';
        for bytes in [
            b"path=a\n".to_vec(),
            b"5 a\n".to_vec(),
            b"999 path=a\n".to_vec(),
            b"4 =a\n".to_vec(),
            b"-1 path=a\n".to_vec(),
            b"18446744073709551616 a=b\n".to_vec(),
            b"0 a=b\n".to_vec(),
            long,
            line("path", "a\0b"),
            line("size", "-1"),
            line("size", "1x"),
            line("uid", "4294967295"),
            line("gid", "4294967296"),
            line("mtime", "now"),
            line("GNU.sparse.map", "1,x"),
        ] {
            assert!(Pax::parse(&bytes).is_err(), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn global_headers_may_comment_but_not_change() {
        assert!(check_global(&line("comment", "abc")).is_ok());
        assert!(check_global(&line("size", "1")).is_err());
        assert!(check_global(&line("SCHILY.xattr.user.x", "1")).is_err());
    }

    #[test]
    fn sparse_maps_ascend_within_the_file() {
        assert!(SparseMap::new(&[0, 4, 8, 4, 16, 0], 16, 8).is_ok());
        for (numbers, real, stored) in [
            (&[0, 4, 2, 4][..], 16, 8),
            (&[0, 4, 8][..], 16, 4),
            (&[0, 20][..], 16, 20),
            (&[8, u64::MAX][..], u64::MAX, 8),
            (&[0, 4][..], 16, 8),
        ] {
            assert!(SparseMap::new(numbers, real, stored).is_err());
        }
    }
}
