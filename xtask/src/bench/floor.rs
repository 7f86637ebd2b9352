//! The programs in C of bench/: the floor and two instruments.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::{cargo, process};

/// Compiles `bench/NAME.c`, static, into `directory`.
///
/// # Errors
/// No C compiler, or it refuses the file.
pub(crate) fn compile(name: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let source = cargo::workspace().join("bench").join(format!("{name}.c"));
    let program = directory.join(name);
    process::output(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source))
        .with_context(|| format!("cc {} (Debian packages gcc, libc6-dev)", source.display()))?;
    Ok(program)
}
