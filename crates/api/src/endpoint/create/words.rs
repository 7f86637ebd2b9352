//! The words of `husk create` for a body.

use std::collections::BTreeMap;

use husk_net::Attachment;

use super::body::{Create, Endpoint, Healthcheck, HostConfig, Mount};
use crate::failure::{Failure, Result};

/// The words, and files that they name.
pub(crate) struct Words {
    pub(crate) all: Vec<String>,
    /// Removed with this.
    _files: Vec<tempfile::NamedTempFile>,
}

struct Builder {
    words: Vec<String>,
    files: Vec<tempfile::NamedTempFile>,
}

/// A field that cannot be honoured.
pub(crate) fn refused(field: &str, why: &str) -> Failure {
    Failure::invalid(format!("{field}: {why}"))
}

impl Builder {
    fn switch(&mut self, flag: &str, on: Option<bool>) {
        if on == Some(true) {
            self.words.push(flag.to_owned());
        }
    }

    fn value(&mut self, flag: &str, value: impl std::fmt::Display) {
        self.words.push(format!("{flag}={value}"));
    }

    /// One that is left out where it is empty.
    fn text(&mut self, flag: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.value(flag, value);
        }
    }

    fn list(&mut self, flag: &str, values: Option<Vec<String>>) {
        values.unwrap_or_default().into_iter().for_each(|value| self.value(flag, value));
    }

    /// One that means nothing where it is 0.
    fn number(&mut self, flag: &str, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value != 0) {
            self.value(flag, value);
        }
    }

    fn map(&mut self, flag: &str, values: Option<BTreeMap<String, String>>) {
        let values = values.unwrap_or_default();
        values.iter().for_each(|(name, value)| self.value(flag, format_args!("{name}={value}")));
    }
}

impl Words {
    /// # Errors
    /// What `husk create` has no word for.
    pub(crate) fn of(body: Create, name: Option<&str>, platform: Option<&str>) -> Result<Self> {
        let mut b = Builder { words: Vec::new(), files: Vec::new() };
        for word in ["create", "--quiet", "--pull=never"] {
            b.words.push(word.to_owned());
        }
        b.text("--name", name.map(str::to_owned));
        b.text("--platform", platform.map(str::to_owned));
        let image = body.image.clone().unwrap_or_default();
        let (entrypoint, mut command) = (
            body.entrypoint.map(super::body::Command::words),
            body.cmd.map(super::body::Command::words).unwrap_or_default(),
        );
        match entrypoint.as_deref() {
            None => {}
            Some([]) => {}
            Some([only]) if only.is_empty() => b.value("--entrypoint", ""),
            Some([first, rest @ ..]) => {
                b.value("--entrypoint", first);
                command.splice(0..0, rest.iter().cloned());
            }
        }
        b.text("--hostname", body.hostname);
        b.text("--domainname", body.domainname);
        b.text("--user", body.user);
        b.switch("--tty", body.tty);
        b.switch("--interactive", body.open_stdin);
        b.text("--workdir", body.working_dir);
        // A name alone means that the variable is not there.
        let env = body.env.unwrap_or_default().into_iter().filter(|entry| entry.contains('='));
        b.list("--env", Some(env.collect()));
        b.list("--expose", Some(body.exposed_ports.unwrap_or_default().into_keys().collect()));
        b.map("--label", body.labels);
        b.text("--stop-signal", body.stop_signal);
        if let Some(timeout) = body.stop_timeout.filter(|timeout| *timeout >= 0) {
            b.value("--stop-timeout", timeout);
        }
        health(&mut b, body.healthcheck.unwrap_or_default())?;
        let host = body.host_config.unwrap_or_default();
        let networks = body.networking_config.unwrap_or_default().endpoints_config;
        network(
            &mut b,
            host.network_mode.as_deref().unwrap_or_default(),
            networks.unwrap_or_default(),
            body.mac_address,
            body.network_disabled == Some(true),
        )?;
        let mut targets: Vec<String> = Vec::new();
        for bind in host.binds.iter().flatten() {
            targets.extend(bind.split(':').nth(1).map(str::to_owned));
        }
        for mount in host.mounts.iter().flatten() {
            targets.extend(mount.target.clone());
        }
        // The same target twice, as compose writes them: the mount counts.
        let anonymous = body.volumes.unwrap_or_default().into_keys();
        let anonymous = anonymous.filter(|target| !targets.contains(target)).collect();
        host_config(&mut b, host)?;
        b.list("--volume", Some(anonymous));
        b.words.push(image);
        b.words.append(&mut command);
        Ok(Self { all: b.words, _files: b.files })
    }
}

