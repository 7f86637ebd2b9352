//! `inspect`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::container::image_id;
use super::listing::status_word;
use super::{for_each, output};
use husk_engine::container::config::{Config, Mount};
use husk_engine::container::state::Status;
use husk_engine::container::{Container, name};
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;

/// `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// json, or a template such as '{{.State.Pid}}'
    #[arg(short, long)]
    format: Option<String>,
    /// container or image
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    /// Of one kind, where none is asked for.
    pub(super) fn of(mut self, kind: &str) -> Self {
        self.kind.get_or_insert_with(|| kind.to_owned());
        self
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut found = Vec::new();
        // As Docker's: what is there is shown, and then said what is not.
        let code = for_each(&self.names, |name| {
            found.push(self.one(home, name)?);
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }

    fn one(&self, home: &Home, name: &str) -> Result<Value> {
        if !matches!(self.kind.as_deref(), None | Some("container" | "image")) {
            let kind = self.kind.clone().unwrap_or_default();
            return Err(Error::flag("--type", kind, "is neither container nor image"));
        }
        if self.kind.as_deref() != Some("image") {
            match Container::find(home, name) {
                Ok(container) => return describe(home, &container),
                Err(Error::NoContainer(_)) if self.kind.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        match super::image::inspect(home, name) {
            Err(_) if self.kind.is_none() => {
                Err(Error::other(format_args!("no such container or image: {name}")))
            }
            other => other,
        }
    }
}

fn mounts(home: &Home, container: &Container) -> Vec<Value> {
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, propagation } => json!({
            "Type": "bind", "Source": source, "Destination": target, "RW": !read_only,
            "Propagation": if propagation.is_empty() { "rprivate" } else { propagation },
        }),
        Mount::Volume { name, target, read_only, .. } => json!({
            "Type": "volume", "Name": name, "Source": husk_engine::volume::data(home, name),
            "Destination": target, "RW": !read_only, "Driver": "local",
        }),
        Mount::Tmpfs { target, .. } => {
            json!({ "Type": "tmpfs", "Source": "", "Destination": target, "RW": true })
        }
    };
    container.record.config.mounts.iter().map(one).collect()
}

/// The binds and volumes, as `-v` writes them.
fn binds(container: &Container) -> Vec<String> {
    let mounts = container.record.config.mounts.iter();
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, .. }
        | Mount::Volume { name: source, target, read_only, anonymous: false } => {
            Some(format!("{source}:{target}{}", if *read_only { ":ro" } else { "" }))
        }
        Mount::Volume { .. } | Mount::Tmpfs { .. } => None,
    };
    mounts.filter_map(one).collect()
}

/// What `--publish` asks for, as Docker's `HostConfig` has it: a range port by port, and an empty
/// `HostPort` where any will do.
fn bindings(config: &Config) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for text in &config.publishes {
        let publish: husk_net::Publish = text.parse()?;
        let address = publish.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let one_port = publish.container_ports.clone().count() == 1;
        for (nth, port) in publish.container_ports.clone().enumerate() {
            let host = match &publish.host_ports {
                None => String::new(),
                Some(ports) if one_port && ports.clone().count() > 1 => {
                    format!("{}-{}", ports.start(), ports.end())
                }
                Some(ports) => {
                    ports.clone().nth(nth).map_or_else(String::new, |port| port.to_string())
                }
            };
            let binding = json!({ "HostIp": address, "HostPort": host });
            bindings.entry(format!("{port}/{}", publish.protocol)).or_default().push(binding);
        }
    }
    Ok(bindings)
}

/// Where a container is in a network, or all of it empty.
fn endpoint(one: Option<&husk_net::Endpoint>) -> Value {
    let (v4, v6) = (one.and_then(|e| e.address(false)), one.and_then(|e| e.address(true)));
    let text = |ip: std::net::IpAddr| ip.to_string();
    json!({
        "IPAddress": v4.map_or_else(String::new, |a| text(a.address)),
        "IPPrefixLen": v4.map_or(0, |a| a.prefix),
        "Gateway": v4.map_or_else(String::new, |a| text(a.gateway)),
        "GlobalIPv6Address": v6.map_or_else(String::new, |a| text(a.address)),
        "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix),
        "IPv6Gateway": v6.map_or_else(String::new, |a| text(a.gateway)),
        "MacAddress": one.map_or_else(String::new, |e| husk_net::format_mac(e.mac)),
    })
}

