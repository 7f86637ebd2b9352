//! A project and the engine that runs it: what is there, and what is said.

use std::collections::{BTreeMap, BTreeSet};

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::home::Home;

use crate::hash::service_hash;
use crate::husk::Husk;
use crate::node::Node;
use crate::plan::{Existing, Wanted};
use crate::project::{Failure, Project};
use crate::refuse::refusals;
use crate::run::note;
use crate::source::{Mistakes, Severity};
use crate::words::shares;

/// The prefix of every label.
pub(crate) const LABEL: &str = "com.docker.compose.";

/// A container of a project.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) existing: Existing,
    pub(crate) project: String,
    pub(crate) one_off: bool,
    pub(crate) status: Status,
    pub(crate) paused: bool,
    pub(crate) exit_code: i32,
    pub(crate) container: Container,
}

impl Found {
    /// A label of compose's.
    pub(crate) fn label(&self, name: &str) -> &str {
        let label = self.container.record.config.labels.get(&format!("{LABEL}{name}"));
        label.map_or("", String::as_str)
    }

    /// The name without the project's: what logs are prefixed with.
    pub(crate) fn short_name(&self) -> &str {
        let name = self.existing.name.as_str();
        name.strip_prefix(&self.project).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name)
    }
}

/// What the engine says of a failure.
pub(crate) fn engine(error: husk_engine::error::Error) -> Failure {
    husk_engine::notice::without_errno(&error.to_string())
}

