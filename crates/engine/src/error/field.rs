//! Fields of requests, by neutral names: a command line shows a field as its flag, an API as
//! a path of its JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $path:literal,)*) => {
        /// A field of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Field {
            $($(#[$doc])* #[doc = concat!("`", $path, "` in Docker's API, or beside it.")] $name,)*
        }

        impl Field {
            /// Its path in the JSON of Docker's API where it is there (`HostConfig.Memory`), the
            /// name of a query parameter, or what would be its name.
            pub fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }
        }
    };
}

fields! {
    /// Whether the container is removed when its program has ended.
    AutoRemove = "HostConfig.AutoRemove",
    Annotations = "HostConfig.Annotations",
    BlkioDeviceReadBps = "HostConfig.BlkioDeviceReadBps",
    BlkioDeviceReadIops = "HostConfig.BlkioDeviceReadIOps",
    BlkioDeviceWriteBps = "HostConfig.BlkioDeviceWriteBps",
    BlkioDeviceWriteIops = "HostConfig.BlkioDeviceWriteIOps",
    BlkioWeight = "HostConfig.BlkioWeight",
    BlkioWeightDevice = "HostConfig.BlkioWeightDevice",
    Binds = "HostConfig.Binds",
    /// Values of a Dockerfile's ARG.
    BuildArguments = "buildargs",
    /// Names of further contexts of a build.
    BuildContexts = "buildcontexts",
    CapAdd = "HostConfig.CapAdd",
    CapDrop = "HostConfig.CapDrop",
    CgroupParent = "HostConfig.CgroupParent",
    /// The name of a checkpoint.
    Checkpoint = "CheckpointID",
    CgroupnsMode = "HostConfig.CgroupnsMode",
    /// Instructions of a Dockerfile that change an image's config.
    Changes = "changes",
    CpuPeriod = "HostConfig.CpuPeriod",
    CpuQuota = "HostConfig.CpuQuota",
    DeviceCgroupRules = "HostConfig.DeviceCgroupRules",
    Devices = "HostConfig.Devices",
    Dns = "HostConfig.Dns",
    DnsOptions = "HostConfig.DnsOptions",
    DnsSearch = "HostConfig.DnsSearch",
    /// The name of the Dockerfile.
    Dockerfile = "dockerfile",
    /// The driver of a network or volume.
    Driver = "Driver",
    /// The MTU of a network.
    DriverMtu = "Options.com.docker.network.driver.mtu",
    /// The options of a driver.
    DriverOptions = "Options",
    EndpointAliases = "NetworkingConfig.EndpointsConfig.Aliases",
    Env = "Env",
    ExposedPorts = "ExposedPorts",
    ExtraHosts = "HostConfig.ExtraHosts",
    Filters = "filters",
    HealthInterval = "Healthcheck.Interval",
    /// The label that says what is done with an unhealthy container.
    HealthLabel = "Labels.husk.health.on-failure",
    /// What is done with an unhealthy container.
    HealthOnFailure = "Healthcheck.OnFailure",
    HealthRetries = "Healthcheck.Retries",
    HealthStartInterval = "Healthcheck.StartInterval",
    HealthStartPeriod = "Healthcheck.StartPeriod",
    HealthTest = "Healthcheck.Test",
    HealthTimeout = "Healthcheck.Timeout",
    Hostname = "Hostname",
    IpcMode = "HostConfig.IpcMode",
    Labels = "Labels",
    Links = "HostConfig.Links",
    LogConfig = "HostConfig.LogConfig.Config",
    /// How many files a log has.
    LogMaxFile = "HostConfig.LogConfig.Config.max-file",
    /// How large a file of a log may be.
    LogMaxSize = "HostConfig.LogConfig.Config.max-size",
    LogType = "HostConfig.LogConfig.Type",
    MacAddress = "MacAddress",
    Memory = "HostConfig.Memory",
    MemoryReservation = "HostConfig.MemoryReservation",
    MemorySwap = "HostConfig.MemorySwap",
    MemorySwappiness = "HostConfig.MemorySwappiness",
    Mounts = "HostConfig.Mounts",
    NanoCpus = "HostConfig.NanoCpus",
    NetworkMode = "HostConfig.NetworkMode",
    OomScoreAdj = "HostConfig.OomScoreAdj",
    PidMode = "HostConfig.PidMode",
    Platform = "platform",
    PortBindings = "HostConfig.PortBindings",
    /// When an image is pulled.
    PullPolicy = "pull",
    RestartPolicy = "HostConfig.RestartPolicy",
    /// The engine's directory that survives a reboot.
    Root = "root",
    /// The engine's directory of the current boot.
    Runroot = "runroot",
    Runtime = "HostConfig.Runtime",
    /// A group of calls that is allowed on top of the default filter.
    SeccompGroup = "HostConfig.SecurityOpt.seccomp=+",
    /// The filter of system calls.
    SeccompProfile = "HostConfig.SecurityOpt.seccomp",
    SecurityOpt = "HostConfig.SecurityOpt",
    ShmSize = "HostConfig.ShmSize",
    Signal = "signal",
    /// The time of an image that is built.
    SourceDateEpoch = "buildargs.SOURCE_DATE_EPOCH",
    StopSignal = "StopSignal",
    Sysctls = "HostConfig.Sysctls",
    /// The name of an image.
    Tag = "t",
    Tmpfs = "HostConfig.Tmpfs",
    TmpfsSize = "HostConfig.Mounts.TmpfsOptions.SizeBytes",
    UTSMode = "HostConfig.UTSMode",
    Ulimits = "HostConfig.Ulimits",
    /// The user at a registry.
    Username = "username",
    UsernsMode = "HostConfig.UsernsMode",
    VolumesFrom = "HostConfig.VolumesFrom",
    Volumes = "Volumes",
    WorkingDir = "WorkingDir",
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// What is wrong with a field: text in which other fields may be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Text(String),
    Field(Field),
}

impl Problem {
    /// Names a field after the text so far.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.0.push(Part::Field(field));
        self
    }

    /// More text.
    #[must_use]
    pub fn text(mut self, text: impl fmt::Display) -> Self {
        self.0.push(Part::Text(text.to_string()));
        self
    }

    /// The text, with each field as `name` shows it.
    pub fn render(&self, name: impl Fn(Field) -> &'static str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => name(*field).to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Field::path))
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_a_problem_are_named_as_the_front_end_names_them() {
        let problem = Problem::from("must not be less than ").field(Field::Memory).text(", though");
        assert_eq!(problem.to_string(), "must not be less than HostConfig.Memory, though");
        assert_eq!(problem.render(|_| "--memory"), "must not be less than --memory, though");
    }
}
