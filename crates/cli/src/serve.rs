//! `serve`: hands over to the program `husk-serve`, which lies beside this one, so that what
//! speaks HTTP makes no other command larger or slower.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::error::{Error, Result, file};
use husk_engine::home::Home;

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Socket to listen on [default: /run/husk.sock, as an ordinary user
    /// $XDG_RUNTIME_DIR/docker.sock]; sockets that systemd passes come first
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Group whose members may connect [default: docker, where there is one]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Leave after so many seconds without a request or an open stream
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
    /// What requests may do: all, or read [default: all]
    #[arg(long, value_name = "LEVEL")]
    allow: Option<String>,
    /// Refuse requests of these areas, for example exec,build
    #[arg(long, value_name = "AREA,...")]
    deny: Vec<String>,
    /// Show and change only what has this label; what is created gets it
    #[arg(long, value_name = "NAME[=VALUE]")]
    only_label: Option<String>,
    /// Listen on this port, too, for clients that show a certificate; needs the files below
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<String>,
    /// Certificate of the authority whose clients may connect (PEM)
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<String>,
    /// Certificate of this server (PEM)
    #[arg(long, value_name = "FILE")]
    tlscert: Option<String>,
    /// Key of this server (PEM)
    #[arg(long, value_name = "FILE")]
    tlskey: Option<String>,
}

impl Serve {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let own = std::env::current_exe().map_err(file("read", "/proc/self/exe"))?;
        let program: PathBuf = own.with_file_name("husk-serve");
        if !program.is_file() {
            return Err(Error::other(format_args!(
                "{} is missing: install the program husk-serve beside husk",
                program.display()
            )));
        }
        let mut command = Command::new(&program);
        command.arg("--root").arg(&home.root).arg("--runroot").arg(&home.run);
        let mut pass = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                command.arg(format!("{flag}={value}"));
            }
        };
        pass("--socket", self.socket);
        pass("--group", self.group);
        pass("--idle-exit", self.idle_exit.map(|seconds| seconds.to_string()));
        pass("--allow", self.allow);
        self.deny.into_iter().for_each(|areas| pass("--deny", Some(areas)));
        pass("--only-label", self.only_label);
        pass("--tcp", self.tcp);
        pass("--tlscacert", self.tlscacert);
        pass("--tlscert", self.tlscert);
        pass("--tlskey", self.tlskey);
        Err(file("execute", &program)(command.exec()))
    }
}
