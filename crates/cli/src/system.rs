//! `system`, `info` and `version`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stats::total_memory;
use super::{output, prune};
use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::error::Result;
use husk_engine::home::Home;
use husk_engine::rootless::is_rootless;
use husk_engine::runtime::Runtime;
use husk_engine::usage;
use husk_engine::volume::{self, Volume};

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum System {
    /// Show how much of the disk is used, and by what
    Df(Df),
    /// Tell of this machine and this engine
    Info(Info),
    /// Remove what is not used
    Prune(prune::Everything),
}

impl System {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Df(df) => df.run(home),
            Self::Info(info) => info.run(home),
            Self::Prune(prune) => prune.run(home),
        }
    }
}

/// `builder`.
#[derive(Debug, Subcommand)]
pub(super) enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<super::build::Build>),
    /// Remove results of build steps
    Prune(prune::Cache),
}

impl Builder {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Build(build) => build.run(home),
            Self::Prune(prune) => prune.run(home),
        }
    }
}

/// `system df`.
#[derive(Debug, Args)]
pub(super) struct Df {
    /// json, or a template such as '{{.Type}} {{.Size}}'
    #[arg(long)]
    format: Option<String>,
}

fn part(kind: &str, total: usize, active: usize, size: u64, reclaimable: u64) -> Value {
    let percent = reclaimable.saturating_mul(100).checked_div(size).unwrap_or(0);
    json!({
        "Type": kind,
        "TotalCount": total.to_string(),
        "Active": active.to_string(),
        "Size": output::size(size),
        "Reclaimable": format!("{} ({percent}%)", output::size(reclaimable)),
    })
}

impl Df {
    fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let used = store.usage()?;
        let pins = store.pins()?;
        let images = store.images()?;
        let pinned = |one: &&husk_image::store::Image| {
            pins.iter().any(|(_, manifest)| *manifest == one.record.manifest)
        };
        let active = images.iter().filter(pinned).count();
        let mut rows = vec![part("Images", images.len(), active, used.images, used.unused)];

        // Changes to the image, and the log.
        let (mut total, mut running, mut size, mut free) = (0, 0, 0, 0);
        for container in Container::all(home)? {
            let bytes = usage::tree(&container.directory);
            total += 1;
            size += bytes;
            match container.state()?.status {
                Status::Running => running += 1,
                _ => free += bytes,
            }
        }
        rows.push(part("Containers", total, running, size, free));

        let (mut total, mut active, mut size, mut free) = (0, 0, 0, 0);
        for volume in Volume::all(home)? {
            let bytes = usage::tree(&volume::data(home, &volume.name));
            total += 1;
            size += bytes;
            match Volume::user(home, &volume.name)? {
                Some(_) => active += 1,
                None => free += bytes,
            }
        }
        rows.push(part("Local Volumes", total, active, size, free));
        let cached = used.steps + usage::tree(&store.cache_mounts());
        rows.push(part("Build Cache", used.step_count, 0, cached, cached));
        if used.partial > 0 {
            rows.push(part("Partial Pulls", 0, 0, used.partial, used.partial));
        }
        let columns = [
            ("TYPE", "Type"),
            ("TOTAL", "TotalCount"),
            ("ACTIVE", "Active"),
            ("SIZE", "Size"),
            ("RECLAIMABLE", "Reclaimable"),
        ];
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}

/// `info`.
#[derive(Debug, Args)]
pub(super) struct Info {
    /// json, or a template such as '{{.Images}}'
    #[arg(short, long)]
    format: Option<String>,
}

impl Info {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let (mut running, mut paused, mut stopped) = (0, 0, 0);
        for container in Container::all(home)? {
            let state = container.state()?;
            match state.status {
                Status::Running if state.paused => paused += 1,
                Status::Running => running += 1,
                _ => stopped += 1,
            }
        }
        let host = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        // The runtime may be missing: this command is where one looks then.
        let runtime = Runtime::find(home).and_then(|runtime| runtime.output(&["--version"]));
        let runtime = match &runtime {
            Ok(said) => said.lines().next().unwrap_or_default().to_owned(),
            Err(error) => error.to_string(),
        };
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let info = json!({
            "Containers": running + paused + stopped,
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": stopped,
            "Images": home.images()?.images()?.len(),
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Driver": "overlay",
            "LoggingDriver": "json-file",
            "CgroupVersion": cgroup_version(),
            "DefaultRuntime": runtime,
            "Rootless": is_rootless(),
            "Root": home.root,
            "RunRoot": home.run,
            "KernelVersion": text(host.release()),
            "OperatingSystem": pretty.unwrap_or_default().trim_matches('"'),
            "OSType": "linux",
            "Architecture": text(host.machine()),
            "Name": text(host.nodename()),
            "NCPU": cpus,
            "MemTotal": total_memory(),
        });
        if let Some(template) = &self.format {
            return output::line(output::format(template, &info)?).map(|()| 0);
        }
        for (key, value) in info.as_object().into_iter().flatten() {
            let value = match (key.as_str(), value) {
                ("MemTotal", Value::Number(bytes)) => output::size(bytes.as_u64().unwrap_or(0)),
                (_, Value::String(text)) => text.clone(),
                (_, other) => other.to_string(),
            };
            output::line(format_args!("{key}: {value}"))?;
        }
        Ok(0)
    }
}

/// 2 where there is nothing but the unified hierarchy, as Docker says it.
fn cgroup_version() -> &'static str {
    match std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => "2",
        false => "1",
    }
}

/// `version`.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// json, or a template such as '{{.Version}}'
    #[arg(short, long)]
    format: Option<String>,
}

impl Version {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let runtime = Runtime::find(home).and_then(|runtime| runtime.output(&["--version"]));
        let runtime = runtime.as_ref().map_or("", |said| said.lines().next().unwrap_or_default());
        let known = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "Runtime": runtime,
            "Os": "linux",
            "Arch": husk_image::platform::Platform::host().architecture,
        });
        match &self.format {
            Some(template) => output::line(output::format(template, &known)?)?,
            None => {
                let version = env!("CARGO_PKG_VERSION");
                let runtime = if runtime.is_empty() { "husk-oci is not here" } else { runtime };
                output::line(format_args!("husk {version}\n{runtime}"))?;
            }
        }
        Ok(0)
    }
}
