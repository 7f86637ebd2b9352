//! The program's own code and constants in memory.

use rustix::io::Errno;

// ld(1): where the program's headers begin, and where its code ends. What is written to,
// also by relocation, lies behind.
unsafe extern "C" {
    static __ehdr_start: u8;
    static etext: u8;
}

/// Gives back the pages of the program's code and constants. What is used again comes back,
/// a few pages at a time, from the page cache: for a program that did much to begin with and
/// then only waits.
///
/// # Errors
/// madvise(2).
pub fn forget() -> Result<(), Errno> {
    let start = &raw const __ehdr_start;
    let length = (&raw const etext).addr() - start.addr();
    // The kernel rounds up to whole pages; the last may hold what comes after.
    let whole = length - length % rustix::param::page_size();
    // SAFETY: nothing has written to these pages, which are mapped from the program's file:
    // who reads them again gets the same bytes, since a file that is executed cannot be
    // written to (ETXTBSY).
    let advised = unsafe { libc::madvise(start.cast_mut().cast(), whole, libc::MADV_DONTNEED) };
    crate::call::check(advised.into()).map(drop)
}
