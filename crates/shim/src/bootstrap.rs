//! Starting a shim, and what else containerd calls the program for: `start`, `delete`, `-info`.
//!
//! containerd executes the program in the container's bundle. `start` puts a serving shim into
//! the background, or finds the one that serves the same pod, and prints its address. Which
//! form the answer has depends on the version of containerd:
//!
//! ```text
//! 1.6          the address alone
//! 1.7 to 2.2   JSON, version 2; MAX_SHIM_VERSION is set
//! 2.3 on       JSON, version 3; standard input holds BootstrapParams
//! ```

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::arguments::Arguments;
use crate::container::Configuration;
use crate::message::bootstrap::{BootstrapParams, RuntimeInfo, RuntimeVersion};
use crate::message::task::DeleteResponse;
use crate::message::{Any, Timestamp};
use crate::options::Options;
use crate::{mounts, start};

/// Where sockets are, unless containerd says otherwise.
const SOCKETS: &str = "/run/containerd/s";
/// Annotations that name the group of a container, in order: containers of a group share a shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The file in a bundle that holds the shim's address, for containerd 1.6.
const ADDRESS: &str = "address";
/// The most that is read from standard input.
const INPUT_LIMIT: u64 = 4 << 20;
/// The exit status of a task whose shim has died: that of SIGKILL.
const KILLED: u32 = 137;

/// What containerd says on standard input.
#[derive(Debug, PartialEq)]
enum Input {
    /// containerd 2.3 and newer.
    Params(Box<BootstrapParams>),
    /// Options of the runtime, or nothing.
    Options(Option<Any>),
}

impl Input {
    /// Tells the two apart. An `Any` parses as `BootstrapParams` too, with its type where the id
    /// belongs, so that id and namespace must be those of the command line.
    fn parse(bytes: &[u8], arguments: &Arguments) -> Result<Self, String> {
        if let Ok(params) = BootstrapParams::decode(bytes)
            && params.instance_id == arguments.id
            && params.namespace == arguments.namespace
            && !params.instance_id.is_empty()
        {
            return Ok(Self::Params(Box::new(params)));
        }
        if bytes.is_empty() {
            return Ok(Self::Options(None));
        }
        let options = Any::decode(bytes).map_err(|error| format!("standard input: {error}"))?;
        Ok(Self::Options(Some(options)))
    }

    fn options(&self) -> Option<&Any> {
        match self {
            Self::Params(params) => params.extensions.iter().find_map(|extension| {
                extension.value.as_ref().filter(|any| any.type_name().ends_with(".Options"))
            }),
            Self::Options(options) => options.as_ref(),
        }
    }
}

fn read_input() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(INPUT_LIMIT).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| format!("standard input: {error}"))
}

/// The path of a group's socket.
fn socket_path(directory: &str, address: &str, namespace: &str, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(format!("{address}/{namespace}/{group}"));
    let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(directory).join(name)
}

/// Listens on a socket; `None` where a shim serves there already.
fn listen(path: &Path) -> Result<Option<UnixListener>, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(named)?;
    }
    // A dead shim's socket is removed by one of those who find it, and both then try once more.
    for _ in 0..3 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                let only_owner = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path, only_owner).map_err(named)?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Ok(None);
                }
                let _ = std::fs::remove_file(path);
            }
            Err(error) => return Err(named(error)),
        }
    }
    Err(format!("{}: other shims start on the same socket", path.display()))
}

