//! What the standard library for glibc asks for and musl does not have, for a program that
//! is linked with musl's C library (`HUSK_MUSL`, docs/building-husk.md).
//!
//! The linker gives these functions the names that are asked for; in a program with glibc
//! nobody calls them.

use std::ffi::{CStr, c_char, c_int, c_void};

const NONE: &CStr = c"0.0";

/// `gnu_get_libc_version`: the oldest, so that nothing of a later one is counted on.
#[unsafe(no_mangle)]
extern "C" fn husk_glibc_version() -> *const c_char {
    NONE.as_ptr()
}

/// `_dl_find_object`, where an unwinder looks for its tables: there are none, since the
/// program aborts on panic and is linked without them.
#[unsafe(no_mangle)]
extern "C" fn husk_no_object(_address: *mut c_void, _result: *mut c_void) -> c_int {
    -1
}
