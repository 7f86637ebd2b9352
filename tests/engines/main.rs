//! Engines that drive the runtime as their own callers do: podman with conmon,
//! containerd with its runc shim; and a whole Debian as root filesystem.
//!
//! A package that is absent is named, and its tests are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod containerd;
mod debian;
mod podman;

use std::io::Write;

/// Whether all `programs` are installed; else says which package to install.
pub(crate) fn installed(programs: &[(&str, &str)]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = programs
        .iter()
        .find(|(name, _)| !std::env::split_paths(&path).any(|dir| dir.join(name).exists()));
    if let Some((name, package)) = missing {
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {name} is not installed (Debian package: {package})"
        );
    }
    missing.is_none()
}
