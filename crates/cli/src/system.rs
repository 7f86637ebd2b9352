//! `system`, `info` and `version`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{boot, events, output, prune};
use crate::error::{Error, Result};
use crate::template::{Nil, OMITTED, nil};
use husk_engine::home::Home;
use husk_engine::notice::printable;
use husk_engine::system::{self, Share};
use husk_engine::{check, clock, volume};

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum System {
    /// Start the containers that should run, as after a reboot
    Boot(boot::Boot),
    /// Show disk usage
    Df(Df),
    /// Verify records, layers and blobs, and repair what is damaged
    Check(Check),
    /// Get events of the engine as they happen, or those of the past
    Events(events::Events),
    /// Show information about the engine and the host
    Info(Info),
    /// Have systemd run "husk system boot" when the machine starts
    Install(boot::Install),
    /// Remove unused data
    Prune(prune::Everything),
    /// Connect standard input and output to the socket of husk serve, for docker -H ssh://HOST
    DialStdio(super::dial_stdio::DialStdio),
}

impl System {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Boot(boot) => boot.run(home),
            Self::Install(install) => install.run(home),
            Self::Df(df) => df.run(home),
            Self::Check(check) => check.run(home),
            Self::Events(events) => events.run(home),
            Self::Info(info) => info.run(home),
            Self::Prune(prune) => prune.run(home),
            Self::DialStdio(dial) => dial.run(),
        }
    }
}

/// `builder`.
#[derive(Debug, Subcommand)]
pub(super) enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<super::build::Build>),
    /// Remove the build cache
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
    /// Format output as json, or by a Go template such as '{{.Type}} {{.Size}}'
    #[arg(long)]
    format: Option<String>,
    /// List each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

fn part(kind: &str, share: Share) -> Value {
    let freed = output::size(share.reclaimable);
    json!({
        "Type": kind,
        "TotalCount": share.total.to_string(),
        "Active": share.active.to_string(),
        "Size": output::size(share.size),
        "Reclaimable": match share.reclaimable.saturating_mul(100).checked_div(share.size) {
            Some(percent) if kind != "Build Cache" => format!("{freed} ({percent}%)"),
            _ => freed,
        },
    })
}

