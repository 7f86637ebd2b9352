//! The program `husk-serve`: Docker's Engine API on a socket.
//!
//! It translates between that API and the engine library and holds nothing: all it knows is on
//! disk or with the containers' monitors, so that it may be killed at any time, may run twice
//! and may be started by its socket. What lasts only as long as a connection (an attached
//! client before its container starts) is in `stream/hub.rs`.
//!
//! ```text
//! arguments.rs  the command line          listen.rs   sockets
//! tls.rs        TCP with certificates     policy.rs   what a socket's requests may do
//! server.rs     connections and bounds
//! call.rs       a request taken apart     query.rs    what stands behind its `?`
//! route.rs      from paths to endpoints   endpoint/   one file a part of the API
//! reply.rs      answers                   failure.rs  failed ones
//! stream/       hijacked connections, their framing, and the containers' ends of them
//! ```

#![recursion_limit = "256"]
#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

mod arguments;
mod call;
mod endpoint;
mod failure;
mod husk;
mod listen;
mod policy;
mod query;
mod reply;
mod route;
mod server;
mod service;
mod stream;
mod tls;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use arguments::{Arguments, Called};
use husk_engine::error::{Result, file};
use husk_engine::home::Home;
use husk_engine::notice::notice;
use husk_engine::rootless;
use service::Service;

fn main() -> ExitCode {
    let done = arguments::parse().and_then(|called| match called {
        Called::Serve(arguments) => serve(*arguments),
        Called::Help => print(arguments::HELP),
        Called::Version => print(&format!("husk-serve {}\n", env!("CARGO_PKG_VERSION"))),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notice(format_args!("serve: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(file("write", "standard output"))
}

fn serve(arguments: Arguments) -> Result<()> {
    let home = Home::new(arguments.root, arguments.runroot)?;
    home.check_owner()?;
    // Before there are threads: a user namespace is entered by a process of one.
    let _inside = rootless::enter(&home)?;
    let (program, opened) = listen::husk_program()?;
    husk_engine::program::set(
        format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd()).into(),
    );
    listen::raise_descriptor_limit();
    let mut sockets = listen::passed()?;
    if sockets.is_empty() {
        let path = match arguments.socket {
            Some(path) => path,
            None => listen::usual_path()?,
        };
        sockets.push(listen::make(&path, arguments.group.as_deref())?);
    }
    let port = arguments.tcp.as_ref().map(tls::listen).transpose()?;
    let service = Service::new(home, program, arguments.policy)?;
    server::run(sockets, port, service, arguments.idle_exit)
}