fn health(b: &mut Builder, health: Healthcheck) -> Result<()> {
    let test = health.test.unwrap_or_default();
    match test.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["NONE"] => {
            b.switch("--no-healthcheck", Some(true));
            return Ok(());
        }
        ["CMD-SHELL", command] => b.value("--health-cmd", command),
        ["CMD", words @ ..] => {
            let quote = |word: &&str| format!("'{}'", word.replace('\'', "'\\''"));
            let words: Vec<String> = words.iter().map(quote).collect();
            b.value("--health-cmd", words.join(" "));
        }
        _ => return Err(refused("Healthcheck.Test", "must begin with NONE, CMD or CMD-SHELL")),
    }
    for (flag, nanoseconds) in [
        ("--health-interval", health.interval),
        ("--health-timeout", health.timeout),
        ("--health-start-period", health.start_period),
        ("--health-start-interval", health.start_interval),
    ] {
        if let Some(nanoseconds) = nanoseconds.filter(|value| *value != 0) {
            b.value(flag, format_args!("{nanoseconds}ns"));
        }
    }
    b.number("--health-retries", health.retries);
    Ok(())
}

/// Networks in the order of Docker: the one of the mode first.
fn network(
    b: &mut Builder,
    mode: &str,
    mut endpoints: BTreeMap<String, Option<Endpoint>>,
    mac: Option<String>,
    disabled: bool,
) -> Result<()> {
    let mode = match mode {
        "" | "default" => "bridge",
        other => other,
    };
    if let Some(default) = endpoints.remove("default") {
        endpoints.entry("bridge".to_owned()).or_insert(default);
    }
    if disabled || matches!(mode, "none" | "host") || mode.starts_with("container:") {
        endpoints.remove(mode);
        if let Some(other) = endpoints.keys().next() {
            let why = format!("cannot be combined with the network mode {mode}");
            return Err(refused(&format!("EndpointsConfig[{other}]"), &why));
        }
        b.value("--network", if disabled { "none" } else { mode });
        return Ok(());
    }
    let mut first = endpoints.remove(mode).flatten().unwrap_or_default();
    if let Some(mac) = mac.filter(|mac| !mac.is_empty()) {
        first.mac_address.get_or_insert(mac);
    }
    let attachment = attachment(mode, first)?;
    // Without a word it is the default, also where that is not a bridge.
    let plain = Attachment { network: "bridge".to_owned(), ..Attachment::default() };
    if attachment != plain || !endpoints.is_empty() {
        b.value("--network", husk_net::network_value(&attachment));
    }
    for (name, endpoint) in endpoints {
        let attachment = self::attachment(&name, endpoint.unwrap_or_default())?;
        b.value("--network", husk_net::network_value(&attachment));
    }
    Ok(())
}

