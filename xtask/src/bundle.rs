//! Bundles: the runtime's own `spec`, adapted, over a root filesystem of a few files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::process;

/// A bundle directory (runtime-spec, bundle.md).
pub(crate) struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    /// Makes `directory` with an empty `rootfs` and the config that `runtime spec` writes.
    ///
    /// # Errors
    /// A directory cannot be made, or the runtime's `spec` fails.
    pub(crate) fn from_spec(
        directory: &Path,
        runtime: &Path,
        rootless: bool,
    ) -> anyhow::Result<Self> {
        let bundle = Self::empty(directory)?;
        let mut spec = Command::new(runtime);
        spec.arg("spec").arg("--bundle").arg(directory);
        if rootless {
            spec.arg("--rootless");
        }
        process::output(&mut spec)?;
        Ok(bundle)
    }

    /// Makes `directory` with an empty `rootfs` and `config` as its config.json.
    ///
    /// # Errors
    /// A directory or file cannot be made.
    pub(crate) fn from_config(directory: &Path, config: &Value) -> anyhow::Result<Self> {
        let bundle = Self::empty(directory)?;
        bundle.write(config)?;
        Ok(bundle)
    }

    fn empty(directory: &Path) -> anyhow::Result<Self> {
        let rootfs = directory.join("rootfs");
        fs::create_dir_all(&rootfs).with_context(|| format!("mkdir {}", rootfs.display()))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Its root filesystem.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Its config.json.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub(crate) fn config(&self) -> anyhow::Result<Value> {
        let path = self.directory.join("config.json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Replaces its config.json.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, config: &Value) -> anyhow::Result<()> {
        let path = self.directory.join("config.json");
        fs::write(&path, format!("{config:#}\n")).with_context(|| path.display().to_string())
    }

    /// Puts a copy of `program` at `target`, a path inside the root filesystem.
    ///
    /// # Errors
    /// The file cannot be copied.
    pub(crate) fn install(&self, program: &Path, target: &str) -> anyhow::Result<()> {
        let to = self.rootfs().join(target.trim_start_matches('/'));
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("mkdir {}", directory.display()))?;
        }
        fs::copy(program, &to)
            .map(|_| ())
            .with_context(|| format!("copy {} to {}", program.display(), to.display()))
    }
}

/// Sets the process to run, without a terminal, and the host's name.
///
/// # Errors
/// The config has no `process`.
pub(crate) fn set_process(
    config: &mut Value,
    arguments: &[&str],
    hostname: &str,
) -> anyhow::Result<()> {
    let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) else {
        bail!("config.json has no process");
    };
    process.insert("args".to_owned(), json!(arguments));
    process.insert("terminal".to_owned(), json!(false));
    if let Some(config) = config.as_object_mut() {
        config.insert("hostname".to_owned(), json!(hostname));
    }
    Ok(())
}
