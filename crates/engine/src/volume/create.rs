//! Making a volume for no container yet.

use std::collections::BTreeMap;

use super::{Bound, Volume};
use crate::container::name;
use crate::error::{Error, Field, Result};
use crate::home::Home;

/// What volume is wanted.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Its name; empty for an anonymous volume with a name of 64 hexadecimal digits.
    pub name: String,
    /// `local`, which an empty one means too.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver: `type=none`, `o=bind` or `o=rbind`, `device=DIRECTORY`; none for a
    /// directory of the engine's.
    pub options: BTreeMap<String, String>,
}

/// Makes a volume; one of this name that is there stays as it is, and is given.
///
/// # Errors
/// A malformed name, another driver; the errno of what failed.
pub fn create(home: &Home, request: &CreateRequest) -> Result<Volume> {
    if !["", "local"].contains(&request.driver.as_str()) {
        let problem = "must be local, the only volume driver";
        return Err(Error::field(Field::Driver, &request.driver, problem));
    }
    let anonymous = request.name.is_empty();
    let name = if anonymous { name::new_id()? } else { request.name.clone() };
    let bound = bound(&request.options)?;
    let volume = Volume::create_bound(home, &name, request.labels.clone(), anonymous, bound)?;
    if !request.options.is_empty() && volume.options() != request.options {
        let problem = "differs from the options that the volume has; remove it first";
        return Err(Error::field(Field::DriverOptions, name, problem));
    }
    Ok(volume)
}

/// The directory that options name.
fn bound(options: &BTreeMap<String, String>) -> Result<Option<Bound>> {
    if options.is_empty() {
        return Ok(None);
    }
    let bad = |name: &str, problem: &str| {
        let value = options.get(name).map(String::as_str).unwrap_or_default();
        Error::field(Field::DriverOptions, format_args!("{name}={value}"), problem)
    };
    if let Some(other) =
        options.keys().find(|name| !matches!(name.as_str(), "type" | "o" | "device"))
    {
        return Err(bad(other, "must be type, o or device"));
    }
    let of = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    if !matches!(of("type"), "none" | "bind") {
        let problem = "must be type=none with o=bind: use --tmpfs for a tmpfs, and mount another \
                       file system on the host";
        return Err(bad("type", problem));
    }
    let recursive = match of("o") {
        "bind" => false,
        "rbind" => true,
        _ => return Err(bad("o", "must be bind or rbind; use :ro of -v for a read-only one")),
    };
    let device = of("device");
    if !device.starts_with('/') {
        return Err(bad("device", "must be an absolute path"));
    }
    let failed = |error: std::io::Error| bad("device", &format!("cannot be bound: {error}"));
    let resolved = std::fs::canonicalize(device).map_err(failed)?;
    if !resolved.is_dir() {
        return Err(bad("device", "is not a directory"));
    }
    let resolved = resolved.into_os_string().into_string();
    let resolved = resolved.map_err(|_| bad("device", "is a link to a path that is not UTF-8"))?;
    Ok(Some(Bound { typ: of("type").to_owned(), device: device.to_owned(), resolved, recursive }))
}