/// An endpoint as the engine takes it.
///
/// # Errors
/// What it cannot be.
pub(crate) fn attachment(network: &str, endpoint: Endpoint) -> Result<Attachment> {
    let field = |name: &str| format!("EndpointsConfig[{network}].{name}");
    if endpoint.links.is_some_and(|links| !links.is_empty()) {
        return Err(refused(&field("Links"), "links are not supported; use Aliases"));
    }
    if let Some(option) = endpoint.driver_opts.unwrap_or_default().keys().next() {
        return Err(refused(&field(&format!("DriverOpts[{option}]")), "is not supported"));
    }
    let ipam = endpoint.ipam.unwrap_or_default();
    if ipam.link_local.is_some_and(|list| !list.is_empty()) {
        return Err(refused(&field("IPAMConfig.LinkLocalIPs"), "is not supported"));
    }
    let mut attachment = Attachment { network: network.to_owned(), ..Attachment::default() };
    for (name, text) in [("IPv4Address", ipam.ipv4), ("IPv6Address", ipam.ipv6)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let bad = |_| refused(&field(&format!("IPAMConfig.{name}")), "is not an IP address");
            attachment.addresses.push(text.parse().map_err(bad)?);
        }
    }
    if let Some(mac) = endpoint.mac_address.filter(|mac| !mac.is_empty()) {
        attachment.mac = Some(husk_net::parse_mac(&mac)?);
    }
    // Containers on the default network have no names.
    if network != husk_net::DEFAULT_NETWORK {
        attachment.aliases = endpoint.aliases.unwrap_or_default();
    }
    Ok(attachment)
}

fn host_config(b: &mut Builder, host: HostConfig) -> Result<()> {
    refuse(&host)?;
    b.list("--volume", host.binds);
    let log = host.log_config.unwrap_or_default();
    b.text("--log-driver", log.driver);
    b.map("--log-opt", log.config);
    for (port, bindings) in host.port_bindings.unwrap_or_default() {
        let bindings = bindings.unwrap_or_default();
        if bindings.is_empty() {
            b.value("--publish", &port);
        }
        for binding in bindings {
            let ip = binding.host_ip.unwrap_or_default();
            let outside = binding.host_port.unwrap_or_default();
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
            b.value(
                "--publish",
                match (ip.is_empty(), outside.is_empty()) {
                    (true, true) => port.clone(),
                    (true, false) => format!("{outside}:{port}"),
                    (false, _) => format!("{ip}:{outside}:{port}"),
                },
            );
        }
    }
    let policy = host.restart_policy.unwrap_or_default();
    let retries = policy.maximum_retry_count.filter(|count| *count > 0);
    b.text(
        "--restart",
        policy.name.map(|name| match retries {
            Some(count) => format!("{name}:{count}"),
            None => name,
        }),
    );
    b.switch("--rm", host.auto_remove);
    b.list("--volumes-from", host.volumes_from);
    b.list("--cap-add", host.cap_add);
    b.list("--cap-drop", host.cap_drop);
    b.text("--cgroupns", host.cgroupns_mode);
    b.list("--dns", host.dns);
    b.list("--dns-option", host.dns_options);
    b.list("--dns-search", host.dns_search);
    b.list("--add-host", host.extra_hosts);
    b.list("--group-add", host.group_add);
    b.text("--ipc", host.ipc_mode);
    b.number("--oom-score-adj", host.oom_score_adj);
    b.text("--pid", host.pid_mode);
    b.switch("--privileged", host.privileged);
    b.switch("--publish-all", host.publish_all_ports);
    b.switch("--read-only", host.readonly_rootfs);
    security(b, host.security_opt.unwrap_or_default())?;
    let is_empty = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(Vec::is_empty);
    if is_empty(&host.masked_paths) && is_empty(&host.readonly_paths) {
        b.value("--security-opt", "systempaths=unconfined");
    }
    for (target, options) in host.tmpfs.unwrap_or_default() {
        b.value(
            "--tmpfs",
            match options.is_empty() {
                true => target,
                false => format!("{target}:{options}"),
            },
        );
    }
    b.text("--uts", host.uts_mode);
    b.text("--userns", host.userns_mode);
    b.number("--shm-size", host.shm_size);
    b.map("--sysctl", host.sysctls);
    b.text("--runtime", host.runtime.filter(|name| !matches!(name.as_str(), "husk-oci" | "runc")));
    b.number("--cpu-shares", host.cpu_shares);
    b.number("--memory", host.memory);
    if let Some(nano) = host.nano_cpus.filter(|nano| *nano != 0) {
        b.value("--cpus", format_args!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000));
    }
    b.text("--cgroup-parent", host.cgroup_parent);
    b.number("--blkio-weight", host.blkio_weight.map(i64::from));
    for device in host.blkio_weight_device.unwrap_or_default() {
        b.value("--blkio-weight-device", format_args!("{}:{}", device.path, device.weight));
    }
    for (flag, devices) in [
        ("--device-read-bps", host.blkio_device_read_bps),
        ("--device-write-bps", host.blkio_device_write_bps),
        ("--device-read-iops", host.blkio_device_read_iops),
        ("--device-write-iops", host.blkio_device_write_iops),
    ] {
        for device in devices.unwrap_or_default() {
            b.value(flag, format_args!("{}:{}", device.path, device.rate));
        }
    }
    b.number("--cpu-period", host.cpu_period);
    b.number("--cpu-quota", host.cpu_quota);
    b.number("--cpu-rt-period", host.cpu_realtime_period);
    b.number("--cpu-rt-runtime", host.cpu_realtime_runtime);
    b.text("--cpuset-cpus", host.cpuset_cpus);
    b.text("--cpuset-mems", host.cpuset_mems);
    for device in host.devices.unwrap_or_default() {
        let outside = device.path_on_host;
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let inside = text(device.path_in_container).unwrap_or_else(|| outside.clone());
        let access = text(device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned());
        b.value("--device", format_args!("{outside}:{inside}:{access}"));
    }
    b.list("--device-cgroup-rule", host.device_cgroup_rules);
    b.number("--memory-reservation", host.memory_reservation);
    b.number("--memory-swap", host.memory_swap);
    if let Some(swappiness) = host.memory_swappiness.filter(|value| *value >= 0) {
        b.value("--memory-swappiness", swappiness);
    }
    b.switch("--oom-kill-disable", host.oom_kill_disable);
    b.number("--pids-limit", host.pids_limit);
    for limit in host.ulimits.unwrap_or_default() {
        b.value("--ulimit", format_args!("{}={}:{}", limit.name, limit.soft, limit.hard));
    }
    b.switch("--init", host.init);
    b.map("--annotation", host.annotations);
    for asked in host.mounts.unwrap_or_default() {
        let word = mount(asked)?;
        b.value("--mount", word);
    }
    Ok(())
}

