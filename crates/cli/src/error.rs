//! What goes wrong at the command line: the library's failures, with fields as flags, and its
//! own. One table leads from a kind of failure to an exit code.

use std::fmt;

use husk_engine::error::{self as engine, ErrorKind, Field};
use husk_image::archive::ArchiveError;
use husk_image::build::BuildError;
use husk_image::pack::PackError;
use husk_image::registry::{CredentialError, RegistryError};
use husk_image::store::StoreError;
use husk_image::tree::TreeError;

/// Exit code where the engine itself failed.
pub(crate) const ENGINE_FAILED: u8 = 125;
/// Exit code where a pipe's reader has gone: that of a program that SIGPIPE ends.
pub(crate) const READER_GONE: u8 = 128 + 13;
/// What of sysexits(3) Docker ends with where a template cannot be read.
const MALFORMED_TEMPLATE: u8 = 64;

pub(crate) use engine::Error as EngineError;

/// One failure: a line for the person at the shell.
#[derive(Debug)]
pub(crate) enum Error {
    /// The library's.
    Engine(engine::Error),
    /// A flag's value that cannot be honoured.
    Flag {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `-t` where standard input is not a terminal.
    NotTerminal,
    /// A template of `--format` that cannot be read.
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A malformed command line.
    Usage(String),
    /// Nobody reads standard output any more; nobody is told so, either.
    ReaderGone,
}

/// Everything that fails here fails with an [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in one sentence.
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self::Engine(engine::Error::other(message))
    }

    /// A flag's value that cannot be honoured.
    pub(crate) fn flag(
        flag: &'static str,
        value: impl fmt::Display,
        problem: impl fmt::Display,
    ) -> Self {
        Self::Flag { flag, value: value.to_string(), problem: problem.to_string() }
    }

    /// The kind of the library's failure, or that of the command line's own.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::ReaderGone => ErrorKind::ConsumerGone,
            Self::Flag { .. } | Self::NotTerminal | Self::Template { .. } | Self::Usage(_) => {
                ErrorKind::InvalidArgument
            }
        }
    }

    /// The exit code of the command that failed. `run`, `start` and `exec` end as a program that
    /// could not be executed would; other failures are 1 as Docker's, and 125 of `run`.
    pub(crate) fn exit_code(&self, command: Option<&str>) -> u8 {
        match (self, command, self.kind()) {
            (Self::ReaderGone, ..) => READER_GONE,
            (Self::Template { .. }, ..) => MALFORMED_TEMPLATE,
            (Self::Usage(_), ..) => ENGINE_FAILED,
            // Docker's command line says so before it asks the engine.
            (Self::NotTerminal, ..) => 1,
            (
                _,
                Some("run" | "start" | "exec"),
                kind @ (ErrorKind::ProgramNotFound | ErrorKind::NotExecutable),
            ) => kind.program_status(),
            (_, Some("run"), _) => ENGINE_FAILED,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(engine::Error::Field { field, value, problem }) => {
                write!(f, "{} {value:?}: {}", flag_of(*field), problem.render(flag_of))
            }
            Self::Engine(error) => error.fmt(f),
            Self::Flag { flag, value, problem } => write!(f, "{flag} {value:?}: {problem}"),
            Self::NotTerminal => f.write_str("standard input is not a terminal: remove -t"),
            Self::Template { template, problem } => write!(f, "--format {template:?}: {problem}"),
            Self::Usage(text) => f.write_str(text),
            Self::ReaderGone => f.write_str("the reader closed standard output"),
        }
    }
}

impl std::error::Error for Error {}

