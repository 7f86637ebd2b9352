//! From a service to the words of `husk create`.

use std::collections::BTreeMap;

use crate::node::{Map, Node};
use crate::project::{Failure, Project};
use crate::units;

/// A container that is to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewContainer {
    /// Its name for now.
    pub(crate) name: String,
    pub(crate) number: usize,
    pub(crate) hash: String,
    pub(crate) image: String,
    /// The image's id.
    pub(crate) image_id: String,
    /// Of `run`: no fixed address, and no ports unless asked for.
    pub(crate) one_off: bool,
    /// Containers of services that it shares with: service and id.
    pub(crate) others: BTreeMap<String, String>,
    /// Anonymous volumes to keep: target and name.
    pub(crate) kept: BTreeMap<String, String>,
    /// Flags of `run`: they come last, and so count.
    pub(crate) flags: Vec<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) ports: bool,
}

/// Networks of a service in their order: by priority, then by name.
pub(crate) fn networks(service: &Node) -> Vec<(&String, &Node)> {
    let mut networks: Vec<(&String, &Node)> =
        service.get("networks").and_then(Node::as_map).into_iter().flatten().collect();
    let number = |node: &Node, key: &str| node.get(key).and_then(Node::as_int).unwrap_or(0);
    networks.sort_by_key(|(name, node)| {
        (-number(node, "gw_priority"), -number(node, "priority"), (*name).clone())
    });
    networks
}

/// Where the services are whose namespaces, volumes or links a service uses.
pub(crate) fn shares(service: &Node) -> Vec<String> {
    let modes = ["network_mode", "ipc", "pid", "uts"];
    let modes = modes.into_iter().filter_map(|key| service.text_of(key)?.strip_prefix("service:"));
    let from =
        texts(service, "volumes_from").into_iter().filter(|one| !one.starts_with("container:"));
    let from: Vec<String> =
        from.map(|one| one.split(':').next().unwrap_or_default().to_owned()).collect();
    modes.map(str::to_owned).chain(from).collect()
}

/// A list of texts.
pub(crate) fn texts(node: &Node, key: &str) -> Vec<String> {
    let list = node.get(key).and_then(Node::as_list).unwrap_or_default();
    list.iter().filter_map(Node::scalar_text).collect()
}

pub(crate) fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn pairs(node: &Node, key: &str) -> Vec<(String, Option<String>)> {
    let map = node.get(key).and_then(Node::as_map);
    map.into_iter().flatten().map(|(name, value)| (name.clone(), value.scalar_text())).collect()
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(text: &str) -> i64 {
    units::duration(text).map_or(10, |nanoseconds| (nanoseconds + 999_999_999) / 1_000_000_000)
}

/// What the words are collected in.
pub(crate) struct Builder<'a> {
    pub(crate) project: &'a Project,
    pub(crate) service: &'a Node,
    pub(crate) name: &'a str,
    pub(crate) new: &'a NewContainer,
    pub(crate) words: Vec<String>,
}

/// The words for a container.
///
/// # Errors
/// What cannot be mounted.
pub(crate) fn words(
    project: &Project,
    name: &str,
    service: &Node,
    new: &NewContainer,
) -> Result<Vec<String>, Failure> {
    let mut builder = Builder { project, service, name, new, words: vec!["create".to_owned()] };
    builder.flag("--name", &new.name);
    builder.flag("--pull", "never");
    builder.labels();
    builder.process();
    builder.rights();
    builder.limits();
    builder.namespaces();
    builder.health();
    builder.connections();
    builder.mounts()?;
    builder.finish();
    Ok(builder.words)
}

