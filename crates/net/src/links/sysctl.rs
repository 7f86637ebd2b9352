//! Settings under /proc/sys/net of the calling thread's network namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}

/// The value without its newline; `None` where this kernel or namespace has no
/// such setting (IPv6 off, br_netfilter not loaded).
pub(crate) fn read(name: &str) -> Result<Option<String>> {
    match fs::read_to_string(path(name)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", &path(name), e)),
    }
}

/// Writes a value, if it is another than the present one. Returns whether it was.
pub(crate) fn set(name: &str, value: &str) -> Result<bool> {
    match read(name)? {
        Some(present) if present == value => return Ok(false),
        _ => {}
    }
    fs::write(path(name), value).map_err(|e| Error::file("write", &path(name), e))?;
    Ok(true)
}

/// Like [`set`], but the absence of the setting is no error: there is then
/// nothing to set.
pub(crate) fn set_if_present(name: &str, value: &str) -> Result<bool> {
    match read(name)? {
        None => Ok(false),
        Some(present) if present == value => Ok(false),
        Some(_) => set(name, value),
    }
}

/// Whether this network namespace has IPv6 at all, and not switched off.
pub(crate) fn has_ipv6() -> bool {
    matches!(read("ipv6/conf/all/disable_ipv6"), Ok(Some(value)) if value == "0")
}
