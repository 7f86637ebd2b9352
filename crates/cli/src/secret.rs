//! `secret`.

use std::collections::BTreeMap;
use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{for_each, output};
use crate::error::{Error, Result};
use husk_engine::error::file;
use husk_engine::home::Home;
use husk_engine::secret::{MAX_SIZE, Secret};

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// Create a secret from a file, or from standard input with -
    Create(Create),
    /// Display detailed information on secrets, without their content
    Inspect(Inspect),
    /// List secrets
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove secrets
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// `secret create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Label as NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Give a secret that exists the new content
    #[arg(long)]
    replace: bool,
    /// Name
    name: String,
    /// File with the content, or - for standard input
    file: String,
}

/// `secret inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Format output as json, or by a Go template such as '{{.ID}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Names or IDs
    #[arg(required = true)]
    names: Vec<String>,
}

/// `secret ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Format output as json, table, or by a Go template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
}

/// `secret rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Names or IDs
    #[arg(required = true)]
    names: Vec<String>,
}

impl Secrets {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Create(create) => create.run(home),
            Self::Inspect(inspect) => inspect.run(home),
            Self::Ls(ls) => ls.run(home),
            Self::Rm(rm) => for_each(&rm.names, |name| {
                let secret = Secret::remove(home, name)?;
                output::line(secret.id)
            }),
        }
    }
}

impl Create {
    fn run(&self, home: &Home) -> Result<u8> {
        let mut labels = BTreeMap::new();
        for text in &self.label {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                return Err(Error::flag("--label", text, "must be NAME=VALUE"));
            }
            labels.insert(name.to_owned(), value.to_owned());
        }
        let mut data = Vec::new();
        // One byte more than it can be: then it is refused as too large.
        let limit = MAX_SIZE as u64 + 1;
        let read = match self.file.as_str() {
            "-" => std::io::stdin().take(limit).read_to_end(&mut data),
            path => std::fs::File::open(path).and_then(|it| it.take(limit).read_to_end(&mut data)),
        };
        read.map_err(file("read", &self.file))?;
        let secret = Secret::create(home, &self.name, &data, labels, self.replace)?;
        output::line(secret.id).map(|()| 0)
    }
}

fn document(secret: &Secret) -> Value {
    json!({
        "ID": secret.id,
        "CreatedAt": secret.created,
        "UpdatedAt": secret.updated,
        "Spec": {
            "Name": secret.name,
            "Labels": secret.labels,
            "Driver": { "Name": "file", "Options": {} },
        },
    })
}

impl Inspect {
    fn run(&self, home: &Home) -> Result<u8> {
        let mut found = Vec::new();
        for name in &self.names {
            found.push(document(&Secret::find(home, name)?));
        }
        output::inspected(self.format.as_deref(), &found).map(|()| 0)
    }
}

impl Ls {
    fn run(&self, home: &Home) -> Result<u8> {
        let all = Secret::all(home)?;
        if self.quiet {
            return all.iter().try_for_each(|one| output::line(&one.id)).map(|()| 0);
        }
        let row = |one: &Secret| {
            json!({
                "ID": one.id.get(..25).unwrap_or_default(),
                "Name": one.name,
                "Driver": "file",
                "CreatedAt": one.created,
                "UpdatedAt": one.updated,
                "Labels": husk_engine::filter::joined(&one.labels),
            })
        };
        let columns = [
            ("ID", "ID"),
            ("NAME", "Name"),
            ("DRIVER", "Driver"),
            ("CREATED", "CreatedAt"),
            ("UPDATED", "UpdatedAt"),
        ];
        let rows: Vec<Value> = all.iter().map(row).collect();
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}
