//! `RUN --mount`: a step's mounts as those of its container.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::PathBuf;

use husk_image::build::{StepMount, StepSource};

use crate::bind_source;
use crate::container::config::{BindRecursive, Mount};
use crate::error::{Result, file};
use crate::home::{Home, make_directory};

/// Where a secret's file is: in the directory that ends with the container, and that is
/// memory wherever /run is.
fn secret_path(home: &Home, id: &str, number: usize) -> PathBuf {
    home.run.join("containers").join(id).join(format!("secret-{number}"))
}

/// What the container `id` is to be asked for.
pub(super) fn asked(home: &Home, id: &str, mounts: &[StepMount]) -> Vec<Mount> {
    let bind = |target: &str, source: PathBuf, read_only| Mount::Bind {
        resolved: bind_source::resolve_own(&source),
        source: source.display().to_string(),
        target: target.to_owned(),
        read_only,
        propagation: String::new(),
        recursive: BindRecursive::Enabled,
    };
    let asked = mounts.iter().enumerate().map(|(number, mount)| match &mount.source {
        StepSource::Path { path, read_only } => bind(&mount.target, path.clone(), *read_only),
        StepSource::Secret { .. } => bind(&mount.target, secret_path(home, id, number), true),
        StepSource::Tmpfs { size } => {
            // A step builds there: programs run, and everybody may write.
            let mut options = vec!["exec".to_owned(), "mode=1777".to_owned()];
            options.extend(size.map(|size| format!("size={size}")));
            Mount::Tmpfs { target: mount.target.clone(), options }
        }
    });
    asked.collect()
}

/// Writes the files of its secrets; they go with the container's run directory.
pub(super) fn write_secrets(home: &Home, id: &str, mounts: &[StepMount]) -> Result<()> {
    for (number, mount) in mounts.iter().enumerate() {
        let StepSource::Secret { content, owner, mode } = &mount.source else { continue };
        let path = secret_path(home, id, number);
        path.parent().map_or(Ok(()), make_directory)?;
        let opened =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut opened = opened.map_err(file("create the secret", &path))?;
        let written = opened
            .write_all(content)
            .and_then(|()| fchown(&opened, Some(owner.0), Some(owner.1)))
            .and_then(|()| opened.set_permissions(PermissionsExt::from_mode(*mode)));
        written.map_err(file("write the secret", &path))?;
    }
    Ok(())
}
