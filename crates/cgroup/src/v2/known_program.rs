//! The device program that was loaded last, by its id: as long as a container with the
//! same rules lives, the kernel has it checked and compiled, which takes it as long as
//! all mounts of a container together.
//!
//! What is remembered is a file, replaced as a whole. The kernel has the last word: an id
//! counts if the program that it leads to has our name and was loaded at the very moment
//! that is on record. So a record from before a reboot leads to nothing.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use husk_sys::bpf;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::devices::NAME;

/// No container's id: those have no `@` in them.
const FILE: &str = "@devices";

/// Id and time of loading before the instructions.
const HEAD: usize = 12;

/// A program of the same instructions that is loaded already.
pub(crate) fn find(directory: &Path, program: &[u64]) -> Option<OwnedFd> {
    let record = read(&directory.join(FILE), HEAD + size_of_val(program)).ok()?;
    let (id, rest) = record.split_first_chunk()?;
    let (loaded, instructions) = rest.split_first_chunk()?;
    if !instructions.iter().copied().eq(program.iter().flat_map(|word| word.to_le_bytes())) {
        return None;
    }
    let known = bpf::program_by_id(u32::from_le_bytes(*id)).ok()?;
    let info = bpf::program_info(known.as_fd()).ok()?;
    (info.name == NAME && info.loaded == u64::from_le_bytes(*loaded)).then_some(known)
}

/// Remembers a program that has just been loaded. Where that cannot be, the next one is
/// loaded anew.
pub(crate) fn remember(directory: &Path, program: &[u64], loaded: &OwnedFd) {
    let Ok(info) = bpf::program_info(loaded.as_fd()) else { return };
    let mut record = Vec::with_capacity(HEAD + size_of_val(program));
    record.extend(info.id.to_le_bytes());
    record.extend(info.loaded.to_le_bytes());
    record.extend(program.iter().flat_map(|word| word.to_le_bytes()));
    // What is left where this process is killed goes with the next of its number.
    let own = directory.join(format!("{FILE}.{}", std::process::id()));
    let written =
        write(&own, &record).and_then(|()| renameat(CWD, &own, CWD, directory.join(FILE)));
    if written.is_err() {
        let _ = unlinkat(CWD, &own, rustix::fs::AtFlags::empty());
    }
}

/// A file of ours of exactly this length.
fn read(path: &Path, length: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty())?;
    let status = fstat(&file)?;
    // Whoever else could write here could name a program of other rules.
    let ours = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
        && status.st_uid == rustix::process::geteuid().as_raw()
        && status.st_mode & 0o022 == 0;
    if !ours || status.st_size != length as i64 {
        return Err(Errno::NOENT);
    }
    let mut bytes = vec![0; length];
    match rustix::io::read(&file, &mut bytes[..])? {
        read if read == length => Ok(bytes),
        _ => Err(Errno::IO),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(0o600))?;
    File::from(file)
        .write_all(bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
