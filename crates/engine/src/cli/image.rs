//! Commands of images and registries.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;

use clap::Args;
use husk_image::archive::{self, Format, ImportOptions};
use husk_image::config::RunConfig;
use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress, Silent};
use husk_image::reference::{DEFAULT_REGISTRY, Reference};
use husk_image::registry::{
    Client, ClientOptions, Credentials, DockerConfig, PullOptions, Pulled, PushOptions,
};
use husk_image::store::{ImageRecord, Removal};
use serde_json::{Value, json};

use super::{for_each, output};
use crate::clock;
use crate::error::{Error, Result, file};
use crate::home::Home;

/// How registries are talked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registry {
    /// `--tls-verify`.
    pub(super) tls_verify: bool,
    /// No progress.
    pub(super) quiet: bool,
}

fn docker_config() -> Result<DockerConfig> {
    let path = DockerConfig::default_path()
        .ok_or_else(|| Error::other("neither DOCKER_CONFIG nor HOME is set"))?;
    Ok(DockerConfig::load(&path)?)
}

fn client(reference: &Reference, registry: &Registry) -> Result<Client> {
    // Without a home there are no credentials, which most pulls do not need.
    let credentials = match DockerConfig::default_path() {
        Some(path) => DockerConfig::load(&path)?.credentials(reference.registry())?,
        None => None,
    };
    let options =
        ClientOptions { insecure: !registry.tls_verify, credentials, ..ClientOptions::default() };
    Ok(Client::new(reference, options))
}

/// Plain lines: what began, what is done.
#[derive(Default)]
struct Lines {
    percent: Mutex<HashMap<Digest, (u64, u64)>>,
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        let mut stderr = std::io::stderr().lock();
        let _ = match event {
            Event::Layers(layers) => {
                if let Ok(mut sizes) = self.sizes.lock() {
                    sizes.extend(layers.iter().copied());
                }
                Ok(())
            }
            Event::Present(layer) => writeln!(stderr, "{}: already here", layer.short()),
            Event::Waiting(layer) => {
                writeln!(stderr, "{}: another process pulls it; waiting", layer.short())
            }
            Event::Resumed(layer, at) => {
                writeln!(stderr, "{}: going on from {}", layer.short(), output::size(at))
            }
            Event::Done(layer) => {
                let size = self.sizes.lock().ok().and_then(|sizes| sizes.get(&layer).copied());
                let size = size.map(output::size).unwrap_or_default();
                writeln!(stderr, "{}: done {size}", layer.short())
            }
            Event::Retry(layer, why) => writeln!(stderr, "{}: trying again: {why}", layer.short()),
            Event::Warning(text) => writeln!(stderr, "husk: warning: {text}"),
            Event::Transferred(layer, done) => {
                // Every tenth on a terminal is enough to see that something moves.
                let total = self.sizes.lock().ok().and_then(|sizes| sizes.get(&layer).copied());
                let mut said = Ok(());
                if let (Some(total @ 1..), Ok(mut percent), true) =
                    (total, self.percent.lock(), std::io::stderr().is_terminal())
                {
                    let tenth = done.saturating_mul(10) / total;
                    let last = percent.entry(layer).or_default();
                    if tenth > last.0 {
                        last.0 = tenth;
                        said = writeln!(
                            stderr,
                            "{}: {} of {}",
                            layer.short(),
                            output::size(done),
                            output::size(total)
                        );
                    }
                }
                said
            }
            Event::Step(text) => writeln!(stderr, "{text}"),
            Event::CachedStep => writeln!(stderr, "cached"),
            Event::Unpacked(..) => Ok(()),
        };
    }
}

fn pull_options(platform: Option<&str>) -> Result<PullOptions> {
    let mut options = PullOptions::default();
    if let Some(text) = platform {
        options.platform = text.parse().map_err(|error| Error::flag("--platform", text, error))?;
    }
    Ok(options)
}

/// Pulls an image.
pub(super) fn pull(
    home: &Home,
    name: &str,
    platform: Option<&str>,
    registry: &Registry,
) -> Result<Pulled> {
    let reference: Reference = name.parse()?;
    let options = pull_options(platform)?;
    let lines = Lines::default();
    let progress: &dyn Progress = if registry.quiet { &Silent } else { &lines };
    let store = home.images()?;
    let client = client(&reference, registry)?;
    Ok(husk_image::registry::pull(&store, &client, &reference, &options, progress)?)
}

/// `pull`.
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// OS/ARCHITECTURE
    #[arg(long)]
    platform: Option<String>,
    /// Whether TLS and its certificates are wanted
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// The image
    image: String,
}