impl Builder<'_> {
    pub(crate) fn flag(&mut self, flag: &str, value: impl std::fmt::Display) {
        self.words.push(format!("{flag}={value}"));
    }

    /// A flag for each value of `key`.
    pub(crate) fn each(&mut self, flag: &str, key: &str) {
        for value in texts(self.service, key) {
            self.flag(flag, value);
        }
    }

    fn text(&mut self, flag: &str, key: &str) {
        if let Some(value) = self.service.get(key).and_then(Node::scalar_text) {
            self.flag(flag, value);
        }
    }

    fn switch(&mut self, flag: &str, key: &str) {
        if let Some(value) = self.service.get(key).and_then(Node::as_bool) {
            self.flag(flag, value);
        }
    }

    fn labels(&mut self) {
        for (name, value) in pairs(self.service, "labels") {
            self.flag("--label", format!("{name}={}", value.unwrap_or_default()));
        }
        for (name, value) in pairs(self.service, "annotations") {
            self.flag("--annotation", format!("{name}={}", value.unwrap_or_default()));
        }
        let depends: Vec<String> = self
            .service
            .get("depends_on")
            .and_then(Node::as_map)
            .into_iter()
            .flatten()
            .map(|(other, one)| {
                let restart = one.get("restart").and_then(Node::as_bool).unwrap_or_default();
                format!(
                    "{other}:{}:{restart}",
                    one.text_of("condition").unwrap_or("service_started")
                )
            })
            .collect();
        let paths = |list: &[std::path::PathBuf]| {
            let list: Vec<String> = list.iter().map(|path| path.display().to_string()).collect();
            list.join(",")
        };
        let mut labels = vec![
            ("project", self.project.name.clone()),
            ("service", self.name.to_owned()),
            ("container-number", self.new.number.to_string()),
            ("oneoff", if self.new.one_off { "True" } else { "False" }.to_owned()),
            ("config-hash", self.new.hash.clone()),
            ("image", self.new.image_id.clone()),
            ("depends_on", depends.join(",")),
            ("project.working_dir", self.project.directory.display().to_string()),
            ("project.config_files", paths(&self.project.files)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if !self.project.env_files.is_empty() {
            labels.push(("project.environment_file", paths(&self.project.env_files)));
        }
        for (name, value) in labels {
            self.flag("--label", format!("com.docker.compose.{name}={value}"));
        }
    }

    fn process(&mut self) {
        for (name, value) in pairs(self.service, "environment") {
            if let Some(value) = value {
                self.flag("--env", format!("{name}={value}"));
            }
        }
        for (flag, key) in [
            ("--workdir", "working_dir"),
            ("--user", "user"),
            ("--hostname", "hostname"),
            ("--domainname", "domainname"),
            ("--stop-signal", "stop_signal"),
            ("--runtime", "runtime"),
            ("--platform", "platform"),
        ] {
            self.text(flag, key);
        }
        for (flag, key) in [("--tty", "tty"), ("--interactive", "stdin_open"), ("--init", "init")] {
            self.switch(flag, key);
        }
        self.each("--group-add", "group_add");
        if let Some(period) = self.service.text_of("stop_grace_period") {
            self.flag("--stop-timeout", seconds(period));
        }
        if !self.new.one_off
            && let Some(policy) = restart_policy(self.service)
        {
            self.flag("--restart", policy);
        }
        if let Some(logging) = self.service.get("logging") {
            if let Some(driver) = logging.text_of("driver") {
                self.flag("--log-driver", driver);
            }
            for (name, value) in pairs(logging, "options") {
                self.flag("--log-opt", format!("{name}={}", value.unwrap_or_default()));
            }
        }
    }

    fn rights(&mut self) {
        for (flag, key) in [("--privileged", "privileged"), ("--read-only", "read_only")] {
            self.switch(flag, key);
        }
        for (flag, key) in [
            ("--cap-add", "cap_add"),
            ("--cap-drop", "cap_drop"),
            ("--security-opt", "security_opt"),
            ("--device-cgroup-rule", "device_cgroup_rules"),
        ] {
            self.each(flag, key);
        }
        for device in list(self.service, "devices") {
            let part = |key: &str| device.text_of(key).unwrap_or_default().to_owned();
            // A device of a vendor's CDI description has no paths.
            match part("source") {
                source if source.starts_with('/') => {
                    self.flag(
                        "--device",
                        format!("{source}:{}:{}", part("target"), part("permissions")),
                    );
                }
                source => self.flag("--device", source),
            }
        }
        let reserved = self.service.get("deploy").and_then(|node| node.get("resources"));
        let reserved = reserved.and_then(|node| node.get("reservations"));
        let requests = list(self.service, "gpus")
            .iter()
            .chain(reserved.map_or(&[][..], |node| list(node, "devices")));
        let requests: Vec<String> = requests.map(gpus).collect();
        for request in requests {
            self.flag("--gpus", request);
        }
        for (name, limit) in
            self.service.get("ulimits").and_then(Node::as_map).into_iter().flatten()
        {
            let value = match limit.as_int() {
                Some(both) => format!("{both}:{both}"),
                None => {
                    let part = |key: &str| limit.get(key).and_then(Node::as_int).unwrap_or(0);
                    format!("{}:{}", part("soft"), part("hard"))
                }
            };
            self.words.push(format!("--ulimit={name}={value}"));
        }
        for (name, value) in pairs(self.service, "sysctls") {
            self.flag("--sysctl", format!("{name}={}", value.unwrap_or_default()));
        }
    }

    fn limits(&mut self) {
        let deploy = |keys: [&str; 2]| -> Option<String> {
            let resources = self.service.get("deploy")?.get("resources")?;
            resources.get(keys[0])?.get(keys[1])?.scalar_text()
        };
        let own = |key: &str| self.service.get(key).and_then(Node::scalar_text);
        let found = [
            ("--memory", own("mem_limit").or_else(|| deploy(["limits", "memory"]))),
            (
                "--memory-reservation",
                own("mem_reservation").or_else(|| deploy(["reservations", "memory"])),
            ),
            ("--memory-swap", own("memswap_limit")),
            ("--memory-swappiness", own("mem_swappiness")),
            ("--cpus", own("cpus").or_else(|| deploy(["limits", "cpus"]))),
            ("--pids-limit", own("pids_limit").or_else(|| deploy(["limits", "pids"]))),
            ("--cpu-shares", own("cpu_shares")),
            ("--cpu-period", own("cpu_period")),
            ("--cpu-quota", own("cpu_quota")),
            ("--cpu-rt-period", own("cpu_rt_period")),
            ("--cpu-rt-runtime", own("cpu_rt_runtime")),
            ("--cpuset-cpus", own("cpuset")),
            ("--shm-size", own("shm_size")),
            ("--oom-score-adj", own("oom_score_adj")),
            ("--cgroup-parent", own("cgroup_parent")),
        ];
        for (flag, value) in found {
            if let Some(value) = value {
                self.flag(flag, value);
            }
        }
        self.switch("--oom-kill-disable", "oom_kill_disable");
        let Some(block) = self.service.get("blkio_config") else { return };
        if let Some(weight) = block.get("weight").and_then(Node::as_int) {
            self.flag("--blkio-weight", weight);
        }
        for (flag, key, value) in [
            ("--blkio-weight-device", "weight_device", "weight"),
            ("--device-read-bps", "device_read_bps", "rate"),
            ("--device-read-iops", "device_read_iops", "rate"),
            ("--device-write-bps", "device_write_bps", "rate"),
            ("--device-write-iops", "device_write_iops", "rate"),
        ] {
            for device in list(block, key) {
                let value = device.get(value).and_then(Node::scalar_text).unwrap_or_default();
                self.words
                    .push(format!("{flag}={}:{value}", device.text_of("path").unwrap_or_default()));
            }
        }
    }

    /// `service:X` is the container of that service.
    fn of_service(&self, mode: &str) -> String {
        let container = mode.strip_prefix("service:").and_then(|name| self.new.others.get(name));
        container.map_or_else(|| mode.to_owned(), |id| format!("container:{id}"))
    }

    fn namespaces(&mut self) {
        for (flag, key) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
            if let Some(mode) = self.service.text_of(key) {
                let mode = self.of_service(mode);
                self.flag(flag, mode);
            }
        }
        self.text("--cgroupns", "cgroup");
        self.text("--userns", "userns_mode");
    }

    fn health(&mut self) {
        let Some(check) = self.service.get("healthcheck") else { return };
        let test = texts(check, "test");
        if check.get("disable").and_then(Node::as_bool) == Some(true) || test == ["NONE"] {
            self.words.push("--no-healthcheck".to_owned());
            return;
        }
        match test.split_first() {
            Some((first, rest)) if first == "CMD" => self.flag("--health-cmd", quoted(rest)),
            Some((_, rest)) => self.flag("--health-cmd", rest.join(" ")),
            None => {}
        }
        for (flag, key) in [
            ("--health-interval", "interval"),
            ("--health-timeout", "timeout"),
            ("--health-retries", "retries"),
            ("--health-start-period", "start_period"),
            ("--health-start-interval", "start_interval"),
        ] {
            if let Some(value) = check.get(key).and_then(Node::scalar_text) {
                self.flag(flag, value);
            }
        }
    }

    /// Networks, ports, names.
    fn connections(&mut self) {
        self.each("--dns", "dns");
        self.each("--dns-search", "dns_search");
        self.each("--dns-option", "dns_opt");
        for host in texts(self.service, "extra_hosts") {
            self.flag("--add-host", host.replacen('=', ":", 1));
        }
        self.each("--expose", "expose");
        let mode = self.service.text_of("network_mode").map(|mode| self.of_service(mode));
        if self.new.ports && mode.as_deref() != Some("host") {
            for port in list(self.service, "ports") {
                let text =
                    |key: &str| port.get(key).and_then(Node::scalar_text).unwrap_or_default();
                let host = text("host_ip");
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                let mut published = match (host.is_empty(), text("published")) {
                    (true, published) if published.is_empty() => String::new(),
                    (true, published) => format!("{published}:"),
                    (false, published) => format!("{host}:{published}:"),
                };
                published.push_str(&format!("{}/{}", text("target"), text("protocol")));
                self.flag("--publish", published);
            }
        }
        if let Some(mode) = mode {
            self.flag("--network", mode);
            self.text("--mac-address", "mac_address");
            return;
        }
        for (key, node) in networks(self.service) {
            let mut value = format!("name={}", self.project.resource_name("networks", key));
            for (name, key) in
                [("ip", "ipv4_address"), ("ip6", "ipv6_address"), ("mac-address", "mac_address")]
            {
                if let Some(text) = node.text_of(key) {
                    value.push_str(&format!(",{name}={text}"));
                }
            }
            let mut names = Vec::new();
            if !self.new.one_off {
                names.push(self.name.to_owned());
                names.extend(self.project.link_aliases(self.name));
            }
            names.extend(texts(node, "aliases"));
            names.dedup();
            for name in names {
                value.push_str(&format!(",alias={name}"));
            }
            self.flag("--network", value);
        }
        self.text("--mac-address", "mac_address");
    }

    /// Entrypoint, image, command.
    fn finish(&mut self) {
        self.words.extend(self.new.flags.iter().cloned());
        let own = |key: &str| {
            let list = self.service.get(key).and_then(Node::as_list);
            list.map(|_| texts(self.service, key))
        };
        let entrypoint = self.new.entrypoint.clone().or_else(|| own("entrypoint"));
        let command = self.new.command.clone().or_else(|| own("command"));
        let mut rest = Vec::new();
        if let Some(entrypoint) = entrypoint {
            let (first, more) = entrypoint
                .split_first()
                .map_or(("", &[][..]), |(first, more)| (first.as_str(), more));
            self.flag("--entrypoint", first);
            rest.extend(more.iter().cloned());
        }
        rest.extend(command.unwrap_or_default());
        self.words.push(self.new.image.clone());
        self.words.extend(rest);
    }
}

