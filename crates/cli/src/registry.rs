//! Commands that talk to registries.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;
use husk_image::digest::Digest;
use husk_image::reference::{DEFAULT_REGISTRY, Reference, is_registry};
use husk_image::registry::{
    Client, ClientOptions, Credentials, DockerConfig, PullOptions, Pulled, PushOptions,
    RegistryError,
};
use husk_image::store::ImageRecord;

use super::{output, progress};
use crate::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::notice;

/// How registries are talked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registry {
    /// `--tls-verify`.
    pub(super) tls_verify: bool,
    /// No progress.
    pub(super) quiet: bool,
}

/// `--config`.
static CONFIG_DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Reads and writes config.json there, and not where the environment says.
pub(super) fn set_config_directory(directory: PathBuf) {
    // There is one command line in a process.
    let _ = CONFIG_DIRECTORY.set(directory);
}

fn config_path() -> Option<PathBuf> {
    match CONFIG_DIRECTORY.get() {
        Some(directory) => Some(directory.join("config.json")),
        None => DockerConfig::default_path(),
    }
}

fn docker_config() -> Result<DockerConfig> {
    let path =
        config_path().ok_or_else(|| Error::other("neither DOCKER_CONFIG nor HOME is set"))?;
    Ok(DockerConfig::load(&path)?)
}

fn client(reference: &Reference, registry: &Registry) -> Result<Client> {
    // Without a home there are no credentials, which most pulls do not need.
    let credentials = match config_path() {
        Some(path) => DockerConfig::load(&path)?.credentials(reference.registry())?,
        None => None,
    };
    let options =
        ClientOptions { insecure: !registry.tls_verify, credentials, ..ClientOptions::default() };
    Ok(Client::new(reference, options))
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
    let progress = progress::of(registry.quiet);
    let store = home.images()?;
    let client = client(&reference, registry)?;
    Ok(husk_image::registry::pull(&store, &client, &reference, &options, &*progress)?)
}

/// Pushes an image under a name; gives the digest of its manifest.
pub(super) fn push(
    home: &Home,
    image: &ImageRecord,
    reference: &Reference,
    registry: &Registry,
) -> Result<Digest> {
    let store = home.images()?;
    let progress = progress::of(registry.quiet);
    let client = client(reference, registry)?;
    let options = PushOptions::default();
    Ok(husk_image::registry::push(&store, &client, image, reference, &options, &*progress)?)
}

/// The digest of what a registry has under a name.
pub(super) fn digest(reference: &Reference, registry: &Registry) -> Result<Digest> {
    Ok(client(reference, registry)?.manifest(reference)?.digest)
}

/// `pull`.
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Suppress progress output
    #[arg(short, long)]
    quiet: bool,
    /// Platform of the image: OS/ARCHITECTURE
    #[arg(long)]
    platform: Option<String>,
    /// Require HTTPS and verify certificates (--tls-verify=false: allow HTTP)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// Image
    image: String,
}

impl Pull {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let registry = Registry { tls_verify: self.tls_verify, quiet: self.quiet };
        let pulled = pull(home, &self.image, self.platform.as_deref(), &registry)?;
        let reference = self.image.parse::<Reference>()?.or_latest();
        if !self.quiet {
            notice::line(format_args!("Digest: {}", pulled.target));
            let word =
                if pulled.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
            notice::line(format_args!("Status: {word} for {}", reference.familiar()));
        }
        output::line(&reference)?;
        Ok(0)
    }
}

/// `push`.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// Suppress progress output
    #[arg(short, long)]
    quiet: bool,
    /// Require HTTPS and verify certificates (--tls-verify=false: allow HTTP)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// Image
    image: String,
}

impl Push {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let reference: Reference = self.image.parse()?;
        let reference = reference.or_latest();
        let record = home.images()?.find(&self.image)?;
        let registry = Registry { tls_verify: self.tls_verify, quiet: self.quiet };
        let digest = push(home, &record, &reference, &registry)?;
        output::line(format_args!("{}: digest: {digest}", reference.familiar()))?;
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
            let bare = bare.trim_end_matches('/');
            let api = |bare: &str| {
                ["/v1", "/v2"].iter().find_map(|api| bare.strip_suffix(api).map(str::to_owned))
            };
            api(bare).unwrap_or_else(|| bare.to_owned())
        }
    }
}

/// `login`.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// User name
    #[arg(short, long)]
    username: Option<String>,
    /// Password; prefer --password-stdin, as this one shows in the process list
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// Require HTTPS and verify certificates (--tls-verify=false: allow HTTP)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// Registry (default: docker.io)
    server: Option<String>,
}

impl Login {
    pub(super) fn run(&self) -> Result<u8> {
        let server = server(self.server.as_deref());
        if !is_registry(&server) {
            return Err(Error::other(format_args!(
                "{server:?} is not a registry (HOST or HOST:PORT)"
            )));
        }
        let user = match &self.username {
            Some(user) => user.clone(),
            None => prompt("Username: ")?,
        };
        // What stands before the first colon is the user, to registries as in the file.
        if user.is_empty() || user.contains(':') {
            return Err(Error::flag(
                "--username",
                user,
                "is not a user name: it is empty or has a colon",
            ));
        }
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
        match Client::of_registry(&server, options).check_login() {
            Err(RegistryError::Denied { host, message, .. }) => {
                let text =
                    format_args!("registry {host}: incorrect user name or password{message}");
                return Err(Error::other(text));
            }
            other => other?,
        }
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
        return Err(Error::other("standard input is not a terminal: use -u and --password-stdin"));
    }
    notice::write(text.as_bytes());
    read_line()
}

/// Reads without echo.
fn hidden(text: &str) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = rustix::stdio::stdin();
    let saved = tcgetattr(stdin)
        .map_err(|_| Error::other("standard input is not a terminal: use --password-stdin"))?;
    let mut silent = saved.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin, OptionalActions::Flush, &silent).map_err(file("set", "the terminal"))?;
    let line = prompt(text);
    let restored = tcsetattr(stdin, OptionalActions::Now, &saved);
    notice::line("");
    restored.map_err(file("set", "the terminal"))?;
    line
}

/// `logout`.
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Registry (default: docker.io)
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
