//! Memory that a process shares with those that it clones.

use std::mem::size_of;
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;

/// So many words, all zero, shared with every process cloned from now on: mmap(2) with
/// `MAP_SHARED | MAP_ANONYMOUS`. They are never unmapped.
///
/// # Errors
/// mmap(2).
pub fn words(count: usize) -> Result<&'static [AtomicU64], Errno> {
    let length = count.checked_mul(size_of::<AtomicU64>()).ok_or(Errno::NOMEM)?;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(crate::call::check(-1).err().unwrap_or(Errno::NOMEM));
    }
    // SAFETY: the mapping is page-aligned, `length` bytes long, zeroed (a valid AtomicU64 has
    // any bits) and lives for ever; all access to it is atomic.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), count) })
}