fn gpus(request: &Node) -> String {
    let ids = texts(request, "device_ids");
    let mut parts = Vec::new();
    match request.get("count").and_then(Node::as_int) {
        Some(-1) => parts.push("count=all".to_owned()),
        Some(count) => parts.push(format!("count={count}")),
        None => {}
    }
    if !ids.is_empty() {
        parts.push(format!("\"device={}\"", ids.join(",")));
    }
    if let Some(driver) = request.text_of("driver") {
        parts.push(format!("driver={driver}"));
    }
    let capabilities = texts(request, "capabilities");
    if !capabilities.is_empty() {
        parts.push(format!("\"capabilities={}\"", capabilities.join(",")));
    }
    parts.join(",")
}

/// `restart`, or what `deploy.restart_policy` says.
fn restart_policy(service: &Node) -> Option<String> {
    if let Some(policy) = service.text_of("restart") {
        return Some(policy.to_owned());
    }
    let policy = service.get("deploy")?.get("restart_policy")?;
    let attempts = policy.get("max_attempts").and_then(Node::as_int);
    Some(match (policy.text_of("condition").unwrap_or("any"), attempts) {
        ("none", _) => "no".to_owned(),
        ("on-failure", Some(attempts)) => format!("on-failure:{attempts}"),
        ("on-failure", None) => "on-failure".to_owned(),
        _ => "always".to_owned(),
    })
}

