//! `volume`, and the words of `--mount`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::progress::Notices;
use super::{filter, flags, for_each, output, prune};
use crate::error::{Error, Result, file};
use crate::template::{LABELS, Nil, OMITTED, nil};
use husk_engine::container::config::{BindRecursive, Mount};
use husk_engine::container::name;
use husk_engine::home::Home;
use husk_engine::volume::{self, CreateRequest};

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Volume {
    /// Create a volume
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Display detailed information on volumes
    Inspect(Inspect),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove unused local volumes
    Prune(prune::Volumes),
}

/// `volume create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Volume driver; only local
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set a label: NAME[=VALUE]
    #[arg(long)]
    label: Vec<String>,
    /// Volume name (default: a generated one)
    name: Option<String>,
}

/// `volume ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Only print names
    #[arg(short, long)]
    quiet: bool,
    /// Filter the list: dangling, driver, label, name
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output as json, table, or by a Go template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
}

/// `volume inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Format output as json, table, or by a Go template such as '{{.Mountpoint}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Volume names
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// `volume rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Do not fail if it does not exist
    #[arg(short, long)]
    force: bool,
    /// Volume names
    #[arg(required = true)]
    volumes: Vec<String>,
}

impl Volume {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Create(create) => {
                let request = CreateRequest {
                    name: create.name.clone().unwrap_or_default(),
                    driver: create.driver.clone(),
                    labels: flags::pairs("--label", &create.label, true)?,
                };
                output::line(volume::create(home, &request)?.name).map(|()| 0)
            }
            Self::Ls(ls) => ls.run(home),
            Self::Inspect(inspect) => inspect.run(home),
            Self::Prune(prune) => prune.run(home),
            Self::Rm(rm) => for_each(&rm.volumes, |name| {
                if !rm.force || volume::Volume::find(home, name).is_ok() {
                    volume::Volume::remove(home, name)?;
                }
                output::line(name)
            }),
        }
    }
}

impl Ls {
    fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.filter, &volume::FILTERS)?;
        let volumes = volume::list(home, &filters, &Notices)?;
        if self.quiet {
            volumes.iter().try_for_each(|volume| output::line(&volume.name))?;
            return Ok(0);
        }
        let row = |one: &volume::Volume| {
            json!({
                "Name": one.name, "Driver": "local", "Scope": "local",
                "Mountpoint": volume::data(home, &one.name),
                "Availability": "N/A", "Group": "N/A", "Links": "N/A", "Size": "N/A",
                "Status": "N/A", "Labels": filter::joined(&one.labels), LABELS: one.labels,
            })
        };
        let rows: Vec<_> = volumes.iter().map(row).collect();
        let columns = [("DRIVER", "Driver"), ("VOLUME NAME", "Name")];
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}

impl Inspect {
    fn run(&self, home: &Home) -> Result<u8> {
        let mut found = Vec::new();
        let code = for_each(&self.volumes, |name| {
            found.push(document(home, name)?);
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }
}

/// What `inspect` tells of a volume.
pub(super) fn document(home: &Home, name: &str) -> Result<Value> {
    let one = volume::Volume::find(home, name)?;
    let labels = if one.labels.is_empty() { nil(Nil::Map) } else { json!(one.labels) };
    Ok(json!({
        "Name": one.name, "CreatedAt": one.created, "Driver": "local", "Scope": "local",
        "Mountpoint": volume::data(home, &one.name), "Labels": labels, "Options": nil(Nil::Map),
        OMITTED: { "Status": nil(Nil::Map), "UsageData": null },
    }))
}

/// `--mount type=...,source=...,target=...`.
///
/// # Errors
/// A word that is not known, or that the type does not have.
pub(super) fn parse_mount(text: &str) -> Result<Mount> {
    let bad = |problem: String| Error::flag("--mount", text, problem);
    let (mut typ, mut source, mut target) = ("volume", "", "");
    let (mut read_only, mut propagation, mut tmpfs) = (false, String::new(), Vec::new());
    let mut no_copy = false;
    let mut recursive = BindRecursive::Enabled;
    for word in text.split(',') {
        let (key, value) = word.split_once('=').unwrap_or((word, "true"));
        match key {
            "type" => typ = value,
            "source" | "src" => source = value,
            "target" | "destination" | "dst" => target = value,
            "readonly" | "ro" => read_only = value == "true" || value == "1",
            "volume-nocopy" => no_copy = value == "true" || value == "1",
            // Caching was for Docker Desktop; and what is missing is told by either flag.
            "consistency" if ["consistent", "cached", "delegated", "default"].contains(&value) => {}
            "volume-driver" if value == "local" => {}
            "bind-propagation" => value.clone_into(&mut propagation),
            "bind-recursive" => {
                recursive = BindRecursive::from_name(value).ok_or_else(|| {
                    bad(format!(
                        "bind-recursive {value:?} must be one of enabled, disabled, writable, readonly"
                    ))
                })?;
            }
            // The older name of bind-recursive=disabled.
            "bind-nonrecursive" if matches!(value, "true" | "1") => {
                recursive = BindRecursive::Disabled;
            }
            "tmpfs-size" => {
                tmpfs.push(format!("size={}", flags::bytes("--mount tmpfs-size", value)?));
            }
            "tmpfs-mode" => tmpfs.push(format!("mode={value}")),
            _ => return Err(bad(format!("unknown or unsupported option {key:?}"))),
        }
    }
    let target = target.to_owned();
    match typ {
        "bind" => {
            // As Docker, also relative to the working directory if it begins with a dot.
            if !source.starts_with('/') && !source.starts_with('.') {
                return Err(bad("the source of a bind must be a path".to_owned()));
            }
            let source = std::path::absolute(source).map_err(file("resolve", source))?;
            // Unlike -v, nothing is made.
            std::fs::metadata(&source).map_err(file("stat --mount source", &source))?;
            let source =
                source.to_str().ok_or_else(|| bad("the source is not UTF-8".to_owned()))?;
            let read_only = read_only || recursive == BindRecursive::Readonly;
            let source = source.to_owned();
            let resolved = String::new();
            Ok(Mount::Bind { source, target, read_only, propagation, recursive, resolved })
        }
        "volume" if source.is_empty() => {
            Ok(Mount::Volume { name: name::new_id()?, target, read_only, anonymous: true, no_copy })
        }
        "volume" => {
            name::validate("volume", source)?;
            Ok(Mount::Volume {
                name: source.to_owned(),
                target,
                read_only,
                anonymous: false,
                no_copy,
            })
        }
        "tmpfs" => {
            if read_only {
                tmpfs.push("ro".to_owned());
            }
            Ok(Mount::Tmpfs { target, options: tmpfs })
        }
        other => Err(bad(format!("invalid type {other:?}: must be bind, volume or tmpfs"))),
    }
}
