//! The command line of `husk-serve`, which `husk serve` writes.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use husk_engine::error::{Error, Result};
use lexopt::prelude::*;

use crate::policy::Policy;
use crate::tls::Tcp;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) root: Option<PathBuf>,
    pub(crate) runroot: Option<PathBuf>,
    /// Where the socket is; `None` for the usual place.
    pub(crate) socket: Option<PathBuf>,
    /// The group that may connect; `None` for `docker` where there is one.
    pub(crate) group: Option<String>,
    /// How long the server stays without a request; `None` for ever.
    pub(crate) idle_exit: Option<Duration>,
    pub(crate) policy: Policy,
    /// A port for clients with certificates.
    pub(crate) tcp: Option<Tcp>,
}

/// What was called for.
pub(crate) enum Called {
    Serve(Box<Arguments>),
    Help,
    Version,
}

pub(crate) const HELP: &str = "\
Serve Docker's Engine API on a socket

Usage: husk-serve [OPTIONS]

Options:
      --socket PATH          Socket to listen on [default: /run/husk.sock, as an ordinary user
                             $XDG_RUNTIME_DIR/docker.sock]; sockets that systemd passes come first
      --group NAME           Group whose members may connect [default: docker, where there is one]
      --idle-exit SECONDS    Leave after so long without a request or an open stream
      --allow LEVEL          What requests may do: all, or read [default: all]
      --deny AREA,...        Refuse requests of these areas: auth, build, commit, containers,
                             distribution, events, exec, images, info, networks, secrets, system,
                             volumes, archive, logs, attach
      --only-label KEY[=V]   Show and change only what has this label; new things get it
      --tcp ADDRESS:PORT     Listen here too, for clients that show a certificate
      --tlscacert FILE       Certificate of the authority whose clients may connect (PEM)
      --tlscert FILE         Certificate of this server (PEM)
      --tlskey FILE          Its key (PEM)
      --root DIR             Directory for images, containers and volumes
      --runroot DIR          Directory for state that need not survive a reboot
  -h, --help                 Print help
  -V, --version              Print the version
";

/// Reads the command line.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse() -> Result<Called> {
    let usage = |error: lexopt::Error| Error::other(format_args!("{error}; see husk serve --help"));
    let mut arguments = Arguments::default();
    let mut tcp = TcpFlags::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(usage)? {
        let name = match argument {
            Short('h') | Long("help") => return Ok(Called::Help),
            Short('V') | Long("version") => return Ok(Called::Version),
            Long(name) => name.to_owned(),
            other => return Err(usage(other.unexpected())),
        };
        let mut text = |name: &'static str| -> Result<String> {
            let value = parser.value().map_err(usage)?;
            value.into_string().map_err(|value| flag(name, value.display(), "not UTF-8"))
        };
        match name.as_str() {
            "root" => arguments.root = Some(text("--root")?.into()),
            "runroot" => arguments.runroot = Some(text("--runroot")?.into()),
            "socket" => {
                let path = text("--socket")?;
                let path = path.strip_prefix("unix://").unwrap_or(&path).to_owned();
                if path.contains("://") || path.is_empty() {
                    let problem = "must be the path of a unix socket: the API has no passwords";
                    return Err(flag("--socket", path, problem));
                }
                arguments.socket = Some(path.into());
            }
            "group" => arguments.group = Some(text("--group")?),
            "idle-exit" => {
                let value = text("--idle-exit")?;
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| flag("--idle-exit", &value, "must be a number of seconds"))?;
                arguments.idle_exit = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            "allow" => arguments.policy.allow(&text("--allow")?)?,
            "deny" => arguments.policy.deny(&text("--deny")?)?,
            "only-label" => arguments.policy.only_label(&text("--only-label")?)?,
            "tcp" => tcp.address = Some(text("--tcp")?),
            "tlscacert" => tcp.authority = Some(text("--tlscacert")?.into()),
            "tlscert" => tcp.certificate = Some(text("--tlscert")?.into()),
            "tlskey" => tcp.key = Some(text("--tlskey")?.into()),
            _ => {
                return Err(Error::other(format_args!(
                    "invalid option --{name}; see husk serve --help"
                )));
            }
        }
    }
    arguments.tcp = tcp.whole()?;
    Ok(Called::Serve(Box::new(arguments)))
}

/// `--tcp` and the files that it needs, as far as they are given.
#[derive(Default)]
struct TcpFlags {
    address: Option<String>,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl TcpFlags {
    fn whole(self) -> Result<Option<Tcp>> {
        let needs = "--tcp needs --tlscacert, --tlscert and --tlskey: the API has no passwords, and \
                     a client of it has the power of root on this machine";
        match (self.address, self.authority, self.certificate, self.key) {
            (None, None, None, None) => Ok(None),
            (Some(address), Some(authority), Some(certificate), Some(key)) => {
                let plain = address.strip_prefix("tcp://").unwrap_or(&address);
                let problem = "must be ADDRESS:PORT, such as 192.0.2.1:2376";
                let address = plain.parse().map_err(|_| flag("--tcp", plain, problem))?;
                Ok(Some(Tcp { address, authority, certificate, key }))
            }
            (Some(_), ..) => Err(Error::other(needs)),
            (None, ..) => Err(Error::other("--tlscacert, --tlscert and --tlskey need --tcp")),
        }
    }
}

/// A flag's value that cannot be honoured.
pub(crate) fn flag(flag: &str, value: impl Display, problem: impl Display) -> Error {
    Error::other(format_args!("{flag} {:?}: {problem}", value.to_string()))
}