/// Words as one line for a shell.
pub(crate) fn quoted(words: &[String]) -> String {
    let plain = |word: &String| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c))
    };
    let quoted: Vec<String> =
        words
            .iter()
            .map(|word| {
                if plain(word) {
                    word.clone()
                } else {
                    format!("'{}'", word.replace('\'', "'\\''"))
                }
            })
            .collect();
    quoted.join(" ")
}

impl Project {
    /// The resources of a section.
    pub(crate) fn section(&self, key: &str) -> &Map {
        static EMPTY: Map = Map::new();
        self.root.get(key).and_then(Node::as_map).unwrap_or(&EMPTY)
    }

    /// One resource of a section.
    pub(crate) fn section_of(&self, key: &str, name: &str) -> Option<&Node> {
        self.section(key).get(name)
    }

    /// The name of a network or volume outside of the project.
    pub(crate) fn resource_name(&self, key: &str, name: &str) -> String {
        let own = self.section_of(key, name).and_then(|node| node.text_of("name"));
        own.map_or_else(|| format!("{}_{name}", self.name), str::to_owned)
    }

    /// Names by which others link a service.
    fn link_aliases(&self, name: &str) -> Vec<String> {
        let links = self.section("services").values().flat_map(|service| texts(service, "links"));
        let aliases = links.filter_map(|link| {
            let (service, alias) = link.split_once(':')?;
            (service == name).then(|| alias.to_owned())
        });
        aliases.collect()
    }
}