/// `start`: prints the address of a serving shim.
///
/// # Errors
/// The bundle or the options are malformed, or the shim cannot be started.
pub(crate) fn start(arguments: &Arguments) -> Result<(), String> {
    let bundle = std::env::current_dir().map_err(|error| format!("the bundle: {error}"))?;
    let input = Input::parse(&read_input()?, arguments)?;
    let options = Options::read(input.options())?;
    let configuration = Configuration::read(&bundle)?;
    let group = GROUPS.iter().find_map(|name| configuration.annotations.get(*name));
    let group = group.map_or(arguments.id.as_str(), String::as_str);
    let directory = match &input {
        Input::Params(params) => params.socket_dir.as_deref().filter(|path| !path.is_empty()),
        Input::Options(_) => None,
    };
    let directory = directory.unwrap_or(SOCKETS);
    let path = socket_path(directory, &arguments.address, &arguments.namespace, group);
    let address = format!("unix://{}", path.display());
    if let Some(listener) = listen(&path)? {
        let spawned = spawn(arguments, &input, listener).and_then(|pid| place(pid, &options));
        if let Err(error) = spawned {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
    }
    let file = bundle.join(ADDRESS);
    std::fs::write(&file, &address)
        .map_err(|error| format!("write {}: {error}", file.display()))?;
    let max_version = std::env::var_os("MAX_SHIM_VERSION");
    let answer = match (&input, max_version) {
        (Input::Params(_), _) => json(3, &address),
        (Input::Options(_), Some(_)) => json(2, &address),
        (Input::Options(_), None) => address,
    };
    print(answer.as_bytes())
}

fn json(version: u32, address: &str) -> String {
    serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"}).to_string()
}

/// Starts the serving shim, with the socket as its standard input. Returns its pid.
fn spawn(arguments: &Arguments, input: &Input, listener: UnixListener) -> Result<u32, String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("containerd-shim-husk-v2");
    command.args(["-namespace", &arguments.namespace, "-id", &arguments.id]);
    command.args(["-address", &arguments.address]);
    if arguments.debug {
        command.arg("-debug");
    }
    if let Input::Params(params) = input
        && !params.containerd_ttrpc_address.is_empty()
    {
        command.env("TTRPC_ADDRESS", &params.containerd_ttrpc_address);
    }
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(|error| format!("start the shim: {error}"))?;
    Ok(child.id())
}

/// Puts a serving shim where it belongs: its cgroup, its chance to be killed when memory is
/// short, and a scheduling domain of its own.
fn place(pid: u32, options: &Options) -> Result<(), String> {
    if !options.shim_cgroup.is_empty() {
        join_cgroup(pid, &options.shim_cgroup)?;
    }
    // One more than containerd's, so that the kernel kills a shim before it kills containerd.
    // Lowering it would need a privilege, and is not tried.
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if let Ok(score) = own.trim().parse::<i32>() {
        let raised = (score + 1).min(1000).to_string();
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), raised);
    }
    if std::env::var_os("SCHED_CORE").is_some() {
        let raw = rustix::process::Pid::from_raw(pid.cast_signed());
        let raw = raw.ok_or("the shim has no pid")?;
        husk_sys::schedule::core_cookie(raw)
            .map_err(|errno| format!("SCHED_CORE: core scheduling: {errno}"))?;
    }
    Ok(())
}

fn join_cgroup(pid: u32, path: &str) -> Result<(), String> {
    let relative = path.trim_start_matches('/');
    if relative.split('/').any(|part| part == "..") {
        return Err(format!("ShimCgroup {path}: must not hold \"..\""));
    }
    let layout = husk_cgroup::Layout::detect().map_err(|error| error.to_string())?;
    let v1 = layout.v1.iter().map(|hierarchy| hierarchy.mount.as_path());
    let v2 = layout.v2.iter().map(|unified| unified.mount.as_path());
    for mount in v1.chain(v2) {
        let directory = mount.join(relative);
        let named = |error: std::io::Error| format!("ShimCgroup {}: {error}", directory.display());
        std::fs::create_dir_all(&directory).map_err(named)?;
        std::fs::write(directory.join("cgroup.procs"), pid.to_string()).map_err(named)?;
    }
    Ok(())
}

