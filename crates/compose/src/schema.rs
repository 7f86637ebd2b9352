//! Every attribute of the compose specification, and what may stand there.
//!
//! One table checks what was written, brings it into its long form, and says in which order
//! and under which conditions `config` prints it.

mod resources;

/// What a value may be, and into what it is brought.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A string; a number or a boolean is refused, as it may not be what was meant.
    Text,
    /// A string or a number; becomes a string.
    Word,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A boolean, or its word.
    Bool,
    /// A whole number, or its digits.
    Int,
    /// A number, or its digits.
    Float,
    /// A number or a text of bytes with a unit; becomes the digits of bytes.
    Bytes,
    /// A duration; becomes Go's form of it.
    Duration,
    /// A path, made absolute.
    Path,
    /// A build context: a path, or a URL.
    Context,
    /// Whatever.
    Any,
    /// A list of strings, or of what [`Kind::Word`] takes.
    Texts,
    Words,
    /// The same without duplicates.
    Unique,
    /// A string or a list of strings.
    TextOrTexts,
    /// A mapping to strings, or a list of `NAME=VALUE`; without a value it is null.
    Environment,
    /// The same; without a value it is the empty string.
    Labels,
    /// A mapping to strings, of strings and numbers.
    Options,
    /// A command: a list, or a line that is split into words.
    Command,
    /// A test of a health check: a list, or a line for the shell.
    Test,
    /// A list of what the kind says.
    List(&'static Kind),
    /// A mapping from names to what the kind says; which may be null where the flag says so.
    Map(&'static Kind, bool),
    /// These keys, and `x-`.
    Object(&'static [Field]),
    /// What has a short form of its own (canonical.rs).
    Special(Special, &'static Kind),
}

/// Values with a short form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// A string is its `context`.
    Build,
    /// A list of names is a mapping.
    DependsOn,
    /// A list of names is a mapping to nulls.
    Networks,
    /// `HOST:CONTAINER/PROTOCOL`, with ranges.
    Ports,
    /// `SOURCE:TARGET:OPTIONS`.
    Volumes,
    /// A name.
    Secrets,
    /// A name.
    Configs,
    /// `HOST:CONTAINER:rwm`.
    Devices,
    /// `all`.
    Gpus,
    /// A number of both limits.
    Ulimit,
    /// A path or a list of paths.
    EnvFile,
    /// A mapping or a list, with several addresses of one name.
    ExtraHosts,
    /// A boolean, or a mapping with a name.
    External,
    /// A service's name.
    Extends,
    /// A path.
    Include,
    /// A number, or `all`.
    DeviceCount,
    /// An octal mode: a number, or digits.
    FileMode,
    /// The mode of a tmpfs: a number.
    TmpfsMode,
    /// `default` or `ID=PATH`.
    Ssh,
    /// A list of names is a mapping.
    Models,
}

/// One key of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Printed also where it is false, zero or empty.
    pub(crate) keep: bool,
}

const fn f(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, keep: false }
}

const fn keep(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, keep: true }
}

use Kind::{
    Any, Bool, Bytes, Choice, Command, Context, Duration, Environment, Float, Int, Labels, List,
    Map, Object, Options, Path, Special as S, Test, Text, TextOrTexts, Texts, Unique, Word, Words,
};

use resources::{CONFIG, DEPLOY, NETWORK, SECRET, VOLUME};

/// The file.
pub(crate) const FILE: Kind = Object(&[
    f("name", Text),
    f("version", Any),
    keep("services", Map(&SERVICE, false)),
    f("networks", Map(&NETWORK, true)),
    f("volumes", Map(&VOLUME, true)),
    f("secrets", Map(&SECRET, false)),
    f("configs", Map(&CONFIG, false)),
    f("models", Map(&MODEL, true)),
    f("include", List(&S(Special::Include, &INCLUDE))),
]);

const INCLUDE: Kind =
    Object(&[f("path", TextOrTexts), f("project_directory", Text), f("env_file", TextOrTexts)]);

const MODEL: Kind =
    Object(&[f("name", Text), f("model", Text), f("context_size", Int), f("runtime_flags", Texts)]);

const ULIMITS: Kind = Map(&S(Special::Ulimit, &ULIMIT), false);
const ULIMIT: Kind = Object(&[f("soft", Int), f("hard", Int)]);

