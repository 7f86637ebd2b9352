//! Whether the memory in a checkpoint is there as a whole.
//!
//! CRIU reads a process's memory at the offsets that its page map gives, and reads again for ever
//! where the file ends too early: at the end of a disk that was full, or of a copy that was cut.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_rootfs::walk;
use prost::Message;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::report::{Code, Error, Result};

/// More than a page map of a terabyte in single pages would be.
const MAX_MAP: u64 = 4 << 30;
const PAGE: u64 = 4096;
/// Two magic numbers.
const HEADER: usize = 8;
/// `PE_PRESENT`: the pages are in the file.
const PRESENT: u32 = 4;

/// `pagemap_head`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Head {
    #[prost(uint32, required, tag = "1")]
    pages_id: u32,
}

/// `pagemap_entry`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Entry {
    #[prost(uint32, optional, tag = "2")]
    short_count: Option<u32>,
    #[prost(bool, optional, tag = "3")]
    in_parent: Option<bool>,
    #[prost(uint32, optional, tag = "4")]
    flags: Option<u32>,
    #[prost(uint64, optional, tag = "5")]
    count: Option<u64>,
}

/// Refuses images whose memory was cut.
pub(crate) fn check(shown: &str, images: &OwnedFd) -> Result<()> {
    let failed = |op: &'static str| move |errno| Error::kernel(shown, op, errno);
    for name in walk::names(images.as_fd()).map_err(failed("getdents64"))? {
        let name = String::from_utf8_lossy(&name).into_owned();
        if !name.starts_with("pagemap-") {
            continue;
        }
        let Some((id, bytes)) = expected(images.as_fd(), &name).map_err(failed("read"))? else {
            continue;
        };
        let pages = format!("pages-{id}.img");
        let size = match statat(images, &pages, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status.st_size.cast_unsigned(),
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(failed("fstatat")(errno)),
        };
        if size < bytes {
            return Err(Error::new(
                Code::InvalidConfig,
                shown,
                format_args!("{pages} was cut: it has {size} bytes of {bytes}"),
            ));
        }
    }
    Ok(())
}

/// Which file the pages of a map are in, and how many bytes of it; None for a map that is not
/// understood, which CRIU judges.
fn expected(images: BorrowedFd<'_>, name: &str) -> Result<Option<(u32, u64)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(images, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_MAP)
        .read_to_end(&mut bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<(u32, u64)> {
    let mut rest = bytes.get(HEADER..)?;
    let head = Head::decode(record(&mut rest)?).ok()?;
    let mut pages: u64 = 0;
    while let Some(bytes) = record(&mut rest) {
        let entry = Entry::decode(bytes).ok()?;
        let present = match entry.flags {
            Some(flags) => flags & PRESENT != 0,
            None => entry.in_parent != Some(true),
        };
        let count =
            entry.count.unwrap_or_default().max(entry.short_count.unwrap_or_default().into());
        if present {
            pages = pages.checked_add(count)?;
        }
    }
    Some((head.pages_id, pages.checked_mul(PAGE)?))
}

/// The next record: its length, and as many bytes.
fn record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let mut push = |record: Vec<u8>| {
            bytes.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
            bytes.extend(record);
        };
        push(Head { pages_id: 7 }.encode_to_vec());
        entries.iter().for_each(|entry| push(entry.encode_to_vec()));
        bytes
    }

    #[test]
    fn pages_in_the_file_count() {
        let entry =
            |short: u32, flags| Entry { short_count: Some(short), flags, ..Entry::default() };
        let bytes = map(&[entry(3, Some(PRESENT)), entry(50, Some(1)), entry(2, None)]);
        assert_eq!(parse(&bytes), Some((7, 5 * PAGE)));
        assert_eq!(parse(&bytes[..4]), None);
        assert_eq!(parse(&map(&[Entry { count: Some(u64::MAX), ..entry(0, None) }])), None);
        // A map that was cut itself is CRIU's to refuse.
        assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap().0, 7);
    }
}
