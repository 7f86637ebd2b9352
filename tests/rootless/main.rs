//! Containers of an ordinary user, and containers in a user namespace: ids,
//! idmapped mounts, capabilities, labels, and what is said where something that
//! they need is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capability;
mod debian;
mod idmap;
mod joined;
mod label;
mod mapped;
mod missing;
mod podman;
mod user;

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

/// newuidmap(1) and newgidmap(1).
pub(crate) const HELPERS: [(&str, &str); 2] = [("newuidmap", "uidmap"), ("newgidmap", "uidmap")];