fn describe(home: &Home, container: &Container) -> Result<Value> {
    let state = container.state()?;
    let record = &container.record;
    let config = &record.config;
    let nets = home.networks()?;
    let mut networks = BTreeMap::new();
    for one in nets.endpoints(None)?.into_iter().filter(|one| one.container == record.id) {
        networks.insert(one.network.clone(), endpoint(Some(&one)));
    }
    let mut published: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for claim in nets.claims(Some(&record.id))? {
        let host = claim.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        let key = format!("{}/{}", claim.container_port, claim.protocol);
        let entry = json!({ "HostIp": host, "HostPort": claim.host_port.to_string() });
        published.entry(key).or_default().push(entry);
    }
    let (entrypoint, cmd) = config.args.split_at(config.entrypoint_length.min(config.args.len()));
    // As Docker's, those of the network "bridge" alone.
    let mut settings = networks.get("bridge").cloned().unwrap_or_else(|| endpoint(None));
    settings["Ports"] = json!(published);
    settings["Networks"] = json!(networks);
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Name": format!("/{}", record.name),
        "Path": config.args.first(),
        "Args": config.args.get(1..).unwrap_or_default(),
        "State": {
            "Status": status_word(&state),
            "Running": state.status == Status::Running,
            "Paused": state.paused,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": state.pid,
            "MonitorPid": state.monitor,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started,
            "FinishedAt": state.finished,
        },
        "Image": image_id(container),
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "LogPath": container.directory.join("log.json"),
        "HostsPath": container.run.join("hosts"),
        "HostnamePath": container.run.join("hostname"),
        "ResolvConfPath": container.run.join("resolv.conf"),
        "Mounts": mounts(home, container),
        "Config": {
            "Hostname": if config.hostname.is_empty() { name::short(&record.id) } else { &config.hostname },
            "Domainname": config.domainname,
            "User": config.user,
            "Tty": config.tty,
            "OpenStdin": config.interactive,
            "Env": config.env,
            "Cmd": cmd,
            "Entrypoint": entrypoint,
            "Image": record.image,
            "WorkingDir": config.working_dir,
            "Labels": config.labels,
            "StopSignal": if config.stop_signal.is_empty() { "SIGTERM" } else { &config.stop_signal },
            "StopTimeout": config.stop_timeout,
        },
        "HostConfig": {
            "AutoRemove": config.auto_remove,
            "Privileged": config.privileged,
            "ReadonlyRootfs": config.read_only,
            "CapAdd": config.cap_add,
            "CapDrop": config.cap_drop,
            "NetworkMode": config.networks.first().map_or("bridge", |value| husk_net::network_name(value)),
            "Binds": binds(container),
            "PortBindings": bindings(config)?,
            "PublishAllPorts": config.publish_all,
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
            "Dns": config.dns,
            "ExtraHosts": config.add_hosts,
            "ShmSize": config.shm_size,
            "Sysctls": config.sysctls,
            "Memory": config.limits.memory.unwrap_or(0),
            "MemorySwap": config.limits.memory_swap.unwrap_or(0),
            "MemoryReservation": config.limits.memory_reservation.unwrap_or(0),
            "NanoCpus": config.limits.nano_cpus.unwrap_or(0),
            "CpuQuota": config.limits.cpu_quota.unwrap_or(0),
            "CpuPeriod": config.limits.cpu_period.unwrap_or(0),
            "CpuShares": config.limits.cpu_shares.unwrap_or(0),
            "CpusetCpus": config.limits.cpuset_cpus,
            "PidsLimit": config.limits.pids,
            "OomScoreAdj": config.oom_score_adj.unwrap_or(0),
        },
        "NetworkSettings": settings,
    }))
}
