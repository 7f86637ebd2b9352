//! From flags to the library's request.

use husk_engine::container::request::{
    ContainerRequest, DeviceRequest, HostConfig, LogConfig, PullPolicy, Ulimit, parse_size,
};
use husk_engine::error::Field;
use husk_net::{Attachment, Publish};

use super::Flags;
use super::environment::pairs;
use super::mounts;
use crate::error::{EngineError, Error, Result};
use crate::registry;

impl Flags {
    /// What the flags ask for. The caller's own environment, files and working directory are
    /// read here; the rest is the library's.
    ///
    /// # Errors
    /// A flag that is malformed.
    pub(crate) fn request(&self) -> Result<ContainerRequest> {
        crate::attach::parse_keys(&self.detach_keys)?;
        let parse = |text: &String| -> Result<Publish> { Ok(text.parse::<Publish>()?) };
        let networks: husk_net::Result<Vec<Attachment>> =
            self.network.iter().map(|value| husk_net::parse_attachment(value)).collect();
        let pull = PullPolicy::from_name(&self.pull)
            .ok_or_else(|| Error::flag("--pull", &self.pull, "must be always, missing or never"))?;
        let addresses = [self.ip.map(std::net::IpAddr::from), self.ip6.map(std::net::IpAddr::from)];
        Ok(ContainerRequest {
            name: self.name.clone(),
            image: self.image.clone(),
            platform: self.platform.clone(),
            pull,
            registry: registry::access(self.tls_verify),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            tty: self.tty,
            open_stdin: self.interactive,
            env: self.environment()?,
            cmd: self.command.clone(),
            entrypoint: self.entrypoint.as_ref().map(|program| match program.as_str() {
                "" => Vec::new(),
                program => vec![program.to_owned()],
            }),
            working_dir: self.workdir.clone(),
            labels: self.labels()?,
            exposed_ports: self.expose.clone(),
            volumes: Vec::new(),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            mac_address: self.mac_address.clone(),
            healthcheck: self.health.check()?,
            networks: networks?,
            aliases: self.network_alias.clone(),
            links: self.link.clone(),
            addresses: addresses.into_iter().flatten().collect(),
            host_config: HostConfig {
                binds: mounts::binds(&self.volume)?,
                mounts: self.mount.iter().map(|text| mounts::mount(text)).collect::<Result<_>>()?,
                tmpfs: self.tmpfs.iter().map(|text| mounts::tmpfs(text)).collect(),
                volumes_from: self.volumes_from.clone(),
                devices: self.devices()?,
                device_cgroup_rules: self.device_cgroup_rule.clone(),
                restart_policy: self.restart()?,
                auto_remove: self.remove,
                readonly_rootfs: self.read_only,
                privileged: self.privileged,
                cap_add: self.cap_add.clone(),
                cap_drop: self.cap_drop.clone(),
                security_opt: self.security_options()?,
                limits: self.fixed_limits.add_to(self.limits.limits()?)?,
                ulimits: self.ulimits()?,
                shm_size: bytes("--shm-size", &self.shm_size)?.unsigned_abs(),
                sysctls: pairs("--sysctl", &self.sysctl, false)?,
                oom_score_adj: self.oom_score_adj,
                group_add: self.group_add.clone(),
                init: self.init,
                runtime: self.runtime.clone(),
                annotations: pairs("--annotation", &self.annotation, false)?,
                dns: self.dns.clone(),
                dns_search: self.dns_search.clone(),
                dns_options: self.dns_option.clone(),
                extra_hosts: self.add_host.clone(),
                port_bindings: self.publish.iter().map(parse).collect::<Result<_>>()?,
                publish_all_ports: self.publish_all,
                pid_mode: self.pid.clone().unwrap_or_default(),
                ipc_mode: self.ipc.clone().unwrap_or_default(),
                uts_mode: self.uts.clone().unwrap_or_default(),
                cgroupns_mode: self.cgroupns.clone().unwrap_or_default(),
                userns_mode: self.userns.clone().unwrap_or_default(),
                secrets: self.secrets()?,
                log_config: LogConfig {
                    driver: self.log_driver.clone(),
                    options: pairs("--log-opt", &self.log_opt, false)?,
                },
            },
        })
    }

    /// An error with the value as it was written: what the library was given is bytes, where a
    /// flag was `64m`.
    pub(crate) fn as_written(&self, error: EngineError) -> Error {
        let EngineError::Field { field, value, problem } = error else { return error.into() };
        let written = match field {
            Field::ShmSize => Some(&self.shm_size),
            _ => self.health.written(field).or_else(|| self.limits.written(field)),
        };
        let value = written.cloned().unwrap_or(value);
        EngineError::Field { field, value, problem }.into()
    }

    /// `HOST[:CONTAINER[:rwm]]`.
    fn devices(&self) -> Result<Vec<DeviceRequest>> {
        let is_access = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
        let parse = |text: &String| {
            let parts: Vec<&str> = text.split(':').collect();
            let (host, inside, access) = match parts.as_slice() {
                [host] => (*host, *host, ""),
                [host, access] if is_access(access) => (*host, *host, *access),
                [host, inside] => (*host, *inside, ""),
                [host, inside, access] if is_access(access) => (*host, *inside, *access),
                _ => return Err(Error::flag("--device", text, "must be HOST[:CONTAINER[:rwm]]")),
            };
            if !host.starts_with('/') || !inside.starts_with('/') {
                return Err(Error::flag("--device", text, "must be an absolute path"));
            }
            Ok(DeviceRequest {
                path_on_host: host.to_owned(),
                path_in_container: inside.to_owned(),
                cgroup_permissions: access.to_owned(),
            })
        };
        self.device.iter().map(parse).collect()
    }

    /// `NAME=SOFT[:HARD]`.
    fn ulimits(&self) -> Result<Vec<Ulimit>> {
        let parse = |text: &String| {
            let bad = || Error::flag("--ulimit", text, "must be NAME=SOFT[:HARD]");
            let number = |text: &str| match text {
                "-1" | "unlimited" => Ok(u64::MAX),
                text => text.parse().map_err(|_| bad()),
            };
            let (name, value) = text.split_once('=').ok_or_else(bad)?;
            let (soft, hard) = value.split_once(':').unwrap_or((value, value));
            Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
        };
        self.ulimit.iter().map(parse).collect()
    }

    /// `--security-opt`, with the content of a seccomp profile in place of its file.
    fn security_options(&self) -> Result<Vec<String>> {
        let resolve = |text: &String| match text.split_once(['=', ':']) {
            Some(("seccomp", value))
                if !value.starts_with('+') && !matches!(value, "unconfined" | "builtin") =>
            {
                Ok(format!("seccomp={}", seccomp_file(value)?))
            }
            _ => Ok(text.clone()),
        };
        self.security_opt.iter().map(resolve).collect()
    }
}

/// The content of a profile, which is read here, since a message names the file.
fn seccomp_file(path: &str) -> Result<String> {
    let opened = std::fs::File::open(path);
    let opened = opened.map_err(crate::error::file("open --security-opt seccomp", path))?;
    let failed = |error: husk_spec::LoadError| Error::flag("--security-opt seccomp", path, error);
    let bytes = husk_spec::read_bounded(opened).map_err(failed)?;
    husk_spec::parse::<husk_spec::Seccomp>(&bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| Error::flag("--security-opt seccomp", path, error))
}

/// `512`, `64k`, `1.5g` in bytes.
pub(crate) fn bytes(flag: &'static str, text: &str) -> Result<i64> {
    parse_size(text).ok_or_else(|| Error::flag(flag, text, "must be a size such as 64m or 1g"))
}