/// `delete`: removes what a shim that has died left behind.
///
/// # Errors
/// The container cannot be removed.
pub(crate) fn delete(arguments: &Arguments) -> Result<(), String> {
    let current = std::env::current_dir().map_err(|error| format!("the bundle: {error}"));
    let bundle = arguments.bundle.clone().map_or_else(|| current, Ok)?;
    let options = Options::load(&bundle);
    let runtime = options.runtime(&arguments.namespace)?;
    let log = bundle.join("delete.json");
    let status = runtime
        .command(&log)
        .args(["delete", "--force", &arguments.id])
        .status()
        .map_err(|error| format!("execute {}: {error}", runtime.program().display()))?;
    let outcome = husk_oci_client::Outcome::read(&log);
    let _ = std::fs::remove_file(&log);
    mounts::unmount_all(&bundle.join("rootfs")).map_err(|failure| failure.message)?;
    if !status.success() {
        let said = outcome.failure.map(|failure| failure.message);
        return Err(said.unwrap_or_else(|| format!("the runtime's delete ended with {status}")));
    }
    remove_dead_socket(&bundle);
    let pid = std::fs::read_to_string(bundle.join(start::INIT_PID)).unwrap_or_default();
    let answer = DeleteResponse {
        pid: pid.trim().parse().unwrap_or_default(),
        exit_status: KILLED,
        exited_at: Some(Timestamp::now()),
    };
    print(&answer.encode_to_vec())
}

/// Removes the socket of a bundle's shim, if nobody serves there.
fn remove_dead_socket(bundle: &Path) {
    let address = std::fs::read_to_string(bundle.join(ADDRESS)).unwrap_or_default();
    if let Some(path) = address.strip_prefix("unix://")
        && UnixStream::connect(path).is_err()
    {
        let _ = std::fs::remove_file(path);
    }
}

/// `-info`: prints what this shim and its runtime are.
///
/// # Errors
/// The options are malformed, or the runtime is not installed.
pub(crate) fn info(arguments: &Arguments) -> Result<(), String> {
    let options = match read_input()?.as_slice() {
        [] => None,
        bytes => Some(Any::decode(bytes).map_err(|error| format!("standard input: {error}"))?),
    };
    let runtime = Options::read(options.as_ref())?.runtime(&arguments.namespace)?;
    let output = Command::new(runtime.program())
        .arg("features")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("execute {}: {error}", runtime.program().display()))?;
    let features = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned(),
        value: output.stdout,
    };
    let information = RuntimeInfo {
        name: "io.containerd.husk.v2".to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options,
        features: Some(features).filter(|_| output.status.success()),
        annotations: std::collections::BTreeMap::new(),
    };
    print(&information.encode_to_vec())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(|error| format!("standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::options::Options as RuncOptions;

    fn arguments() -> Arguments {
        Arguments { namespace: "k8s.io".to_owned(), id: "a".to_owned(), ..Arguments::default() }
    }

    #[test]
    fn options_are_not_taken_for_parameters() {
        let options = Any::pack(&RuncOptions { systemd_cgroup: true, ..RuncOptions::default() });
        let input = Input::parse(&options.encode_to_vec(), &arguments());
        assert_eq!(input, Ok(Input::Options(Some(options))));
        assert_eq!(Input::parse(&[], &arguments()), Ok(Input::Options(None)));
        assert!(Input::parse(&[0xff; 7], &arguments()).is_err());
    }

    #[test]
    fn parameters_carry_options() {
        let options = Any::pack(&RuncOptions { systemd_cgroup: true, ..RuncOptions::default() });
        let params = BootstrapParams {
            instance_id: "a".to_owned(),
            namespace: "k8s.io".to_owned(),
            extensions: vec![crate::message::bootstrap::Extension { value: Some(options.clone()) }],
            ..BootstrapParams::default()
        };
        let input = Input::parse(&params.encode_to_vec(), &arguments()).expect("parameters");
        assert_eq!(input.options(), Some(&options));
        assert!(matches!(input, Input::Params(_)));
    }

    #[test]
    fn sockets_fit_into_an_address() {
        let path = socket_path(SOCKETS, "/run/containerd/containerd.sock", "k8s.io", "abc");
        assert!(path.as_os_str().len() <= 106);
    }
}
