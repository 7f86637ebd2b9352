//! `context`: the files that say which engine docker(1) and its kin talk to.
//!
//! ```text
//! ~/.docker/config.json                        "currentContext": the one in use
//! ~/.docker/contexts/meta/SHA256-OF-NAME/meta.json    one context
//! ```
//!
//! husk itself works on this machine, whatever the context is.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use husk_image::digest::Digest;
use serde_json::{Value, json};

use super::{for_each, output, registry};
use crate::error::{EngineError, Error, Result};
use husk_engine::error::file;
use husk_engine::home::make_directory;
use husk_engine::notice::notice;

const DEFAULT: &str = "default";
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Context {
    /// Create a context
    Create(Create),
    /// Display detailed information on contexts
    Inspect(Inspect),
    /// List contexts
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove contexts
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Print the name of the context in use
    Show,
    /// Set the context that docker is to use
    Use(Use),
}

/// `context create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Description of the context
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Endpoint, as host=unix:///run/husk/docker.sock
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    docker: Vec<String>,
    /// Copy the endpoint of another context
    #[arg(long, value_name = "CONTEXT")]
    from: Option<String>,
    /// Name
    name: String,
}

/// `context inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Format output as json, or by a Go template such as '{{.Name}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Names [default: the context in use]
    names: Vec<String>,
}

/// `context ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Format output as json, table, or by a Go template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
    /// Only display names
    #[arg(short, long)]
    quiet: bool,
}

/// `context rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Remove the context in use, too
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// `context use`.
#[derive(Debug, Args)]
pub(super) struct Use {
    /// Name
    name: String,
}

/// The files.
struct Store {
    config: PathBuf,
}

impl Context {
    pub(super) fn run(&self) -> Result<u8> {
        let config = registry::config_path()
            .ok_or_else(|| Error::other("neither DOCKER_CONFIG nor HOME is set"))?;
        let store = Store { config };
        match self {
            Self::Create(create) => create.run(&store),
            Self::Inspect(inspect) => inspect.run(&store),
            Self::Ls(ls) => ls.run(&store),
            Self::Rm(rm) => for_each(&rm.names, |name| store.remove(name, rm.force)),
            Self::Show => output::line(store.current()?).map(|()| 0),
            Self::Use(wanted) => wanted.run(&store),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let fits = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte));
    match fits {
        true => Ok(()),
        false => Err(Error::other(format_args!(
            "context name {name:?} is not valid: two or more letters, digits, and after the first \
             also _ . + -"
        ))),
    }
}

fn missing(name: &str) -> Error {
    Error::other(format_args!("context {name:?} does not exist (\"husk context ls\" lists them)"))
}

impl Store {
    fn contexts(&self) -> PathBuf {
        self.config.with_file_name("contexts").join("meta")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.contexts().join(Digest::of(name.as_bytes()).hex()).join("meta.json")
    }

    /// config.json; an empty object where there is none.
    fn settings(&self) -> Result<Value> {
        Ok(self.read(&self.config)?.unwrap_or_else(|| json!({})))
    }

    fn current(&self) -> Result<String> {
        let settings = self.settings()?;
        let current = settings.get("currentContext").and_then(Value::as_str).unwrap_or_default();
        Ok(if current.is_empty() { DEFAULT } else { current }.to_owned())
    }

    fn set_current(&self, name: &str) -> Result<()> {
        let mut settings = self.settings()?;
        let fields = settings.as_object_mut().ok_or_else(|| {
            Error::other(format_args!("{}: is not a JSON object", self.config.display()))
        })?;
        match name {
            DEFAULT => drop(fields.remove("currentContext")),
            name => drop(fields.insert("currentContext".to_owned(), name.into())),
        }
        if let Some(directory) = self.config.parent() {
            make_directory(directory)?;
        }
        // Where it is a link, as of people who keep such files elsewhere, the link stays.
        let path = std::fs::canonicalize(&self.config).unwrap_or_else(|_| self.config.clone());
        let text = serde_json::to_string_pretty(&settings).map_err(Error::other)?;
        Ok(husk_record::write(&path, text.as_bytes()).map_err(EngineError::from)?)
    }

    fn read(&self, path: &Path) -> Result<Option<Value>> {
        Ok(husk_record::read(path).map_err(EngineError::from)?)
    }

    fn find(&self, name: &str) -> Result<Value> {
        match name {
            DEFAULT => {
                let host = std::env::var("DOCKER_HOST").unwrap_or_default();
                let host = if host.is_empty() { DEFAULT_HOST.to_owned() } else { host };
                Ok(context(DEFAULT, "", &host))
            }
            name => self.read(&self.file(name))?.ok_or_else(|| missing(name)),
        }
    }

