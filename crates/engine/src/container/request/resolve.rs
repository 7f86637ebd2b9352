//! From a request and the image's facts to how the container is to run.

use husk_image::facts::{Facts, parse_port};
use husk_net::{Mode, network_value};

use super::ContainerRequest;
use super::security::capabilities;
use crate::container::config::Config;
use crate::container::restart::RestartPolicy;
use crate::error::{Error, Field, Problem, Result};
use crate::home::Home;
use crate::rootless::is_rootless;

/// Docker's size of /dev/shm.
const SHM_SIZE: u64 = 64 << 20;

impl ContainerRequest {
    /// What the request and the image together say, checked. Paths of binds that are not there
    /// are made.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn resolve(&self, home: &Home, image: &Facts) -> Result<Config> {
        let host = &self.host_config;
        let entrypoint = self.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
        let mut args = entrypoint.clone();
        match self.cmd.is_empty() {
            false => args.extend(self.cmd.iter().cloned()),
            // Another entrypoint's arguments are not its.
            true if self.entrypoint.is_none() => args.extend(image.cmd.iter().cloned()),
            true => {}
        }
        if args.is_empty() {
            return Err(Error::NoCommand(self.image.clone()));
        }
        let working_dir = self.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
        if !working_dir.starts_with('/') {
            return Err(Error::field(Field::WorkingDir, working_dir, "must be an absolute path"));
        }
        if host.auto_remove && host.restart_policy != RestartPolicy::default() {
            let problem = Problem::from("cannot be combined with ").field(Field::AutoRemove);
            return Err(Error::field(Field::RestartPolicy, host.restart_policy, problem));
        }
        let mut labels = image.labels.clone();
        labels.extend(self.labels.clone());
        let health = self.health(image, &labels)?;
        let env = self.environment(image)?;
        let log = host.log_config.resolve(&labels, &env)?;
        Ok(Config {
            args,
            entrypoint_length: entrypoint.len(),
            env,
            working_dir,
            user: self.user.clone().unwrap_or_else(|| image.user.clone()),
            groups: host.group_add.clone(),
            tty: self.tty,
            interactive: self.open_stdin,
            init: host.init,
            runtime: host.runtime.clone(),
            hostname: self.hostname()?,
            domainname: self.domainname.clone(),
            add_hosts: self.extra_hosts()?,
            dns: host.dns.clone(),
            dns_search: host.dns_search.clone(),
            dns_options: host.dns_options.clone(),
            networks: self.networks()?,
            addresses: self.addresses.clone(),
            publishes: host.port_bindings.iter().map(ToString::to_string).collect(),
            exposed: self.exposed(image)?,
            publish_all: host.publish_all_ports,
            mac: self.mac()?,
            mounts: self.mounts(home, image)?,
            devices: self.devices()?,
            device_rules: self.device_rules()?,
            read_only: host.readonly_rootfs,
            privileged: host.privileged,
            cap_add: capabilities(Field::CapAdd, &host.cap_add)?,
            cap_drop: capabilities(Field::CapDrop, &host.cap_drop)?,
            security: self.security()?,
            limits: host.limits.checked()?.with_default_swap(),
            ulimits: self.ulimits()?,
            shm_size: if host.shm_size == 0 { SHM_SIZE } else { host.shm_size },
            sysctls: host.sysctls.clone(),
            oom_score_adj: self.oom_score()?,
            host_namespaces: self.host_namespaces()?,
            joined_namespaces: self.joined_namespaces()?,
            labels,
            annotations: host.annotations.clone(),
            stop_signal: self.stop_signal(image)?,
            stop_timeout: self.stop_timeout,
            auto_remove: host.auto_remove,
            restart: host.restart_policy,
            health,
            secrets: host.secrets.clone(),
            log,
        })
    }

    /// Empty: that of the engine.
    fn stop_signal(&self, image: &Facts) -> Result<String> {
        let known = |signal: &str| husk_sys::signal_name::number(signal).is_some();
        let problem = "is not a signal name or number";
        match (self.stop_signal.as_str(), &image.stop_signal) {
            ("", None) => Ok(String::new()),
            ("", Some(signal)) if known(signal) => Ok(signal.clone()),
            ("", Some(signal)) => Err(Error::other(format_args!(
                "the image's StopSignal {signal:?} {problem}: give another"
            ))),
            (signal, _) if known(signal) => Ok(signal.to_owned()),
            (signal, _) => Err(Error::field(Field::StopSignal, signal, problem)),
        }
    }

    fn hostname(&self) -> Result<String> {
        if !self.hostname.is_empty() {
            husk_net::etc_files::validate_hostname(&self.hostname)?;
        }
        Ok(self.hostname.clone())
    }

    fn extra_hosts(&self) -> Result<Vec<String>> {
        for text in &self.host_config.extra_hosts {
            text.parse::<husk_net::etc_files::ExtraHost>()?;
        }
        Ok(self.host_config.extra_hosts.clone())
    }

    /// The networks as the record has them, with the aliases that are of the first.
    fn networks(&self) -> Result<Vec<String>> {
        let mut values: Vec<String> = self.networks.iter().map(network_value).collect();
        let mode = Mode::parse(&values, is_rootless())?;
        let Some(alias) = self.aliases.first().or(self.links.first()) else { return Ok(values) };
        match mode {
            Mode::Networks(mut attachments) if !values.is_empty() => {
                if let (Some(first), Some(value)) = (attachments.first_mut(), values.first_mut()) {
                    first.aliases.extend(self.aliases.iter().cloned());
                    first.links.extend(self.links.iter().cloned());
                    *value = network_value(first);
                }
                Mode::parse(&values, is_rootless())?;
                Ok(values)
            }
            _ => {
                let problem = Problem::from("needs ").field(Field::NetworkMode);
                let problem = problem.text(" with a network of yours");
                let field = match self.aliases.is_empty() {
                    true => Field::Links,
                    false => Field::EndpointAliases,
                };
                Err(Error::field(field, alias, problem))
            }
        }
    }

    fn mac(&self) -> Result<Option<String>> {
        let Some(text) = &self.mac_address else { return Ok(None) };
        husk_net::parse_mac(text)?;
        let values: Vec<String> = self.networks.iter().map(network_value).collect();
        match Mode::parse(&values, is_rootless())? {
            Mode::Networks(_) => Ok(Some(text.clone())),
            _ => {
                let problem = "is for a bridge network, which requires root";
                Err(Error::field(Field::MacAddress, text, problem))
            }
        }
    }

    fn exposed(&self, image: &Facts) -> Result<Vec<String>> {
        let mut ranges = image.exposed_ports.clone();
        for text in &self.exposed_ports {
            let port = parse_port(text);
            let bad = |problem: &str| Error::field(Field::ExposedPorts, text, problem);
            ranges.push(port.map_err(bad)?);
        }
        // As Docker: a range port by port.
        let mut exposed = Vec::new();
        for range in ranges {
            for port in range.first..=range.last {
                let text = format!("{port}/{}", range.protocol);
                if !exposed.contains(&text) {
                    exposed.push(text);
                }
            }
        }
        Ok(exposed)
    }

    fn oom_score(&self) -> Result<Option<i32>> {
        match self.host_config.oom_score_adj {
            Some(score) if !(-1000..=1000).contains(&score) => {
                Err(Error::field(Field::OomScoreAdj, score, "must be -1000 to 1000"))
            }
            score => Ok(score),
        }
    }
}
