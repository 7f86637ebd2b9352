//! The local time zone, by localtime_r(3): TZ, else /etc/localtime.

use std::ffi::CStr;
use std::mem;

/// What a time zone adds to UTC at a time, in seconds, and what it is called then, such as CEST.
///
/// `seconds` count from 1970; `None` where the year is none that fits.
pub fn zone(seconds: i64) -> Option<(i64, String)> {
    // SAFETY: all zero bytes are a valid tm.
    let mut local: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both point to values of ours, and the call keeps neither.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut local) }.is_null() {
        return None;
    }
    // SAFETY: a string of the C library's, which stays until the zone is read anew.
    let name = unsafe { CStr::from_ptr(local.tm_zone) };
    Some((local.tm_gmtoff, name.to_string_lossy().into_owned()))
}
