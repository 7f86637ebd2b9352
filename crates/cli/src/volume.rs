//! `volume`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::progress::Notices;
use super::{filter, flags, for_each, output, prune};
use crate::error::Result;
use crate::template::{LABELS, Nil, OMITTED, nil};
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
    /// Set an option of the driver: type=none, o=bind, device=DIRECTORY
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
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
                    options: flags::pairs("--opt", &create.opt, false)?,
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
    let options = one.options();
    let options = if options.is_empty() { nil(Nil::Map) } else { json!(options) };
    Ok(json!({
        "Name": one.name, "CreatedAt": one.created, "Driver": "local", "Scope": "local",
        "Mountpoint": volume::data(home, &one.name), "Labels": labels, "Options": options,
        OMITTED: { "Status": nil(Nil::Map), "UsageData": null },
    }))
}