/// A service, in the order in which `config` prints it.
pub(crate) const SERVICE: Kind = Object(&[
    f("profiles", Texts),
    f("annotations", Labels),
    keep("attach", Bool),
    keep("build", S(Special::Build, &BUILD)),
    keep("develop", Object(&[f("watch", List(&WATCH))])),
    keep("blkio_config", BLKIO),
    f("cap_add", Unique),
    f("cap_drop", Unique),
    f("cgroup_parent", Text),
    f("cgroup", Choice(&["host", "private"])),
    f("cpu_count", Int),
    f("cpu_percent", Float),
    f("cpu_period", Int),
    f("cpu_quota", Int),
    f("cpu_rt_period", Int),
    f("cpu_rt_runtime", Int),
    f("cpus", Float),
    f("cpuset", Text),
    f("cpu_shares", Int),
    keep("command", Command),
    f("configs", S(Special::Configs, &FILE_REFERENCE)),
    f("container_name", Text),
    keep("credential_spec", Object(&[f("config", Text), f("file", Text), f("registry", Text)])),
    f("depends_on", S(Special::DependsOn, &DEPENDENCY)),
    keep("deploy", DEPLOY),
    f("device_cgroup_rules", Texts),
    f("devices", S(Special::Devices, &DEVICE)),
    f("dns", TextOrTexts),
    f("dns_opt", Unique),
    f("dns_search", TextOrTexts),
    f("domainname", Text),
    keep("entrypoint", Command),
    keep("provider", Object(&[f("type", Text), f("options", Map(&TextOrTexts, false))])),
    f("environment", Environment),
    f("env_file", S(Special::EnvFile, &ENV_FILE)),
    f("expose", Words),
    keep("extends", S(Special::Extends, &EXTENDS)),
    f("external_links", Unique),
    f("extra_hosts", S(Special::ExtraHosts, &Texts)),
    f("group_add", Words),
    f("gpus", S(Special::Gpus, &DEVICE_REQUEST)),
    f("hostname", Text),
    keep("healthcheck", HEALTHCHECK),
    f("image", Text),
    keep("init", Bool),
    f("ipc", Text),
    f("isolation", Text),
    f("labels", Labels),
    f("label_file", TextOrTexts),
    f("links", Unique),
    keep("logging", Object(&[f("driver", Text), f("options", Options)])),
    f("mem_limit", Bytes),
    f("mem_reservation", Bytes),
    f("memswap_limit", Bytes),
    f("mem_swappiness", Bytes),
    f("mac_address", Text),
    f("models", S(Special::Models, &Object(&[f("endpoint_var", Text), f("model_var", Text)]))),
    f("network_mode", Text),
    f("networks", S(Special::Networks, &SERVICE_NETWORK)),
    f("oom_kill_disable", Bool),
    f("oom_score_adj", Int),
    f("pid", Text),
    f("pids_limit", Int),
    f("platform", Text),
    f("ports", S(Special::Ports, &PORT)),
    f("privileged", Bool),
    f("pull_policy", Text),
    f("read_only", Bool),
    f("restart", Text),
    f("runtime", Text),
    keep("scale", Int),
    f("secrets", S(Special::Secrets, &FILE_REFERENCE)),
    f("security_opt", Unique),
    f("shm_size", Bytes),
    f("stdin_open", Bool),
    keep("stop_grace_period", Duration),
    f("stop_signal", Text),
    f("storage_opt", Options),
    f("sysctls", Labels),
    f("tmpfs", TextOrTexts),
    f("tty", Bool),
    f("ulimits", ULIMITS),
    f("use_api_socket", Bool),
    f("user", Text),
    f("userns_mode", Text),
    f("uts", Text),
    f("volumes", S(Special::Volumes, &MOUNT)),
    f("volumes_from", Unique),
    f("working_dir", Text),
    f("post_start", List(&HOOK)),
    f("pre_stop", List(&HOOK)),
]);

const HOOK: Kind = Object(&[
    keep("command", Command),
    f("user", Text),
    f("privileged", Bool),
    f("working_dir", Text),
    f("environment", Environment),
]);

const WATCH: Kind = Object(&[
    f("path", Path),
    f("action", Choice(&["sync", "rebuild", "restart", "sync+restart", "sync+exec"])),
    f("target", Text),
    keep("exec", HOOK),
    f("include", TextOrTexts),
    f("ignore", TextOrTexts),
    f("initial_sync", Bool),
]);