impl Df {
    fn run(&self, home: &Home) -> Result<u8> {
        if self.verbose {
            return self.list(home);
        }
        let used = system::disk_usage(home)?;
        let mut rows = vec![
            part("Images", used.images),
            part("Containers", used.containers),
            part("Local Volumes", used.volumes),
            part("Build Cache", used.build_cache),
        ];
        if used.partial_pulls.size > 0 {
            rows.push(part("Partial Pulls", used.partial_pulls));
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

impl Df {
    /// `-v`.
    fn list(&self, home: &Home) -> Result<u8> {
        if self.format.is_some() {
            return Err(Error::other("--format cannot be combined with --verbose"));
        }
        let text = |row: &Value, field: &str| {
            row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let table = |title: &str, columns: &[(&str, &str)], rows: &[Value]| {
            output::print(&format!("{title}\n\n"))?;
            let header: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
            let cells = |row: &Value| columns.iter().map(|(_, field)| text(row, field)).collect();
            output::table(&header, &rows.iter().map(cells).collect::<Vec<Vec<String>>>())?;
            output::print("\n")
        };
        let images = super::image::usage(home)?;
        table("Images space usage:", &IMAGE_USAGE, &images)?;
        let containers = super::listing::usage(home)?;
        table("Containers space usage:", &CONTAINER_USAGE, &containers)?;
        let mut volumes = Vec::new();
        for one in volume::usage(home)? {
            volumes.push(json!({
                "Name": one.volume.name,
                "Links": one.links.to_string(),
                "Size": output::size(one.size),
            }));
        }
        let columns = [("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];
        table("Local Volumes space usage:", &columns, &volumes)?;
        let cached = system::disk_usage(home)?.build_cache.size;
        output::line(format_args!("Build cache usage: {}", output::size(cached))).map(|()| 0)
    }
}

const IMAGE_USAGE: [(&str, &str); 8] = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
];
const CONTAINER_USAGE: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
];

/// `system check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Repair what can be derived again, and remove records and blobs that are of no use
    #[arg(long)]
    repair: bool,
    /// Verify records and blobs only, not the files of unpacked layers
    #[arg(long)]
    quick: bool,
}

impl Check {
    /// Exits with 1 where something is still damaged in the end.
    fn run(&self, home: &Home) -> Result<u8> {
        let options = check::Options { repair: self.repair, layers: !self.quick };
        let (mut found, mut standing) = (0, 0);
        check::check(home, options, &mut |finding| {
            found += 1;
            standing += u32::from(finding.stands());
            let outcome = match &finding.repaired {
                Some(Ok(())) => "repaired".to_owned(),
                Some(Err(error)) => format!("not repaired: {error}; {}", finding.remedy),
                None => finding.remedy.clone(),
            };
            let text = format!("{}: {}: {outcome}", finding.object, finding.problem);
            Ok(output::line(printable(&text))?)
        })?;
        let summary = match (found, standing) {
            (0, _) => "no damage found".to_owned(),
            (_, 0) => format!("{found} damaged, all repaired"),
            (_, _) if self.repair => format!("{found} damaged, {standing} not repaired"),
            _ => format!("{found} damaged (\"husk system check --repair\" repairs what it can)"),
        };
        output::line(summary)?;
        Ok(u8::from(standing > 0))
    }
}

/// `info`.
#[derive(Debug, Args)]
pub(super) struct Info {
    /// Format output as json, table, or by a Go template such as '{{.Images}}'
    #[arg(short, long)]
    format: Option<String>,
}

impl Info {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let known = system::info(home)?;
        // The runtime may be missing: this command is where one looks then.
        let runtime = known.version.runtime.clone().or(known.runtime_problem);
        let mut info = json!({
            "Containers": known.running + known.paused + known.stopped,
            "ContainersRunning": known.running,
            "ContainersPaused": known.paused,
            "ContainersStopped": known.stopped,
            "Images": known.images,
            "ServerVersion": known.version.engine,
            "Driver": "overlay",
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": known.cgroup_version.to_string(),
            "SecurityOptions": known.security_options,
            "DockerRootDir": home.root,
            "Runtimes": { "husk-oci": { "path": known.runtime_path } },
            "DefaultRuntime": "husk-oci",
            "RuntimeVersion": runtime,
        });
        // Two literals: one is too long for the macro.
        let more = json!({
            "ID": "",
            "Debug": false,
            "ExperimentalBuild": false,
            "LiveRestoreEnabled": true,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "Labels": [],
            "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
            "InitBinary": "husk",
            "Isolation": "",
            "OSVersion": "",
            "Plugins": {
                "Volume": ["local"], "Network": ["bridge", "host", "null"],
                "Authorization": nil(Nil::List), "Log": ["json-file", "none"],
            },
            "Swarm": { "LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": false },
            "SystemTime": clock::timestamp(),
            "MemoryLimit": known.limits_memory,
            "SwapLimit": known.limits_swap,
            "PidsLimit": known.limits_pids,
            "CPUShares": known.limits_cpu,
            "CPUSet": known.limits_cpuset,
            "Warnings": nil(Nil::List),
            "Rootless": known.rootless,
            "Root": home.root,
            "RunRoot": home.run,
            "KernelVersion": known.version.kernel,
            "OperatingSystem": known.operating_system,
            "OSType": "linux",
            "Architecture": known.architecture,
            "Name": known.hostname,
            "NCPU": known.cpus,
            "MemTotal": known.memory,
        });
        if let (Some(info), Value::Object(more)) = (info.as_object_mut(), more) {
            info.extend(more);
        }
        if let Some(template) = &self.format {
            output::check(template)?;
            return output::line(output::format(template, &info)?).map(|()| 0);
        }
        print_info(&info)
    }
}

/// The lines of `info` that Docker has, in its order.
const INFO: [(&str, &str); 21] = [
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Runtime Version", "RuntimeVersion"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Root", "Root"),
    ("Runroot", "RunRoot"),
    ("Rootless", "Rootless"),
    ("Debug Mode", "Debug"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
];

fn print_info(info: &Value) -> Result<u8> {
    let text = |field: &str| match info.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Some(Value::Number(bytes)) if field == "MemTotal" => {
            super::stats::binary(bytes.as_u64().unwrap_or(0))
        }
        Some(other) => other.to_string(),
        None => String::new(),
    };
    output::line(format_args!("Containers: {}", text("Containers")))?;
    for word in ["Running", "Paused", "Stopped"] {
        output::line(format_args!(" {word}: {}", text(&format!("Containers{word}"))))?;
    }
    output::line(format_args!("Images: {}", text("Images")))?;
    for (title, field) in INFO {
        output::line(format_args!("{title}: {}", text(field)))?;
    }
    Ok(0)
}

/// `version`.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// Format output as json, table, or by a Go template such as '{{.Version}}'
    #[arg(short, long)]
    format: Option<String>,
}

impl Version {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let versions = system::version(home);
        let runtime = versions.runtime.as_deref().unwrap_or_default();
        let (version, arch) = (versions.engine, &versions.architecture);
        // Of what Docker's document has beside these, nothing is known here.
        let unknown =
            json!({ "GitCommit": "", "GoVersion": "", "BuildTime": "", "ApiVersion": "" });
        let known = json!({
            "Version": version,
            "Runtime": runtime,
            "Os": "linux",
            "Arch": arch,
            "Client": {
                "Version": version, "Os": "linux", "Arch": arch, "Context": "default",
                OMITTED: unknown,
            },
            "Server": {
                "Version": version, "Os": "linux", "Arch": arch,
                "KernelVersion": versions.kernel,
                "Components": [
                    { "Name": "Engine", "Version": version },
                    { "Name": "husk-oci", "Version": versions.runtime_number() },
                ],
                OMITTED: unknown,
            },
        });
        match &self.format {
            Some(template) => {
                output::check(template)?;
                output::line(output::format(template, &known)?)?;
            }
            None => {
                let runtime = if runtime.is_empty() { "husk-oci was not found" } else { runtime };
                output::line(format_args!("husk {version}\n{runtime}"))?;
            }
        }
        Ok(0)
    }
}
