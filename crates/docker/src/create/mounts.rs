//! `HostConfig.Mounts`.

use husk_engine::container::config::BindRecursive;
use husk_engine::container::request::{MountRequest, MountSource};

use crate::object::{Object, Result};

pub(super) fn read(host: &mut Object) -> Result<Vec<MountRequest>> {
    host.objects("Mounts")?.into_iter().map(one).collect()
}

fn one(mut mount: Object) -> Result<MountRequest> {
    // Caching was for Docker Desktop.
    mount.drop_all(&["Consistency"]);
    let typ = mount.text("Type")?;
    let source = mount.text("Source")?;
    let source = match typ.as_str() {
        "bind" => bind(&mut mount, source)?,
        "volume" => volume(&mut mount, source)?,
        "tmpfs" if !source.is_empty() => {
            return Err(mount.error("Source", "must be empty for a tmpfs"));
        }
        "tmpfs" => tmpfs(&mut mount)?,
        other => {
            let problem = format!("invalid type {other:?}: must be bind, volume or tmpfs");
            return Err(mount.error("Type", problem));
        }
    };
    let request =
        MountRequest { source, target: mount.text("Target")?, read_only: mount.truth("ReadOnly")? };
    mount.finish()?;
    Ok(request)
}

fn bind(mount: &mut Object, path: String) -> Result<MountSource> {
    let (mut propagation, mut create, mut recursive) =
        (String::new(), false, BindRecursive::Enabled);
    if let Some(mut options) = mount.object("BindOptions")? {
        propagation = options.text("Propagation")?;
        create = options.truth("CreateMountpoint")?;
        recursive = match (
            options.truth("NonRecursive")?,
            options.truth("ReadOnlyNonRecursive")?,
            options.truth("ReadOnlyForceRecursive")?,
        ) {
            (true, _, _) => BindRecursive::Disabled,
            (_, true, false) => BindRecursive::Writable,
            (_, false, true) => BindRecursive::Readonly,
            (_, false, false) => BindRecursive::Enabled,
            (_, true, true) => {
                let problem = "cannot be combined with ReadOnlyNonRecursive";
                return Err(options.error("ReadOnlyForceRecursive", problem));
            }
        };
        options.finish()?;
    }
    Ok(MountSource::Bind { path, propagation, recursive, create })
}

fn volume(mount: &mut Object, name: String) -> Result<MountSource> {
    let mut no_copy = false;
    if let Some(mut options) = mount.object("VolumeOptions")? {
        no_copy = options.truth("NoCopy")?;
        if let Some(mut driver) = options.object("DriverConfig")? {
            let name = driver.text("Name")?;
            if !matches!(name.as_str(), "" | "local") {
                return Err(driver.error("Name", format!("{name:?} is not supported: use local")));
            }
            driver.finish()?;
        }
        options.finish()?;
    }
    Ok(MountSource::Volume { name, no_copy })
}

fn tmpfs(mount: &mut Object) -> Result<MountSource> {
    let (mut size, mut mode) = (None, None);
    if let Some(mut options) = mount.object("TmpfsOptions")? {
        size = options.count("SizeBytes")?.filter(|size| *size != 0);
        mode = options.count("Mode")?.filter(|mode| *mode != 0).map(|mode| format!("{mode:o}"));
        options.finish()?;
    }
    Ok(MountSource::Tmpfs { size, mode, options: Vec::new() })
}
