//! Commands that talk to registries.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;
use husk_image::reference::{Reference, is_registry};
use husk_image::registry::{Credentials, DockerConfig};

use super::{output, progress};
use crate::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::image::{
    self, CredentialSource, LoginRequest, PullRequest, PushRequest, RegistryAccess,
};
use husk_engine::notice;

/// `--config`.
static CONFIG_DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Reads and writes config.json there, and not where the environment says.
pub(super) fn set_config_directory(directory: PathBuf) {
    // There is one command line in a process.
    let _ = CONFIG_DIRECTORY.set(directory);
}

pub(super) fn config_path() -> Option<PathBuf> {
    match CONFIG_DIRECTORY.get() {
        Some(directory) => Some(directory.join("config.json")),
        None => DockerConfig::default_path(),
    }
}

fn needed_config_path() -> Result<PathBuf> {
    config_path().ok_or_else(|| Error::other("neither DOCKER_CONFIG nor HOME is set"))
}

/// With `--tls-verify`, and the credentials of Docker's config.json.
pub(super) fn access(tls_verify: bool) -> RegistryAccess {
    // Without a home there are no credentials, which most pulls do not need.
    let credentials = config_path().map_or(CredentialSource::None, CredentialSource::File);
    RegistryAccess { tls_verify, credentials }
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
        let request = PullRequest {
            image: self.image.clone(),
            platform: self.platform.clone(),
            registry: access(self.tls_verify),
        };
        let pulled = image::pull(home, &request, &*progress::of(self.quiet))?;
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
        let request = PushRequest { image: self.image.clone(), registry: access(self.tls_verify) };
        let pushed = image::push(home, &request, &*progress::of(self.quiet))?;
        let name = pushed.reference.familiar();
        output::line(format_args!("{name}: digest: {}", pushed.digest))?;
        Ok(0)
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
        let server = self.server.clone().unwrap_or_default();
        let name = image::server_name(&server);
        if !is_registry(&name) {
            return Err(Error::other(format_args!(
                "{name:?} is not a registry (HOST or HOST:PORT)"
            )));
        }
        let user = match &self.username {
            Some(user) => user.clone(),
            None => prompt("Username: ")?,
        };
        if user.is_empty() || user.contains(':') {
            let problem = "is not a user name: it is empty or has a colon";
            return Err(Error::flag("--username", user, problem));
        }
        let password = match (&self.password, self.password_stdin) {
            (Some(password), _) => password.clone(),
            (None, true) => read_line()?,
            (None, false) => hidden("Password: ")?,
        };
        let credentials = Credentials::Password { user, password };
        let request = LoginRequest { server, credentials, tls_verify: self.tls_verify };
        image::login(&request, &needed_config_path()?)?;
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
        let server = image::server_name(self.server.as_deref().unwrap_or_default());
        let text = match image::logout(&server, &needed_config_path()?)? {
            true => format!("Removing login credentials for {server}"),
            false => format!("Not logged in to {server}"),
        };
        output::line(text)?;
        Ok(0)
    }
}
