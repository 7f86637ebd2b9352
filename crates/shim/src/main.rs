//! `containerd-shim-husk-v2`: the program between containerd and `husk-oci`.
//!
//! ```text
//! bootstrap.rs  start, delete, -info         server.rs     the loop, connections, streams
//! task.rs       the calls of the service     start.rs      Create, Start, Exec
//! exit.rs       exits and their order        deletion.rs   Delete
//! job.rs        commands of the runtime      publisher.rs  events to containerd
//! stdio.rs      URIs, pipes, terminals       stream.rs     copying one stream
//! ttrpc.rs      the protocol                 message/      its messages
//! ```
//!
//! One thread serves all containers of a pod.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic when the reader is gone")]

mod arguments;
mod bootstrap;
mod checkpoint;
mod container;
mod deletion;
mod exit;
mod job;
mod log;
mod mounts;
mod options;
mod poller;
mod publisher;
mod server;
mod start;
mod stats;
mod stdio;
mod stream;
mod task;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use arguments::{Action, Arguments};
use husk_shim::{message, ttrpc};
use log::Log;
use publisher::Publisher;
use server::Shim;

/// Connections that wait to be accepted: containerd opens one for each container and version.
const BACKLOG: i32 = 128;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "containerd-shim-husk-v2: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    match arguments.action {
        Action::Start => bootstrap::start(&arguments),
        Action::Delete => bootstrap::delete(&arguments),
        Action::Info => bootstrap::info(&arguments),
        Action::Logger => Err(stdio::become_logger(&arguments.rest).message),
        Action::Version => {
            let text = concat!("containerd-shim-husk-v2 ", env!("CARGO_PKG_VERSION"), "\n");
            std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
        }
        Action::Serve => serve(arguments),
    }
}

fn serve(arguments: Arguments) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(words)?;
    let socket = rustix::net::sockopt::socket_acceptconn(&listener);
    if socket != Ok(true) {
        return Err("standard input is not a listening socket: containerd starts this program \
                    (containerd-shim-husk-v2 start)"
            .to_owned());
    }
    // Whoever asks for the peer's credentials (SO_PEERCRED, unix(7)) gets those of the process
    // that called listen(2) last: `start` did, and has ended.
    rustix::net::listen(&listener, BACKLOG).map_err(|errno| errno.to_string())?;
    // Children must not inherit the socket as their standard input.
    let null = std::fs::File::open("/dev/null").map_err(words)?;
    rustix::stdio::dup2_stdin(&null).map_err(|errno| errno.to_string())?;
    let bundle = std::env::current_dir().map_err(words)?;
    let publisher =
        Publisher::new(std::env::var("TTRPC_ADDRESS").ok(), arguments.namespace.clone());
    let listener = UnixListener::from(listener);
    let shim = Shim::new(listener, arguments.namespace, publisher, Log::open(&bundle));
    // The bundle belongs to one container of many: a later one must not find it gone.
    rustix::process::chdir("/").map_err(|errno| errno.to_string())?;
    shim.and_then(|mut shim| shim.serve()).map_err(words)
}
