//! `ps`, `ls`, `images`, `volumes`, `port`, `version`.

use std::collections::{BTreeMap, BTreeSet};

use husk_engine::container::state::Status;
use husk_engine::home::Home;
use husk_engine::volume::Volume;
use serde_json::{Value as Json, json};

use crate::arguments::{Images, Ls, Port, Ps, Version};
use crate::project::Failure;
use crate::run::{print, table};
use crate::session::{Found, LABEL, Session, containers, engine};

/// A status in Docker's words.
fn status(one: &Found) -> &'static str {
    match (one.status, one.paused) {
        (_, true) => "paused",
        (Status::Created, _) => "created",
        (Status::Exited, _) => "exited",
        _ => "running",
    }
}

fn format(format: &str) -> Result<bool, Failure> {
    match format {
        "table" | "pretty" => Ok(false),
        "json" => Ok(true),
        other => Err(format!("--format {other:?}: must be table or json")),
    }
}

impl Session<'_> {
    /// `ps`.
    pub(crate) fn ps(&self, ps: &Ps) -> Result<u8, Failure> {
        let as_json = format(&ps.format)?;
        let mut wanted = ps.status.clone();
        if let Some(filter) = &ps.filter {
            match filter.split_once('=') {
                Some(("status", value)) => wanted.push(value.to_owned()),
                _ => return Err(format!("--filter {filter:?}: must be status=STATUS")),
            }
        }
        let known = self.known();
        let mut found = self.containers_of(&ps.names, ps.all)?;
        found.retain(|one| {
            let shown = ps.all || !wanted.is_empty() || one.existing.running;
            let own = ps.orphans || known.is_empty() || known.contains(&one.existing.service);
            shown
                && own
                && (wanted.is_empty() || wanted.iter().any(|one_status| one_status == status(one)))
        });
        if ps.quiet {
            found.iter().for_each(|one| print(&format!("{}\n", one.existing.id)));
            return Ok(0);
        }
        if ps.services {
            let names: BTreeSet<&String> = found.iter().map(|one| &one.existing.service).collect();
            names.into_iter().for_each(|name| print(&format!("{name}\n")));
            return Ok(0);
        }
        let described = self.described()?;
        if as_json {
            for one in &found {
                let mut shown =
                    described.get(&one.existing.id).cloned().unwrap_or_else(|| json!({}));
                shown["ID"] = one.existing.id.chars().take(12).collect::<String>().into();
                shown["Name"] = one.existing.name.clone().into();
                shown["Project"] = self.project.name.clone().into();
                shown["Service"] = one.existing.service.clone().into();
                shown["State"] = status(one).into();
                shown["ExitCode"] = one.exit_code.into();
                if shown.get("Health").is_none() {
                    shown["Health"] = "".into();
                }
                print(&format!("{shown}\n"));
            }
            return Ok(0);
        }
        let mut rows = vec![
            ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for one in &found {
            let text = |key: &str| {
                let shown = described.get(&one.existing.id).and_then(|shown| shown[key].as_str());
                shown.unwrap_or_default().to_owned()
            };
            let command = match ps.no_trunc {
                true => format!("\"{}\"", one.container.record.config.args.join(" ")),
                false => text("Command"),
            };
            rows.push(vec![
                one.existing.name.clone(),
                one.container.record.image.clone(),
                command,
                one.existing.service.clone(),
                text("RunningFor"),
                text("Status"),
                text("Ports"),
            ]);
        }
        print(&table(&rows));
        Ok(0)
    }

    /// What `husk ps` says of each container of the project, by id.
    fn described(&self) -> Result<BTreeMap<String, Json>, Failure> {
        let filter = format!("--filter=label={LABEL}project={}", self.project.name);
        let printed = self.husk.output(&["ps", "--all", "--no-trunc", "--format=json", &filter])?;
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        Ok(lines.filter_map(|one| Some((one["ID"].as_str()?.to_owned(), one))).collect())
    }

    /// `images`.
    pub(crate) fn images_of(&self, images: &Images) -> Result<u8, Failure> {
        let as_json = format(&images.format)?;
        let found = self.containers_of(&images.services, false)?;
        let store = self.home.images().map_err(engine)?;
        let mut rows = vec![
            ["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID"].map(str::to_owned).to_vec(),
        ];
        let mut list = Vec::new();
        let mut ids = BTreeSet::new();
        for one in &found {
            let reference = &one.container.record.image;
            let (name, tag) = match reference.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, tag),
                _ => (reference.as_str(), "latest"),
            };
            let platform = store
                .find(reference)
                .map_or_else(|_| String::new(), |image| image.platform.to_string());
            let id = one.existing.image.trim_start_matches("sha256:").to_owned();
            let short: String = id.chars().take(12).collect();
            list.push(json!({
                "ID": one.existing.image, "ContainerName": one.existing.name, "Repository": name, "Tag": tag,
                "Platform": platform,
            }));
            rows.push(vec![
                one.existing.name.clone(),
                name.to_owned(),
                tag.to_owned(),
                platform,
                short,
            ]);
            ids.insert(id);
        }
        match (images.quiet, as_json) {
            (true, _) => ids.iter().for_each(|id| print(&format!("{id}\n"))),
            (false, true) => print(&format!("{}\n", Json::Array(list))),
            (false, false) => print(&table(&rows)),
        }
        Ok(0)
    }

    /// `volumes`.
    pub(crate) fn volumes(&self, volumes: &Images) -> Result<u8, Failure> {
        use husk_engine::container::config::Mount;
        let as_json = format(&volumes.format)?;
        let found = self.containers_of(&volumes.services, false)?;
        let used = |name: &String| {
            found.iter().any(|one| {
                let mut mounts = one.container.record.config.mounts.iter();
                mounts.any(|mount| matches!(mount, Mount::Volume { name: own, .. } if own == name))
            })
        };
        let label = format!("{LABEL}project");
        let mut rows = vec![["DRIVER", "VOLUME NAME"].map(str::to_owned).to_vec()];
        for volume in Volume::all(self.home).map_err(engine)? {
            let own = volume.labels.get(&label) == Some(&self.project.name);
            let shown = if volumes.services.is_empty() {
                own || used(&volume.name)
            } else {
                used(&volume.name)
            };
            if !shown {
                continue;
            }
            match (volumes.quiet, as_json) {
                (true, _) => print(&format!("{}\n", volume.name)),
                (false, true) => {
                    print(&format!("{}\n", json!({"Driver": "local", "Name": volume.name})));
                }
                (false, false) => rows.push(vec!["local".to_owned(), volume.name.clone()]),
            }
        }
        if !volumes.quiet && !as_json {
            print(&table(&rows));
        }
        Ok(0)
    }

    /// `port`.
    pub(crate) fn port(&self, port: &Port) -> Result<u8, Failure> {
        let one = self.one_of(&port.service, port.index)?;
        let wanted = format!("{}/{}", port.port, port.protocol);
        let printed = self.husk.output(&["port", &one.existing.id, &wanted])?;
        print(printed.lines().next().map(|line| format!("{line}\n")).unwrap_or_default().as_str());
        Ok(0)
    }
}

