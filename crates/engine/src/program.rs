//! The program `husk`, which monitors and the holder of an ordinary user's namespaces are made
//! of.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says where it is, for a program that is not `husk` itself. The first one counts.
pub fn set(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// By default the program that runs now, by its own link: the very same also while it is being
/// upgraded.
pub(crate) fn path() -> &'static Path {
    PROGRAM.get().map_or(Path::new("/proc/self/exe"), PathBuf::as_path)
}
