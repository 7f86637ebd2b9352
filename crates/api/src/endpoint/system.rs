//! `_ping`, `version`, `info`, `auth` and `system/df`.

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::rootless::is_rootless;
use husk_image::registry::{Client, ClientOptions, Credentials, RegistryError};
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, PRAGMA};
use hyper::{Method, StatusCode};
use rustix::system::uname;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Call, NEWEST, OLDEST};
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::route::VERSION;
use crate::service::{Service, Shared};

/// `GET` and `HEAD /_ping`.
///
/// # Errors
/// None.
pub(crate) fn ping(method: &Method) -> Result<Reply> {
    let body = if *method == Method::HEAD { "" } else { "OK" };
    let mut answer = reply::text("text/plain; charset=utf-8", body);
    let headers = answer.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(CACHE_CONTROL, "no-cache, no-store, must-revalidate");
    put(PRAGMA, "no-cache");
    // The classic builder's requests: BuildKit's are refused.
    put(HeaderName::from_static("builder-version"), "1");
    put(HeaderName::from_static("swarm"), "inactive");
    if *method == Method::HEAD {
        put(CONTENT_LENGTH, "0");
    }
    Ok(answer)
}

/// The machine as Go names it.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn kernel() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// `GET /version`.
///
/// # Errors
/// None.
pub(crate) async fn version(service: &Shared) -> Result<Reply> {
    let husk = env!("CARGO_PKG_VERSION");
    let (api, oldest) =
        (format!("{}.{}", NEWEST.0, NEWEST.1), format!("{}.{}", OLDEST.0, OLDEST.1));
    let details = json!({
        "ApiVersion": api,
        "Arch": go_architecture(),
        "BuildTime": "",
        "Experimental": "true",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": kernel(),
        "MinAPIVersion": oldest,
        "Os": "linux",
    });
    let runtime = service
        .blocking(|service| {
            let runtime = husk_engine::runtime::Runtime::find(&service.home)?;
            Ok(runtime.output(&["--version"])?)
        })
        .await
        .unwrap_or_default();
    let runtime = runtime.split_whitespace().nth(2).unwrap_or(husk).to_owned();
    reply::json(&json!({
        "Platform": { "Name": format!("Husk {husk}") },
        "Components": [
            { "Name": "Engine", "Version": VERSION, "Details": details },
            { "Name": "husk-oci", "Version": runtime, "Details": { "GitCommit": "" } },
        ],
        "Version": VERSION,
        "ApiVersion": api,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": go_architecture(),
        "KernelVersion": kernel(),
        "BuildTime": "",
    }))
}

/// `GET /info`.
///
/// # Errors
/// What cannot be read.
pub(crate) async fn info(service: &Shared) -> Result<Reply> {
    let info = service.blocking(describe).await?;
    reply::json(&info)
}

fn describe(service: &Service) -> Result<Value> {
    let home = &service.home;
    let (all, damaged) = Container::survey(home)?;
    let (mut running, mut paused, mut stopped) = (0, 0, damaged.len());
    let mut warnings: Vec<String> =
        damaged.iter().map(|(id, error)| format!("WARNING: container {id}: {error}")).collect();
    for container in all.iter().filter(|one| service.sees(one)) {
        match container.state() {
            Ok(state) if state.paused => paused += 1,
            Ok(state) if state.status == Status::Running => running += 1,
            _ => stopped += 1,
        }
    }
    if !husk_engine::rootless::has_cgroups() {
        warnings
            .push("WARNING: no cgroup is delegated: limits of containers are refused".to_owned());
    }
    let images = home.images()?.images()?.len();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut security = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
    if std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        security.insert(0, "name=apparmor");
    }
    if is_rootless() {
        security.push("name=rootless");
    }
    let limits = husk_engine::rootless::has_cgroups();
    let (os, os_version) = operating_system();
    let names = uname();
    Ok(json!({
        "ID": service.id,
        "Containers": running + paused + stopped,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": images,
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", backing(home)],
            ["Supports d_type", "true"],
            ["Using metacopy", "false"],
            ["Native Overlay Diff", "true"],
            ["userxattr", is_rootless().to_string()],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file", "none"],
        },
        "MemoryLimit": limits,
        "SwapLimit": limits,
        "CpuCfsPeriod": limits,
        "CpuCfsQuota": limits,
        "CPUShares": limits,
        "CPUSet": limits,
        "PidsLimit": limits,
        "IPv4Forwarding": flag("/proc/sys/net/ipv4/ip_forward"),
        "Debug": false,
        "NFd": std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        "OomKillDisable": !unified,
        "NGoroutines": 0,
        "SystemTime": husk_engine::clock::timestamp(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified { "2" } else { "1" },
        "NEventsListener": 0,
        "KernelVersion": kernel(),
        "OperatingSystem": os,
        "OSVersion": os_version,
        "OSType": "linux",
        "Architecture": names.machine().to_string_lossy(),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": null,
            "AllowNondistributableArtifactsHostnames": null,
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": {
                    "Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true,
                },
            },
            "Mirrors": null,
        },
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": memory(),
        "GenericResources": null,
        "DockerRootDir": home.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": names.nodename().to_string_lossy(),
        "Labels": [],
        "ExperimentalBuild": true,
        "ServerVersion": VERSION,
        "Runtimes": { "husk-oci": { "path": "husk-oci" } },
        "DefaultRuntime": "husk-oci",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        // Containers live on without any daemon.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "husk-init",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": security,
        "CDISpecDirs": [],
        "DiscoveredDevices": [],
        "Warnings": match warnings.is_empty() {
            true => Value::Null,
            false => json!(warnings),
        },
    }))
}