/// The flag that a field is set by.
pub(crate) fn flag_of(field: Field) -> &'static str {
    match field {
        Field::AutoRemove => "--rm",
        Field::Annotations => "--annotation",
        Field::BlkioDeviceReadBps => "--device-read-bps",
        Field::BlkioDeviceReadIops => "--device-read-iops",
        Field::BlkioDeviceWriteBps => "--device-write-bps",
        Field::BlkioDeviceWriteIops => "--device-write-iops",
        Field::BlkioWeight => "--blkio-weight",
        Field::BlkioWeightDevice => "--blkio-weight-device",
        Field::Binds => "--volume",
        Field::BuildArguments => "--build-arg",
        Field::BuildContexts => "--build-context",
        Field::CapAdd => "--cap-add",
        Field::Checkpoint => "checkpoint",
        Field::CapDrop => "--cap-drop",
        Field::CgroupParent => "--cgroup-parent",
        Field::CgroupnsMode => "--cgroupns",
        Field::Changes => "--change",
        Field::CpuPeriod => "--cpu-period",
        Field::CpuQuota => "--cpu-quota",
        Field::DeviceCgroupRules => "--device-cgroup-rule",
        Field::Devices => "--device",
        Field::Dns => "--dns",
        Field::DnsOptions => "--dns-option",
        Field::DnsSearch => "--dns-search",
        Field::Dockerfile => "--file",
        Field::Driver => "--driver",
        Field::DriverMtu => "--opt mtu",
        Field::DriverOptions => "--opt",
        Field::EndpointAliases => "--network-alias",
        Field::Links => "--link",
        Field::Env => "--env",
        Field::ExposedPorts => "--expose",
        Field::ExtraHosts => "--add-host",
        Field::Filters => "--filter",
        Field::HealthInterval => "--health-interval",
        Field::HealthLabel => "--label husk.health.on-failure",
        Field::HealthOnFailure => "--health-on-failure",
        Field::HealthRetries => "--health-retries",
        Field::HealthStartInterval => "--health-start-interval",
        Field::HealthStartPeriod => "--health-start-period",
        Field::HealthTest => "--health-cmd",
        Field::HealthTimeout => "--health-timeout",
        Field::Hostname => "--hostname",
        Field::IpcMode => "--ipc",
        Field::Labels => "--label",
        Field::LogConfig => "--log-opt",
        Field::LogMaxFile => "--log-opt max-file",
        Field::LogMaxSize => "--log-opt max-size",
        Field::LogType => "--log-driver",
        Field::MacAddress => "--mac-address",
        Field::Memory => "--memory",
        Field::MemoryReservation => "--memory-reservation",
        Field::MemorySwap => "--memory-swap",
        Field::MemorySwappiness => "--memory-swappiness",
        Field::Mounts => "--mount",
        Field::NanoCpus => "--cpus",
        Field::NetworkMode => "--network",
        Field::OomScoreAdj => "--oom-score-adj",
        Field::PidMode => "--pid",
        Field::Platform => "--platform",
        Field::PortBindings => "--publish",
        Field::PullPolicy => "--pull",
        Field::RestartPolicy => "--restart",
        Field::Root => "--root",
        Field::Runroot => "--runroot",
        Field::Runtime => "--runtime",
        Field::SeccompGroup => "--security-opt seccomp=+",
        Field::SeccompProfile => "--security-opt seccomp",
        Field::SecurityOpt => "--security-opt",
        Field::ShmSize => "--shm-size",
        Field::Signal => "--signal",
        Field::SourceDateEpoch => "SOURCE_DATE_EPOCH",
        Field::StopSignal => "--stop-signal",
        Field::Sysctls => "--sysctl",
        Field::Tag => "--tag",
        Field::Tmpfs => "--tmpfs",
        Field::TmpfsSize => "--mount tmpfs-size",
        Field::UTSMode => "--uts",
        Field::Ulimits => "--ulimit",
        Field::Username => "--username",
        Field::UsernsMode => "--userns",
        Field::VolumesFrom => "--volumes-from",
        Field::Volumes => "--volume",
        Field::WorkingDir => "--workdir",
    }
}

/// For `map_err`: a system call on `path`.
pub(crate) fn file<E: Into<std::io::Error>>(
    operation: &'static str,
    path: impl AsRef<std::path::Path>,
) -> impl FnOnce(E) -> Error {
    let failed = engine::file(operation, path);
    move |source| Error::Engine(failed(source))
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::ConsumerGone => Self::ReaderGone,
            error => Self::Engine(error),
        }
    }
}

/// What the library's functions that call back are told: that the consumer is gone, or why the
/// callback failed.
impl From<Error> for engine::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Engine(error) => error,
            Error::ReaderGone => Self::ConsumerGone,
            error => Self::other(error),
        }
    }
}

macro_rules! of_the_library {
    ($($source:ty),*) => {
        $(impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}

of_the_library!(
    StoreError,
    RegistryError,
    ArchiveError,
    BuildError,
    PackError,
    TreeError,
    CredentialError,
    husk_image::reference::ReferenceError,
    husk_image::overlay::OverlayError,
    husk_image::user::UserError,
    husk_image::facts::FactError,
    husk_net::Error
);

#[cfg(test)]
mod tests {
    use husk_engine::error::Problem;

    use super::*;

    #[test]
    fn fields_are_shown_as_flags() {
        let problem = Problem::from("cannot be combined with ").field(Field::NetworkMode);
        let error: Error = engine::Error::field(Field::Sysctls, "net.x", problem).into();
        assert_eq!(error.to_string(), "--sysctl \"net.x\": cannot be combined with --network");
    }

    #[test]
    fn exit_codes_follow_from_kinds() {
        let failed = |kind| Error::from(engine::Error::Runtime { message: String::new(), kind });
        let absent = || engine::Error::NoContainer("x".to_owned());
        let cases = [
            (failed(ErrorKind::ProgramNotFound), Some("run"), 127),
            (failed(ErrorKind::NotExecutable), Some("exec"), 126),
            (failed(ErrorKind::ProgramNotFound), Some("restart"), 1),
            (failed(ErrorKind::Runtime), Some("run"), 125),
            (failed(ErrorKind::Runtime), Some("start"), 1),
            (absent().into(), Some("run"), 125),
            (absent().into(), Some("stop"), 1),
            (Error::Usage(String::new()), Some("ps"), 125),
            (Error::NotTerminal, Some("run"), 1),
            (Error::ReaderGone, Some("logs"), 141),
        ];
        for (error, command, code) in cases {
            assert_eq!(error.exit_code(command), code, "{error:?} of {command:?}");
        }
    }
}