/// The words of `husk update`, without the container's.
///
/// # Errors
/// What cannot be changed.
pub(super) fn of_update(host: HostConfig) -> Result<Vec<String>> {
    let mut b = Builder { words: vec!["update".to_owned()], files: Vec::new() };
    b.number("--cpu-shares", host.cpu_shares);
    b.number("--memory", host.memory);
    b.number("--memory-swap", host.memory_swap);
    b.number("--memory-reservation", host.memory_reservation);
    if let Some(nano) = host.nano_cpus.filter(|nano| *nano != 0) {
        b.value("--cpus", format_args!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000));
    }
    b.number("--cpu-period", host.cpu_period);
    b.number("--cpu-quota", host.cpu_quota);
    b.number("--cpu-rt-period", host.cpu_realtime_period);
    b.number("--cpu-rt-runtime", host.cpu_realtime_runtime);
    b.text("--cpuset-cpus", host.cpuset_cpus);
    b.text("--cpuset-mems", host.cpuset_mems);
    b.number("--pids-limit", host.pids_limit);
    b.number("--blkio-weight", host.blkio_weight.map(i64::from));
    let policy = host.restart_policy.unwrap_or_default();
    let retries = policy.maximum_retry_count.filter(|count| *count > 0);
    b.text(
        "--restart",
        policy.name.map(|name| match retries {
            Some(count) => format!("{name}:{count}"),
            None => name,
        }),
    );
    if host.devices.is_some_and(|devices| !devices.is_empty()) {
        return Err(refused("Devices", "cannot be changed of a container that is there"));
    }
    Ok(b.words)
}