fn flag(path: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// Bytes (proc_meminfo(5)).
pub(super) fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Name and version (os-release(5)).
fn operating_system() -> (String, String) {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let name = value("PRETTY_NAME");
    (if name.is_empty() { "Linux".to_owned() } else { name }, value("VERSION_ID"))
}

/// The type of the file system that images are on (proc_self_mountinfo(5)).
fn backing(home: &husk_engine::home::Home) -> String {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut best = (0, String::from("unknown"));
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else {
            continue;
        };
        if home.root.starts_with(point) && point.len() >= best.0 {
            best = (point.len(), kind.to_owned());
        }
    }
    best.1
}

/// The body of `POST /auth`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    username: Option<String>,
    password: Option<String>,
    serveraddress: Option<String>,
    identitytoken: Option<String>,
}

/// `POST /auth`.
///
/// # Errors
/// What the registry refuses.
pub(crate) async fn auth(service: Shared, mut call: Call) -> Result<Reply> {
    let login: Login = call.json().await?;
    if login.identitytoken.is_some_and(|token| !token.is_empty()) {
        return Err(Failure::not_implemented("identity tokens are not supported"));
    }
    let server = registry_name(login.serveraddress.as_deref().unwrap_or_default()).to_owned();
    let credentials = Credentials::Password {
        user: login.username.unwrap_or_default(),
        password: login.password.unwrap_or_default(),
    };
    let options = ClientOptions { credentials: Some(credentials), ..ClientOptions::default() };
    service
        .blocking(move |_| match Client::of_registry(&server, options).check_login() {
            Err(RegistryError::Denied { .. }) => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                format!(
                    "Get \"https://{server}/v2/\": unauthorized: incorrect username or password"
                ),
            )),
            other => Ok(other.map_err(husk_engine::error::Error::from)?),
        })
        .await?;
    reply::json(&json!({ "IdentityToken": "", "Status": "Login Succeeded" }))
}

/// A registry as credentials name it: by its address, or Docker's by the name it once had.
pub(crate) fn registry_name(address: &str) -> &str {
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let host = host.unwrap_or(address).split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// `GET /system/df`.
///
/// # Errors
/// What cannot be read.
pub(crate) async fn usage(service: Shared, call: Call) -> Result<Reply> {
    let kinds: Vec<String> = call.query.all("type").map(str::to_owned).collect();
    const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];
    if let Some(other) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Failure::invalid(format!("unknown object type: {other}")));
    }
    let document = service.blocking(move |service| disk(service, &kinds)).await?;
    reply::json(&document)
}

fn disk(service: &Service, kinds: &[String]) -> Result<Value> {
    let home = &service.home;
    let wants = |kind: &str| kinds.is_empty() || kinds.iter().any(|one| one == kind);
    let store = home.images()?;
    let used = store.usage()?;
    let mut document = json!({
        "LayersSize": used.images, "Images": null, "Containers": null, "Volumes": null,
        "BuildCache": null,
    });
    if wants("image") {
        document["Images"] = super::image::usage(service)?.into();
    }
    let containers = Container::survey(home)?.0;
    if wants("container") {
        document["Containers"] = super::list::usage(service, &containers)?.into();
    }
    if wants("volume") {
        let mut volumes = Vec::new();
        for volume in husk_engine::volume::Volume::all(home)? {
            let users = containers.iter().filter(|one| {
                one.record.config.mounts.iter().any(|mount| mount.source() == volume.name)
            });
            let mut row = super::volume::document(service, &volume);
            let data = husk_engine::volume::data(home, &volume.name);
            row["UsageData"] =
                json!({ "RefCount": users.count(), "Size": husk_engine::usage::tree(&data) });
            volumes.push(row);
        }
        document["Volumes"] = volumes.into();
    }
    if wants("build-cache") {
        // One for all: steps have no lives of their own.
        document["BuildCache"] = match used.steps {
            0 => json!([]),
            size => json!([{
                "ID": "husk", "Type": "regular", "Description": "steps of builds",
                "InUse": false, "Shared": false, "Size": size, "UsageCount": used.step_count,
                "CreatedAt": "0001-01-01T00:00:00Z", "LastUsedAt": null,
            }]),
        };
    }
    Ok(document)
}