/// Every container that compose made, by name; of one project where that is given.
pub(crate) fn containers(home: &Home, project: Option<&str>) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for container in Container::all(home).map_err(engine)? {
        let label = |name: &str| {
            let label = container.record.config.labels.get(&format!("{LABEL}{name}"));
            label.cloned().unwrap_or_default()
        };
        let own = label("project");
        if own.is_empty() || project.is_some_and(|project| project != own) {
            continue;
        }
        // One that is removed meanwhile is none.
        let Ok(state) = container.state() else { continue };
        found.push(Found {
            existing: Existing {
                id: container.id().to_owned(),
                name: container.record.name.clone(),
                service: label("service"),
                number: label("container-number").parse().unwrap_or(1),
                hash: label("config-hash"),
                image: label("image"),
                running: state.status != Status::Created && state.status != Status::Exited,
            },
            project: own,
            one_off: label("oneoff") == "True",
            status: state.status,
            paused: state.paused,
            exit_code: state.exit_code,
            container,
        });
    }
    found.sort_by(|a, b| {
        let key = |one: &Found| {
            (one.existing.service.clone(), one.existing.number, one.existing.name.clone())
        };
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// A project with the engine.
pub(crate) struct Session<'a> {
    pub(crate) home: &'a Home,
    pub(crate) husk: Husk<'a>,
    pub(crate) project: Project,
    /// How much is done at once.
    pub(crate) limit: usize,
    pub(crate) dry_run: bool,
    pub(crate) quiet: bool,
    pub(crate) color: bool,
}

impl Session<'_> {
    /// Says what was done with an object, as docker compose does.
    pub(crate) fn done(&self, kind: &str, name: &str, what: &str) {
        if !self.quiet {
            note(Severity::Remark, &format!(" {kind} {name}  {what}"));
        }
    }

    /// The containers of the project, without those of `run` unless they are asked for.
    pub(crate) fn containers(&self, one_off: bool) -> Result<Vec<Found>, Failure> {
        let mut found = containers(self.home, Some(&self.project.name))?;
        found.retain(|one| one_off || !one.one_off);
        Ok(found)
    }

    /// The containers of these services; of all where none is named.
    pub(crate) fn containers_of(
        &self,
        names: &[String],
        one_off: bool,
    ) -> Result<Vec<Found>, Failure> {
        let mut found = self.containers(one_off)?;
        let known = |name: &String| {
            self.project.all_services.contains_key(name)
                || found.iter().any(|one| one.existing.service == *name)
        };
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            let hint = crate::normalize::hint(unknown, self.project.all_services.keys());
            return Err(format!("no such service: {unknown}{hint}"));
        }
        found.retain(|one| names.is_empty() || names.contains(&one.existing.service));
        Ok(found)
    }

    /// The running container of a service with that number, or its first.
    pub(crate) fn one_of(&self, service: &str, index: Option<usize>) -> Result<Found, Failure> {
        let found = self.containers_of(&[service.to_owned()], false)?;
        let wanted = |one: &Found| index.is_none_or(|index| one.existing.number == index);
        match found.into_iter().find(wanted) {
            Some(one) => Ok(one),
            None => Err(match index {
                Some(index) => format!("service {service:?} has no container {index}"),
                None => format!(
                    "service {service:?} has no container: start it with \"husk compose up\""
                ),
            }),
        }
    }

    /// Refuses what the engine cannot do, all of it at once; tells what is not used.
    ///
    /// # Errors
    /// Every such key with its place.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        let (mut refused, told) = refusals(&self.project);
        refused.extend(self.ports_given_twice());
        if refused.is_empty() {
            for one in told {
                note(Severity::Warning, &one.line(&self.project.sources));
            }
            return Ok(());
        }
        Err(Mistakes { list: refused }.show(&self.project.sources))
    }

    /// Two containers cannot have one port of the host.
    fn ports_given_twice(&self) -> Vec<crate::source::Diagnostic> {
        let mut seen: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
        let mut found = Vec::new();
        for (name, service) in self.project.section("services") {
            for (index, port) in
                service.get("ports").and_then(Node::as_list).unwrap_or_default().iter().enumerate()
            {
                let text =
                    |key: &str| port.get(key).and_then(Node::scalar_text).unwrap_or_default();
                let published = text("published");
                if published.is_empty() || published == "0" || published.contains('-') {
                    continue;
                }
                let path = format!("services.{name}.ports[{index}]");
                let key = (published.clone(), text("protocol"));
                let any = |host: &str| host.is_empty() || host == "0.0.0.0" || host == "::";
                match seen.get(&key) {
                    Some((host, first))
                        if any(host) || any(&text("host_ip")) || *host == text("host_ip") =>
                    {
                        let message = format!(
                            "the port {published} of the host is published by {first} already"
                        );
                        found.push(crate::source::Diagnostic::new(port.place, &path, message));
                    }
                    _ => {
                        seen.insert(key, (text("host_ip"), path));
                    }
                }
            }
        }
        found
    }

    /// What each service waits for.
    pub(crate) fn graph(&self) -> BTreeMap<String, Vec<String>> {
        let services = self.project.section("services");
        services.iter().map(|(name, service)| (name.clone(), dependencies(service))).collect()
    }

    /// The services as the planner takes them.
    pub(crate) fn wanted(&self, scale: &BTreeMap<String, usize>) -> Vec<Wanted> {
        let store = self.home.images().ok();
        let services = self.project.section("services");
        let one = |(name, service): (&String, &Node)| {
            let depends = service.get("depends_on").and_then(Node::as_map);
            let restarts = depends
                .into_iter()
                .flatten()
                .filter(|(_, one)| one.get("restart").and_then(Node::as_bool) == Some(true));
            let own = crate::check::scale_of(service)
                .map_or(1, |(_, count)| usize::try_from(count).unwrap_or(0));
            let image = self.project.image_of(name, service);
            Wanted {
                name: name.clone(),
                scale: scale.get(name).copied().unwrap_or(own),
                hash: service_hash(service),
                image: store
                    .as_ref()
                    .and_then(|store| store.find(&image).ok())
                    .map(|image| image.id.to_string()),
                container_name: service.text_of("container_name").map(str::to_owned),
                depends_on: dependencies(service),
                restarts_with: restarts.map(|(other, _)| other.clone()).collect(),
                shares_with: shares(service),
                ..Wanted::default()
            }
        };
        services.iter().map(one).collect()
    }

    /// Every service of the files, those of inactive profiles as well.
    pub(crate) fn known(&self) -> BTreeSet<String> {
        self.project.all_services.keys().cloned().collect()
    }
}

/// The services that a service depends on.
pub(crate) fn dependencies(service: &Node) -> Vec<String> {
    let map = service.get("depends_on").and_then(Node::as_map);
    map.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

impl Project {
    /// The image of a service: its own, or the one that is built for it.
    pub(crate) fn image_of(&self, name: &str, service: &Node) -> String {
        service.text_of("image").map_or_else(|| format!("{}-{name}", self.name), str::to_owned)
    }
}