    /// All, by name, that of no name first.
    fn all(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let directory = self.contexts();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries.collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(file("list", &directory)(error).into()),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.path().join("meta.json");
            match self.read(&path) {
                Ok(found) => all.extend(found),
                // One that is damaged does not hide the others.
                Err(error) => notice(error),
            }
        }
        all.sort_by_key(|one| name_of(one).to_owned());
        all.insert(0, self.find(DEFAULT)?);
        Ok(all)
    }

    fn remove(&self, name: &str, force: bool) -> Result<()> {
        if name == DEFAULT {
            return Err(Error::other("the context \"default\" cannot be removed"));
        }
        let path = self.file(name);
        if !path.exists() {
            return Err(missing(name));
        }
        if self.current()? == name {
            if !force {
                return Err(Error::other(format_args!(
                    "context {name:?} is in use: use another first, or remove it with --force"
                )));
            }
            self.set_current(DEFAULT)?;
        }
        if let Some(directory) = path.parent() {
            std::fs::remove_dir_all(directory).map_err(file("remove", directory))?;
        }
        output::line(name)
    }
}

fn name_of(context: &Value) -> &str {
    context.get("Name").and_then(Value::as_str).unwrap_or_default()
}

fn host_of(context: &Value) -> &str {
    context.pointer("/Endpoints/docker/Host").and_then(Value::as_str).unwrap_or_default()
}

fn context(name: &str, description: &str, host: &str) -> Value {
    let metadata = match description {
        "" => json!({}),
        description => json!({ "Description": description }),
    };
    json!({
        "Name": name,
        "Metadata": metadata,
        "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } },
    })
}

impl Create {
    fn run(&self, store: &Store) -> Result<u8> {
        check_name(&self.name)?;
        let path = store.file(&self.name);
        if self.name == DEFAULT || path.exists() {
            return Err(Error::other(format_args!("context {:?} exists", self.name)));
        }
        let mut made = match &self.from {
            Some(other) => {
                let host = host_of(&store.find(other)?).to_owned();
                context(&self.name, &self.description, &host)
            }
            None => context(&self.name, &self.description, &self.host()?),
        };
        if self.from.is_some() && !self.docker.is_empty() {
            let host = self.host()?;
            made = context(&self.name, &self.description, &host);
        }
        if let Some(directory) = path.parent() {
            make_directory(directory)?;
        }
        husk_record::write_json(&path, &made).map_err(EngineError::from)?;
        output::line(&self.name)?;
        Ok(0)
    }

    /// `host=` of `--docker`.
    fn host(&self) -> Result<String> {
        let mut host = None;
        for text in &self.docker {
            match text.split_once('=') {
                Some(("host", value)) => host = Some(value.to_owned()),
                _ => {
                    let problem = "only host=ADDRESS is supported; set up TLS with docker context";
                    return Err(Error::flag("--docker", text, problem));
                }
            }
        }
        host.filter(|host| host.contains("://")).ok_or_else(|| {
            Error::other(
                "--docker host=ADDRESS is required, as host=unix:///run/husk/docker.sock or \
                 host=ssh://user@host",
            )
        })
    }
}

impl Inspect {
    fn run(&self, store: &Store) -> Result<u8> {
        let current = vec![store.current()?];
        let names = if self.names.is_empty() { &current } else { &self.names };
        let mut found = Vec::new();
        for name in names {
            let mut one = store.find(name)?;
            let place = match name.as_str() {
                DEFAULT => "<IN MEMORY>".to_owned(),
                name => store.file(name).parent().unwrap_or(Path::new("")).display().to_string(),
            };
            if let Some(fields) = one.as_object_mut() {
                fields.insert("TLSMaterial".to_owned(), json!({}));
                let tls = place.replace("/contexts/meta/", "/contexts/tls/");
                let storage = json!({ "MetadataPath": place, "TLSPath": tls });
                fields.insert("Storage".to_owned(), storage);
            }
            found.push(one);
        }
        output::inspected(self.format.as_deref(), &found).map(|()| 0)
    }
}

impl Ls {
    fn run(&self, store: &Store) -> Result<u8> {
        let current = store.current()?;
        let all = store.all()?;
        if self.quiet {
            return all.iter().try_for_each(|one| output::line(name_of(one))).map(|()| 0);
        }
        let row = |one: &Value| {
            let name = name_of(one);
            let description = match name {
                DEFAULT => "Current DOCKER_HOST based configuration",
                _ => one.pointer("/Metadata/Description").and_then(Value::as_str).unwrap_or(""),
            };
            let is_current = name == current;
            json!({
                "Name": name,
                "Current": is_current,
                "Description": description,
                "DockerEndpoint": host_of(one),
                "Error": "",
                "_marked": if is_current { format!("{name} *") } else { name.to_owned() },
            })
        };
        let rows: Vec<Value> = all.iter().map(row).collect();
        let columns = [
            ("NAME", "_marked"),
            ("DESCRIPTION", "Description"),
            ("DOCKER ENDPOINT", "DockerEndpoint"),
            ("ERROR", "Error"),
        ];
        if self.format.is_none() {
            return output::listing(None, &columns, &rows).map(|()| 0);
        }
        let mut rows = rows;
        for fields in rows.iter_mut().filter_map(Value::as_object_mut) {
            fields.remove("_marked");
        }
        let columns = columns.map(|(header, field)| (header, field.trim_start_matches('_')));
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}

impl Use {
    fn run(&self, store: &Store) -> Result<u8> {
        store.find(&self.name)?;
        store.set_current(&self.name)?;
        output::line(&self.name)?;
        if self.name != DEFAULT {
            notice("docker and its kin use this context now; husk always works on this machine");
        }
        Ok(0)
    }
}