const BUILD: Kind = Object(&[
    f("context", Context),
    f("dockerfile", Text),
    f("dockerfile_inline", Text),
    f("entitlements", Texts),
    f("args", Environment),
    f("provenance", Word),
    f("sbom", Word),
    f("ssh", S(Special::Ssh, &Texts)),
    f("labels", Labels),
    f("cache_from", Texts),
    f("cache_to", Texts),
    f("no_cache", Bool),
    f("additional_contexts", Labels),
    f("pull", Bool),
    f("extra_hosts", S(Special::ExtraHosts, &Texts)),
    f("isolation", Text),
    f("network", Text),
    f("target", Text),
    f("secrets", S(Special::Secrets, &FILE_REFERENCE)),
    f("shm_size", Bytes),
    f("tags", Texts),
    f("ulimits", ULIMITS),
    f("platforms", Texts),
    f("privileged", Bool),
]);

const BLKIO_LIMIT: Kind = List(&Object(&[keep("path", Text), keep("rate", Bytes)]));

const BLKIO: Kind = Object(&[
    f("weight", Int),
    f("weight_device", List(&Object(&[keep("path", Text), keep("weight", Int)]))),
    f("device_read_bps", BLKIO_LIMIT),
    f("device_read_iops", BLKIO_LIMIT),
    f("device_write_bps", BLKIO_LIMIT),
    f("device_write_iops", BLKIO_LIMIT),
]);

const DEPENDENCY: Kind = Object(&[
    f(
        "condition",
        Choice(&["service_started", "service_healthy", "service_completed_successfully"]),
    ),
    f("restart", Bool),
    keep("required", Bool),
]);

const DEVICE: Kind = Object(&[f("source", Text), f("target", Text), f("permissions", Text)]);

const DEVICE_REQUEST: Kind = Object(&[
    f("capabilities", Texts),
    f("driver", Text),
    f("count", S(Special::DeviceCount, &Int)),
    f("device_ids", Texts),
    f("options", Labels),
]);

const ENV_FILE: Kind =
    Object(&[f("path", Path), keep("required", Bool), f("format", Choice(&["raw"]))]);

const EXTENDS: Kind = Object(&[f("file", Text), f("service", Text)]);

const HEALTHCHECK: Kind = Object(&[
    f("test", Test),
    keep("timeout", Duration),
    keep("interval", Duration),
    keep("retries", Int),
    keep("start_period", Duration),
    keep("start_interval", Duration),
    f("disable", Bool),
]);

const FILE_REFERENCE: Kind = Object(&[
    f("source", Text),
    f("target", Text),
    f("uid", Word),
    f("gid", Word),
    keep("mode", S(Special::FileMode, &Text)),
]);

const SERVICE_NETWORK: Kind = Object(&[
    f("aliases", Texts),
    f("driver_opts", Options),
    f("gw_priority", Int),
    f("interface_name", Text),
    f("ipv4_address", Text),
    f("ipv6_address", Text),
    f("link_local_ips", Texts),
    f("mac_address", Text),
    f("priority", Int),
]);

const PORT: Kind = Object(&[
    f("name", Text),
    f("mode", Text),
    f("host_ip", Text),
    f("target", Int),
    f("published", Word),
    f("protocol", Text),
    f("app_protocol", Text),
]);

const MOUNT: Kind = Object(&[
    f("type", Choice(&["bind", "volume", "tmpfs", "image", "cluster", "npipe"])),
    f("source", Text),
    f("target", Text),
    f("read_only", Bool),
    f("consistency", Text),
    keep(
        "bind",
        Object(&[
            f("selinux", Choice(&["z", "Z"])),
            f(
                "propagation",
                Choice(&["private", "rprivate", "shared", "rshared", "slave", "rslave"]),
            ),
            f("create_host_path", Bool),
            f("recursive", Choice(&["enabled", "disabled", "writable", "readonly"])),
        ]),
    ),
    keep("volume", Object(&[f("labels", Labels), f("nocopy", Bool), f("subpath", Text)])),
    keep("tmpfs", Object(&[f("size", Bytes), f("mode", S(Special::TmpfsMode, &Int))])),
    keep("image", Object(&[f("subpath", Text)])),
]);

impl Kind {
    /// The fields of an object, through its short forms.
    pub(crate) fn fields(&self) -> &'static [Field] {
        match self {
            Self::Object(fields) => fields,
            Self::Special(_, kind) => kind.fields(),
            _ => &[],
        }
    }
}