impl Pull {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let registry = Registry { tls_verify: self.tls_verify, quiet: self.quiet };
        let pulled = pull(home, &self.image, self.platform.as_deref(), &registry)?;
        let reference = self.image.parse::<Reference>()?.or_latest();
        if !self.quiet {
            eprintln!("Digest: {}", pulled.target);
            let word =
                if pulled.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
            eprintln!("Status: {word} for {}", reference.familiar());
        }
        output::line(&reference)?;
        Ok(0)
    }
}

/// `push`.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// Whether TLS and its certificates are wanted
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// The image
    image: String,
}

impl Push {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let reference: Reference = self.image.parse()?;
        let reference = reference.or_latest();
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let registry = Registry { tls_verify: self.tls_verify, quiet: self.quiet };
        let lines = Lines::default();
        let progress: &dyn Progress = if self.quiet { &Silent } else { &lines };
        let client = client(&reference, &registry)?;
        let options = PushOptions::default();
        let digest =
            husk_image::registry::push(&store, &client, &record, &reference, &options, progress)?;
        output::line(format_args!("{}: digest: {digest}", reference.familiar()))?;
        Ok(0)
    }
}

/// `images`.
#[derive(Debug, Args)]
pub(super) struct Images {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Also those without a name, which are listed anyway
    #[arg(short, long)]
    all: bool,
    /// With digests
    #[arg(long)]
    digests: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// json, or a template such as '{{.Repository}}'
    #[arg(long)]
    format: Option<String>,
    /// Those of this repository
    repository: Option<String>,
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let wanted: Option<Reference> = self.repository.as_deref().map(str::parse).transpose()?;
        let mut rows = Vec::new();
        for image in store.images()? {
            let mut size = 0;
            for layer in store.layers(&image.record.chain_ids())? {
                size += layer.record.size;
            }
            let names = image.names.iter().map(|(name, target)| (Some(name), *target));
            let dangling = image.names.is_empty().then_some((None, image.record.manifest));
            for (reference, target) in names.chain(dangling) {
                let matches = match (&wanted, reference) {
                    (None, _) => true,
                    (Some(wanted), Some(name)) => {
                        wanted.name() == name.name()
                            && wanted.tag().is_none_or(|tag| name.tag() == Some(tag))
                    }
                    (Some(_), None) => false,
                };
                if matches {
                    rows.push(self.row(&image.record, reference, target, size));
                }
            }
        }
        if self.quiet {
            let mut seen = std::collections::HashSet::new();
            for row in &rows {
                let id = row.get("ID").and_then(Value::as_str).unwrap_or_default();
                if seen.insert(id.to_owned()) {
                    output::line(id)?;
                }
            }
            return Ok(0);
        }
        if let Some(template) = &self.format {
            for row in &rows {
                output::line(output::format(template, row)?)?;
            }
            return Ok(0);
        }
        let (mut header, mut fields) = (
            vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"],
            vec!["Repository", "Tag", "ID", "CreatedSince", "Size"],
        );
        if self.digests {
            header.insert(2, "DIGEST");
            fields.insert(2, "Digest");
        }
        let cells = |row: &Value| {
            let text = |field: &&str| {
                row.get(*field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            fields.iter().map(text).collect::<Vec<String>>()
        };
        output::table(&header, &rows.iter().map(cells).collect::<Vec<_>>())?;
        Ok(0)
    }

    fn row(
        &self,
        record: &ImageRecord,
        reference: Option<&Reference>,
        target: Digest,
        size: u64,
    ) -> Value {
        let none = || "<none>".to_owned();
        let created = record.created.clone().unwrap_or_default();
        let since = match clock::parse(&created) {
            Some(then) => format!("{} ago", clock::human(clock::now().0.saturating_sub(then))),
            None => "N/A".to_owned(),
        };
        json!({
            "Repository": reference.map_or_else(none, Reference::familiar_name),
            "Tag": reference.and_then(Reference::tag).map_or_else(none, str::to_owned),
            "Digest": target.to_string(),
            "ID": if self.no_trunc { record.id.to_string() } else { record.id.short() },
            "CreatedAt": created,
            "CreatedSince": since,
            "Size": output::size(size),
        })
    }
}

/// `rmi`.
#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// All names of an id; also where a container is of it
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        for_each(&self.images, |name| {
            for removal in store.remove(name, self.force)? {
                match removal {
                    Removal::Untagged(reference) => {
                        output::line(format_args!("Untagged: {}", reference.familiar()))?;
                    }
                    Removal::Deleted(id) => output::line(format_args!("Deleted: {id}"))?,
                }
            }
            Ok(())
        })
    }
}

/// `tag`.
#[derive(Debug, Args)]
pub(super) struct Tag {
    /// Name or id
    image: String,
    /// The new name
    name: String,
}