/// What Docker's body can ask for and Husk cannot do.
fn refuse(host: &HostConfig) -> Result<()> {
    let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if is_given(&host.links) {
        return Err(refused("HostConfig.Links", "links are not supported: use a network"));
    }
    if host.device_requests.as_ref().is_some_and(|list| !list.is_empty()) {
        let why = "needs a vendor's hook; name the device nodes in Devices";
        return Err(refused("HostConfig.DeviceRequests", why));
    }
    if host.storage_opt.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(refused("HostConfig.StorageOpt", "needs quotas below overlayfs"));
    }
    let has = |text: &Option<String>, known: &[&str]| {
        text.as_deref().is_some_and(|text| !text.is_empty() && !known.contains(&text))
    };
    if has(&host.volume_driver, &["local"]) {
        return Err(refused("HostConfig.VolumeDriver", "must be local, the only volume driver"));
    }
    if has(&host.isolation, &["default"]) {
        return Err(refused("HostConfig.Isolation", "is for Windows"));
    }
    if has(&host.cgroup, &[]) {
        return Err(refused("HostConfig.Cgroup", "is not supported"));
    }
    if is_given(&host.masked_paths) || is_given(&host.readonly_paths) {
        let why = "must be left out, or both empty for none at all";
        return Err(refused("HostConfig.MaskedPaths and ReadonlyPaths", why));
    }
    Ok(())
}

fn security(b: &mut Builder, options: Vec<String>) -> Result<()> {
    for option in options {
        // The client has read the file; husk reads it again.
        let profile = option.strip_prefix("seccomp=").or_else(|| option.strip_prefix("seccomp:"));
        match profile {
            Some("builtin") => {}
            Some(profile) if profile.trim_start().starts_with('{') => {
                let failed = |error: std::io::Error| Failure::internal(error.to_string());
                let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
                std::io::Write::write_all(&mut file, profile.as_bytes()).map_err(failed)?;
                b.value("--security-opt", format_args!("seccomp={}", file.path().display()));
                b.files.push(file);
            }
            Some(profile) if profile != "unconfined" && !profile.starts_with('+') => {
                let why = "must be unconfined or the profile itself, as JSON";
                return Err(refused("HostConfig.SecurityOpt seccomp", why));
            }
            _ => b.value("--security-opt", &option),
        }
    }
    Ok(())
}