/// `ls`.
pub(crate) fn ls(home: &Home, ls: &Ls) -> Result<u8, Failure> {
    let as_json = format(&ls.format)?;
    let mut words = Vec::new();
    for filter in &ls.filter {
        match filter.split_once('=') {
            Some(("name", text)) => words.push(text.to_owned()),
            _ => return Err(format!("--filter {filter:?}: must be name=TEXT")),
        }
    }
    let mut projects: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for one in containers(home, None)? {
        projects.entry(one.project.clone()).or_default().push(one);
    }
    projects.retain(|name, found| {
        let named = words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
        named && (ls.all || found.iter().any(|one| one.existing.running))
    });
    let mut rows = vec![["NAME", "STATUS", "CONFIG FILES"].map(str::to_owned).to_vec()];
    for (name, found) in &projects {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for one in found {
            if ls.all || one.existing.running {
                *counts.entry(status(one)).or_default() += 1;
            }
        }
        let counts: Vec<String> =
            counts.iter().map(|(status, count)| format!("{status}({count})")).collect();
        let files: BTreeSet<&str> =
            found.iter().map(|one| one.label("project.config_files")).collect();
        let files: Vec<&str> = files.into_iter().collect();
        rows.push(vec![name.clone(), counts.join(", "), files.join(",")]);
    }
    if ls.quiet {
        projects.keys().for_each(|name| print(&format!("{name}\n")));
    } else if as_json {
        let shown = rows
            .iter()
            .skip(1)
            .map(|row| json!({"Name": row[0], "Status": row[1], "ConfigFiles": row[2]}));
        print(&format!("{}\n", Json::Array(shown.collect())));
    } else {
        print(&table(&rows));
    }
    Ok(0)
}

/// `version`.
pub(crate) fn version(version: &Version) -> Result<u8, Failure> {
    let number = env!("CARGO_PKG_VERSION");
    match (version.short, version.format.as_str()) {
        (true, _) => print(&format!("{number}\n")),
        (false, "json") => print(&format!("{}\n", json!({"version": number}))),
        (false, "pretty" | "") => print(&format!("Husk Compose version {number}\n")),
        (false, other) => return Err(format!("--format {other:?}: must be pretty or json")),
    }
    Ok(0)
}