impl Tag {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let reference: Reference = self.name.parse()?;
        if reference.digest().is_some() {
            return Err(Error::other(format_args!("{}: a digest cannot be given away", self.name)));
        }
        store.tag(&reference.or_latest(), &record.manifest, &record.manifest)?;
        Ok(0)
    }
}

/// `save`.
#[derive(Debug, Args)]
pub(super) struct Save {
    /// The file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// docker (an OCI layout that Docker of any age reads) or oci
    #[arg(long, default_value = "docker")]
    format: String,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

impl Save {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let format = match self.format.as_str() {
            "docker" | "docker-archive" => Format::Docker,
            "oci" | "oci-archive" => Format::Oci,
            other => return Err(Error::flag("--format", other, "is neither docker nor oci")),
        };
        let store = home.images()?;
        let mut images: Vec<(ImageRecord, Vec<Reference>)> = Vec::new();
        for name in &self.images {
            let record = store.find(name)?;
            let by_name = name.parse::<Reference>().ok().map(Reference::or_latest);
            let named = match by_name {
                Some(reference) if store.find_reference(&reference)?.is_some() => vec![reference],
                _ => Vec::new(),
            };
            match images.iter_mut().find(|(known, _)| known.manifest == record.manifest) {
                Some((_, names)) => names.extend(named),
                None => images.push((record, named)),
            }
        }
        match &self.output {
            Some(path) => {
                let opened = std::fs::File::create(path).map_err(file("create", path))?;
                archive::save_stream(&store, &images, format, std::io::BufWriter::new(opened))?;
            }
            None if std::io::stdout().is_terminal() => {
                return Err(Error::other("standard output is a terminal: name a file with -o"));
            }
            None => archive::save_stream(&store, &images, format, std::io::stdout().lock())?,
        }
        Ok(0)
    }
}

/// `load`.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// The file or OCI layout directory instead of standard input
    #[arg(short, long)]
    input: Option<String>,
    /// No names
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let options = PullOptions::default();
        let loaded = match &self.input {
            Some(path) if Path::new(path).is_dir() => {
                archive::load_directory(&store, Path::new(path), &options, &Silent)?
            }
            Some(path) => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                archive::load_stream(&store, BufReader::new(opened), &options, &Silent)?
            }
            None => archive::load_stream(&store, std::io::stdin().lock(), &options, &Silent)?,
        };
        for one in loaded.iter().filter(|_| !self.quiet) {
            match one.names.is_empty() {
                true => output::line(format_args!("Loaded image ID: {}", one.image.id))?,
                false => {
                    for name in &one.names {
                        output::line(format_args!("Loaded image: {}", name.familiar()))?;
                    }
                }
            }
        }
        Ok(0)
    }
}

/// `import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A remark for its history
    #[arg(short, long)]
    message: Option<String>,
    /// ENTRYPOINT or CMD ["..."], ENV NAME=VALUE, WORKDIR DIR, USER USER
    #[arg(short, long)]
    change: Vec<String>,
    /// The tar, or - for standard input
    file: String,
    /// Its name
    name: Option<String>,
}

impl Import {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let import = ImportOptions {
            config: self.config()?,
            message: self.message.clone(),
            reference: self.name.as_deref().map(str::parse).transpose()?,
        };
        let store = home.images()?;
        let options = PullOptions::default();
        let record = match self.file.as_str() {
            "-" => archive::import(&store, std::io::stdin().lock(), import, &options, &Silent)?,
            path => {
                let opened = std::fs::File::open(path).map_err(file("open", path))?;
                archive::import(&store, BufReader::new(opened), import, &options, &Silent)?
            }
        };
        output::line(record.id)?;
        Ok(0)
    }

    fn config(&self) -> Result<RunConfig> {
        let mut config = RunConfig::default();
        for change in &self.change {
            let bad = |problem: &str| Error::flag("--change", change, problem);
            let (word, value) =
                change.trim().split_once(' ').ok_or_else(|| bad("is no instruction"))?;
            let value = value.trim();
            let list = || match value.starts_with('[') {
                true => serde_json::from_str::<Vec<String>>(value)
                    .map_err(|_| bad("is no JSON list of strings")),
                false => Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), value.to_owned()]),
            };
            match word.to_ascii_uppercase().as_str() {
                "ENTRYPOINT" => config.entrypoint = Some(list()?),
                "CMD" => config.cmd = Some(list()?),
                "ENV" if value.contains('=') => {
                    config.env.get_or_insert_default().push(value.to_owned());
                }
                "WORKDIR" => config.working_dir = Some(value.to_owned()),
                "USER" => config.user = Some(value.to_owned()),
                _ => return Err(bad("only ENTRYPOINT, CMD, ENV, WORKDIR and USER are built yet")),
            }
        }
        Ok(config)
    }
}

