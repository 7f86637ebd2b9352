//! Loading the filter, and handing its listener to the agent.

use std::os::fd::{AsFd, OwnedFd};

use husk_spec::{ContainerProcessState, State};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::plan::Seccomp;
use crate::report::{Error, Result};
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire;

/// Loads the filter into this process.
pub fn load(seccomp: &Seccomp) -> Result<Option<OwnedFd>, Fault> {
    let program = &seccomp.program;
    husk_sys::seccomp::set_filter(&program.instructions, program.flags).at(
        Step::Seccomp,
        0,
        "seccomp",
    )
}

/// Sends the listener with the container process state to `listenerPath`,
/// config-linux.md, "The Container Process State".
pub fn hand_over(seccomp: &Seccomp, listener: &OwnedFd, state: &State) -> Result<()> {
    let path = seccomp.listener_path.as_deref().unwrap_or_default();
    let failed = |op: &'static str| {
        move |errno| Error::kernel(format_args!("linux.seccomp.listenerPath ({path})"), op, errno)
    };
    let document = ContainerProcessState {
        oci_version: husk_spec::VERSION.to_owned(),
        fds: vec!["seccompFd".to_owned()],
        pid: state.pid.unwrap_or_default(),
        state: state.clone(),
        metadata: seccomp.listener_metadata.clone(),
    };
    let bytes = serde_json::to_vec(&document)
        .map_err(|error| Error::invalid("linux.seccomp.listenerPath", error))?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed("socket"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("connect"))?;
    rustix::net::connect(&socket, &address).map_err(failed("connect"))?;
    wire::send_fd(socket.as_fd(), &bytes, listener.as_fd()).map_err(failed("sendmsg"))
}