fn mount(mount: Mount) -> Result<String> {
    let kind = mount.kind.unwrap_or_default();
    let (source, target) = (mount.source.unwrap_or_default(), mount.target.unwrap_or_default());
    let field = |name: &str| format!("HostConfig.Mounts[{target}].{name}");
    if source.contains(',') || target.contains(',') {
        return Err(refused(&field("Source"), "a path with a comma cannot be mounted this way"));
    }
    let mut words = vec![format!("type={kind}"), format!("target={target}")];
    if !source.is_empty() {
        words.push(format!("source={source}"));
    }
    if mount.read_only == Some(true) {
        words.push("readonly".to_owned());
    }
    if let Some(consistency) = mount.consistency.filter(|text| !text.is_empty()) {
        words.push(format!("consistency={consistency}"));
    }
    if let ("bind", Some(options)) = (kind.as_str(), mount.bind_options) {
        if let Some(propagation) = options.propagation.filter(|text| !text.is_empty()) {
            words.push(format!("bind-propagation={propagation}"));
        }
        let recursive = if options.non_recursive == Some(true) {
            Some("disabled")
        } else if options.read_only_non_recursive == Some(true) {
            Some("writable")
        } else if options.read_only_force_recursive == Some(true) {
            Some("readonly")
        } else {
            None
        };
        words.extend(recursive.map(|recursive| format!("bind-recursive={recursive}")));
        if options.create_mountpoint == Some(true) && source.starts_with('/') {
            std::fs::create_dir_all(&source).map_err(husk_engine::error::file("make", &source))?;
        }
    }
    if let ("volume", Some(options)) = (kind.as_str(), mount.volume_options) {
        if options.no_copy == Some(true) {
            words.push("volume-nocopy".to_owned());
        }
        if let Some(path) = options.subpath.filter(|path| !path.is_empty()) {
            words.push(format!("volume-subpath={path}"));
        }
        let driver = options.driver_config.unwrap_or_default();
        if driver.name.is_some_and(|name| !name.is_empty() && name != "local")
            || driver.options.is_some_and(|options| !options.is_empty())
        {
            return Err(refused(&field("VolumeOptions.DriverConfig"), "must be local, plain"));
        }
        if options.labels.is_some_and(|labels| !labels.is_empty()) {
            let why = "make the volume first to give it labels";
            return Err(refused(&field("VolumeOptions.Labels"), why));
        }
    }
    if let ("tmpfs", Some(options)) = (kind.as_str(), mount.tmpfs_options) {
        if let Some(size) = options.size_bytes.filter(|size| *size != 0) {
            words.push(format!("tmpfs-size={size}"));
        }
        if let Some(mode) = options.mode.filter(|mode| *mode != 0) {
            words.push(format!("tmpfs-mode={mode:o}"));
        }
        if options.options.is_some_and(|options| !options.is_empty()) {
            return Err(refused(&field("TmpfsOptions.Options"), "is not supported: use Tmpfs"));
        }
    }
    Ok(words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>> {
        let body: Create = serde_json::from_str(text).unwrap();
        Words::of(body, Some("web"), None).map(|words| words.all)
    }

    #[test]
    fn a_body_is_a_command_line() {
        let all = words(
            r#"{"Image":"i","Cmd":["-c","x y"],"Entrypoint":["sh","-e"],"Tty":true,
               "Env":["A=b","GONE"],"Labels":{"l":"v"},"Volumes":{"/a":{},"/d":{}},
               "Healthcheck":{"Test":["CMD","a","it's"],"Interval":1000000000},
               "HostConfig":{"Binds":["/s:/d:ro"],"NanoCpus":1500000000,"MemorySwappiness":-1,
                 "PortBindings":{"80/tcp":[{"HostPort":"8080"},{"HostIp":"::1","HostPort":""}]},
                 "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},
                 "Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":511}}],
                 "MaskedPaths":null,"NetworkMode":"net"},
               "NetworkingConfig":{"EndpointsConfig":{"net":{"Aliases":["w"]},"b":null}}}"#,
        )
        .unwrap();
        let expected = [
            "create",
            "--quiet",
            "--pull=never",
            "--name=web",
            "--entrypoint=sh",
            "--tty",
            "--env=A=b",
            "--label=l=v",
            "--health-cmd='a' 'it'\\''s'",
            "--health-interval=1000000000ns",
            "--network=name=net,alias=w",
            "--network=b",
            "--volume=/s:/d:ro",
            "--publish=8080:80/tcp",
            "--publish=[::1]::80/tcp",
            "--restart=on-failure:3",
            "--cpus=1.500000000",
            "--mount=type=tmpfs,target=/t,tmpfs-mode=777",
            "--volume=/a",
            "i",
            "-e",
            "-c",
            "x y",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn default_and_bridge_are_one() {
        let network = |text: &str| {
            let all = words(text).unwrap();
            all.into_iter().filter(|word| word.starts_with("--network")).collect::<Vec<_>>()
        };
        assert!(network(r#"{"Image":"i","HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{}}}}"#).is_empty());
        assert!(network(r#"{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["x"]}}}}"#).is_empty());
        assert_eq!(
            network(
                r#"{"Image":"i","HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}"#
            ),
            ["--network=host"]
        );
    }

    #[test]
    fn nothing_is_left_out_silently() {
        for (body, field) in [
            (r#""Links":["a:b"]"#, "HostConfig.Links"),
            (r#""DeviceRequests":[{"Count":-1}]"#, "HostConfig.DeviceRequests"),
            (r#""StorageOpt":{"size":"1G"}"#, "HostConfig.StorageOpt"),
            (r#""VolumeDriver":"nfs""#, "HostConfig.VolumeDriver"),
            (r#""MaskedPaths":["/proc/x"]"#, "HostConfig.MaskedPaths"),
            (r#""SecurityOpt":["seccomp=file.json"]"#, "HostConfig.SecurityOpt seccomp"),
        ] {
            let failure =
                words(&format!(r#"{{"Image":"i","HostConfig":{{{body}}}}}"#)).unwrap_err();
            assert!(failure.message.starts_with(field), "{}", failure.message);
            assert_eq!(failure.status, 400);
        }
    }
}