/// `history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Whole instructions
    #[arg(long)]
    no_trunc: bool,
    /// Name or id
    image: String,
}

impl History {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let config = store.config(&record)?;
        let mut sizes =
            store.layers(&record.chain_ids())?.into_iter().map(|layer| layer.record.size);
        let mut rows = Vec::new();
        for entry in config.history.unwrap_or_default() {
            let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
            let mut by = entry.created_by.unwrap_or_default().replace(['\n', '\t'], " ");
            if !self.no_trunc && by.chars().count() > 45 {
                by = by.chars().take(44).chain("…".chars()).collect();
            }
            let created = entry.created.as_deref().and_then(clock::parse);
            let since = created.map_or_else(
                || "N/A".to_owned(),
                |then| format!("{} ago", clock::human(clock::now().0.saturating_sub(then))),
            );
            rows.push(vec![
                "<missing>".to_owned(),
                since,
                by,
                output::size(size),
                entry.comment.unwrap_or_default(),
            ]);
        }
        rows.reverse();
        if let Some(first) = rows.first_mut().and_then(|row| row.first_mut()) {
            *first = record.id.short();
        }
        output::table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)?;
        Ok(0)
    }
}

/// The server that `login` and `logout` mean.
fn server(text: Option<&str>) -> String {
    match text {
        None | Some("index.docker.io" | "https://index.docker.io/v1/") => {
            DEFAULT_REGISTRY.to_owned()
        }
        Some(text) => {
            let bare = text.trim_start_matches("https://").trim_start_matches("http://");
            bare.trim_end_matches('/').to_owned()
        }
    }
}

/// `login`.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The user
    #[arg(short, long)]
    username: Option<String>,
    /// The password; --password-stdin keeps it from the list of processes
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// Whether TLS and its certificates are wanted
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// The registry; docker.io without
    server: Option<String>,
}

impl Login {
    pub(super) fn run(&self) -> Result<u8> {
        let server = server(self.server.as_deref());
        let user = match &self.username {
            Some(user) => user.clone(),
            None => prompt("Username: ")?,
        };
        let password = match (&self.password, self.password_stdin) {
            (Some(password), _) => password.clone(),
            (None, true) => read_line()?,
            (None, false) => hidden("Password: ")?,
        };
        let credentials = Credentials::Password { user, password };
        let options = ClientOptions {
            insecure: !self.tls_verify,
            credentials: Some(credentials.clone()),
            ..ClientOptions::default()
        };
        Client::of_registry(&server, options).check_login()?;
        docker_config()?.store(&server, &credentials)?;
        output::line("Login Succeeded")?;
        Ok(0)
    }
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(file("read", "standard input"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn prompt(text: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::other("standard input is no terminal: give -u and --password-stdin"));
    }
    eprint!("{text}");
    read_line()
}

/// Reads without echo.
fn hidden(text: &str) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = rustix::stdio::stdin();
    let saved = tcgetattr(stdin).map_err(|_| {
        Error::other("standard input is no terminal: give the password with --password-stdin")
    })?;
    let mut silent = saved.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin, OptionalActions::Flush, &silent).map_err(file("set", "the terminal"))?;
    let line = prompt(text);
    let restored = tcsetattr(stdin, OptionalActions::Now, &saved);
    eprintln!();
    restored.map_err(file("set", "the terminal"))?;
    line
}

/// `logout`.
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// The registry; docker.io without
    server: Option<String>,
}

impl Logout {
    pub(super) fn run(&self) -> Result<u8> {
        let server = server(self.server.as_deref());
        let text = match docker_config()?.erase(&server)? {
            true => format!("Removing login credentials for {server}"),
            false => format!("Not logged in to {server}"),
        };
        output::line(text)?;
        Ok(0)
    }
}

/// What is known of an image.
pub(super) fn inspect(home: &Home, name: &str) -> Result<Value> {
    let store = home.images()?;
    let record = store.find(name)?;
    let config = store.config(&record)?;
    let known = store.images()?;
    let names = known
        .into_iter()
        .find(|image| image.record.manifest == record.manifest)
        .map(|image| image.names)
        .unwrap_or_default();
    let tags: Vec<String> = names.iter().map(|(name, _)| name.familiar()).collect();
    let digests: Vec<String> =
        names.iter().map(|(name, target)| format!("{}@{target}", name.familiar_name())).collect();
    let mut size = 0;
    for layer in store.layers(&record.chain_ids())? {
        size += layer.record.size;
    }
    let layers: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    Ok(json!({
        "Id": record.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": size,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": layers },
    }))
}
