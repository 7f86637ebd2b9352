//! Making containers what is wanted: create, replace, remove; then start them in their order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use husk_engine::container::Container;
use husk_engine::container::config::Mount;
use husk_engine::container::state::Status;
use husk_engine::launch::{self, StartRequest};
use husk_engine::remove::{RemoveRequest, remove_container};
use husk_engine::stop::{self, StopRequest};

use crate::graph::{at_once, in_order};
use crate::hash::service_hash;
use crate::mounting::reference;
use crate::node::Node;
use crate::plan::{Action, Plan, Step};
use crate::project::Failure;
use crate::run::note;
use crate::session::{Found, Session, engine};
use crate::source::Severity;
use crate::words::{self, NewContainer, shares};

/// Between two looks at a container's health.
const LOOK: Duration = Duration::from_millis(50);

/// How containers are replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Give anonymous volumes up.
    pub(crate) renew_volumes: bool,
    /// How long a container has to stop.
    pub(crate) timeout: Option<Duration>,
}

impl Session<'_> {
    /// Does what the plan says but the starting.
    ///
    /// # Errors
    /// Every failure; what was half made is removed.
    pub(crate) fn converge(&self, plan: &Plan, manner: Manner) -> Result<(), Failure> {
        let steps: BTreeMap<&str, &Vec<Step>> =
            plan.services.iter().map(|(name, steps)| (name.as_str(), steps)).collect();
        // Nothing to do needs no threads.
        let idle =
            |step: &Step| matches!(step.action, Action::Keep | Action::Start | Action::Restart);
        if steps.values().all(|steps| steps.iter().all(idle)) {
            return Ok(());
        }
        in_order(&self.graph(), self.limit, &|name| {
            let Some(steps) = steps.get(name) else { return Ok(()) };
            at_once(steps, &|step| self.take(step, manner))
        })
    }

    fn take(&self, step: &Step, manner: Manner) -> Result<(), Failure> {
        match &step.action {
            Action::Keep | Action::Start | Action::Restart => Ok(()),
            Action::Create => {
                let new = self.new_container(&step.service, &step.name, step.number)?;
                self.create(&step.service, &new)?;
                self.done("Container", &step.name, "Created");
                Ok(())
            }
            Action::Remove => match self.find(step)? {
                Some(old) => self.remove(&old, manner.timeout, true),
                None => Ok(()),
            },
            Action::Recreate(_) => self.replace(step, manner),
        }
    }

    fn find(&self, step: &Step) -> Result<Option<Container>, Failure> {
        let Some(id) = &step.old else { return Ok(None) };
        match Container::open(self.home, id) {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_about_container() => Ok(None),
            Err(error) => Err(engine(error)),
        }
    }

    /// The new one is made before the old one is given up: where that fails, nothing is lost.
    fn replace(&self, step: &Step, manner: Manner) -> Result<(), Failure> {
        let old = self.find(step)?;
        let short: String = step.old.iter().flat_map(|id| id.chars().take(12)).collect();
        let mut new =
            self.new_container(&step.service, &format!("{short}_{}", step.name), step.number)?;
        if let Some(old) = &old
            && !manner.renew_volumes
        {
            let mounts = old.record.config.mounts.iter();
            new.kept = mounts
                .filter_map(|mount| match mount {
                    Mount::Volume { name, target, anonymous: true, .. } => {
                        Some((target.clone(), name.clone()))
                    }
                    _ => None,
                })
                .collect();
        }
        let made = self.create(&step.service, &new)?;
        if let Some(old) = &old {
            self.stop(old, manner.timeout)?;
            let request = RemoveRequest { force: true, volumes: manner.renew_volumes };
            remove_container(self.home, old, &request).map_err(engine)?;
        }
        self.husk.output(&["rename", &made, &step.name])?;
        self.done("Container", &step.name, "Recreated");
        Ok(())
    }

    /// What a container of a service is to be.
    pub(crate) fn new_container(
        &self,
        name: &str,
        container: &str,
        number: usize,
    ) -> Result<NewContainer, Failure> {
        let service = self.service(name)?;
        let image = self.project.image_of(name, service);
        let record = self.home.images().map_err(engine)?.find(&image);
        let image_id = match record {
            Ok(record) => record.id.to_string(),
            // The engine has images of its own, as `hello`, which it makes when they are asked for.
            Err(_) => String::new(),
        };
        let mut others = BTreeMap::new();
        let shared = shares(service);
        if !shared.is_empty() {
            for found in self.containers(false)? {
                if shared.contains(&found.existing.service) {
                    others.entry(found.existing.service.clone()).or_insert(found.existing.id);
                }
            }
        }
        Ok(NewContainer {
            name: container.to_owned(),
            number,
            hash: service_hash(service),
            image,
            image_id,
            others,
            ports: true,
            ..NewContainer::default()
        })
    }

    pub(crate) fn service(&self, name: &str) -> Result<&Node, Failure> {
        self.project.section_of("services", name).ok_or_else(|| {
            let hint = crate::normalize::hint(name, self.project.all_services.keys());
            format!("no such service: {name}{hint}")
        })
    }

    /// Makes a container; gives its id. One that is half made is removed.
    pub(crate) fn create(&self, name: &str, new: &NewContainer) -> Result<String, Failure> {
        let service = self.service(name)?;
        let path = format!("services.{name}");
        let words = words::words(&self.project, name, service, new)?;
        let printed = self.husk.output(&words).map_err(|why| self.at(service, &path, &why))?;
        let id = printed.trim().to_owned();
        if let Err(why) = self.write_contents(service, &id) {
            let _ = self.husk.output(&["rm", "--force", "--volumes", &id]);
            return Err(self.at(service, &path, &why));
        }
        Ok(id)
    }

    /// Secrets and configs that are no files of the host are written into the container.
    fn write_contents(&self, service: &Node, id: &str) -> Result<(), Failure> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut any = false;
        for (key, folder) in [("secrets", "run/secrets/"), ("configs", "")] {
            for one in service.get(key).and_then(Node::as_list).unwrap_or_default() {
                let (source, target) = reference(one, &format!("/{folder}"));
                let Some(resource) = self.project.section_of(key, &source) else { continue };
                let content = match (resource.text_of("environment"), resource.get("content")) {
                    (Some(variable), _) => match self.project.environment.get(variable) {
                        Some(value) => value.clone(),
                        None => {
                            let message = format!("the variable {variable} is not set");
                            return Err(self.at(
                                resource,
                                &format!("{key}.{source}.environment"),
                                &message,
                            ));
                        }
                    },
                    (None, Some(content)) => content.as_text().unwrap_or_default().to_owned(),
                    (None, None) => continue,
                };
                let number = |key: &str| {
                    one.get(key).and_then(Node::scalar_text).and_then(|text| text.parse().ok())
                };
                let mode = one.text_of("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok());
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(mode.unwrap_or(0o444));
                header.set_uid(number("uid").unwrap_or(0));
                header.set_gid(number("gid").unwrap_or(0));
                let added = archive.append_data(
                    &mut header,
                    target.trim_start_matches('/'),
                    content.as_bytes(),
                );
                added.map_err(|e| format!("{key}.{source}: {}", crate::load::plain(&e)))?;
                any = true;
            }
        }
        if !any {
            return Ok(());
        }
        let archive = archive.into_inner().map_err(|e| crate::load::plain(&e))?;
        self.husk.feed(&["cp", "--archive", "-", &format!("{id}:/")], &archive)
    }

    // --- starting

    /// Starts what does not run, each service once what it waits for is as it should be.
    pub(crate) fn start_all(
        &self,
        plan: &Plan,
        manner: Manner,
        conditions: bool,
    ) -> Result<(), Failure> {
        let steps: BTreeMap<&str, &Vec<Step>> =
            plan.services.iter().map(|(name, steps)| (name.as_str(), steps)).collect();
        if plan.is_empty() {
            return Ok(());
        }
        in_order(&self.graph(), self.limit, &|name| {
            let Some(steps) = steps.get(name) else { return Ok(()) };
            let kept = |step: &Step| matches!(step.action, Action::Keep | Action::Remove);
            if steps.iter().all(kept) {
                return Ok(());
            }
            if conditions {
                self.await_dependencies(name)?;
            }
            at_once(steps, &|step| {
                if kept(step) {
                    return Ok(());
                }
                let container = Container::find(self.home, &step.name).map_err(engine)?;
                if step.action == Action::Restart {
                    self.stop(&container, manner.timeout)?;
                }
                self.start(name, &container)
            })
        })
    }

    /// Starts a container, and runs the commands that come after its start.
    pub(crate) fn start(&self, name: &str, container: &Container) -> Result<(), Failure> {
        let started = launch::start(self.home, container, &StartRequest::default(), &mut |text| {
            note(Severity::Warning, &format!("{}: {text}", container.record.name));
        });
        match started {
            Ok(_) => {}
            Err(error) if container.state().is_ok_and(|state| state.status == Status::Running) => {
                drop(error);
            }
            Err(error) => {
                let service = self.service(name)?;
                return Err(self.at(service, &format!("services.{name}"), &engine(error)));
            }
        }
        self.done("Container", &container.record.name, "Started");
        self.hooks(name, container, "post_start")
    }

    /// Runs the commands of `post_start` or `pre_stop` in a container.
    pub(crate) fn hooks(
        &self,
        name: &str,
        container: &Container,
        key: &str,
    ) -> Result<(), Failure> {
        let Some(service) = self.project.section_of("services", name) else { return Ok(()) };
        for (index, hook) in
            service.get(key).and_then(Node::as_list).unwrap_or_default().iter().enumerate()
        {
            let mut words = vec!["exec".to_owned()];
            for (flag, key) in [("--user", "user"), ("--workdir", "working_dir")] {
                words.extend(hook.text_of(key).map(|value| format!("{flag}={value}")));
            }
            if hook.get("privileged").and_then(Node::as_bool) == Some(true) {
                words.push("--privileged".to_owned());
            }
            for (name, value) in
                hook.get("environment").and_then(Node::as_map).into_iter().flatten()
            {
                words.push(format!("--env={name}={}", value.scalar_text().unwrap_or_default()));
            }
            words.push(container.id().to_owned());
            words.extend(words::texts(hook, "command"));
            let done = self.husk.output(&words);
            done.map_err(|why| self.at(hook, &format!("services.{name}.{key}[{index}]"), &why))?;
        }
        Ok(())
    }

    /// Stops a container, after the commands that come before that.
    pub(crate) fn stop(
        &self,
        container: &Container,
        timeout: Option<Duration>,
    ) -> Result<(), Failure> {
        if container.state().map_err(engine)?.status == Status::Running {
            let label = format!("{}service", crate::session::LABEL);
            let service = container.record.config.labels.get(&label).cloned().unwrap_or_default();
            if let Err(why) = self.hooks(&service, container, "pre_stop") {
                note(Severity::Warning, &why);
            }
        }
        let request = StopRequest { timeout, ..StopRequest::default() };
        stop::stop(self.home, container, &request).map_err(engine)
    }

    /// Stops and removes a container.
    pub(crate) fn remove(
        &self,
        container: &Container,
        timeout: Option<Duration>,
        volumes: bool,
    ) -> Result<(), Failure> {
        self.stop(container, timeout)?;
        let request = RemoveRequest { force: true, volumes };
        remove_container(self.home, container, &request).map_err(engine)?;
        self.done("Container", &container.record.name, "Removed");
        Ok(())
    }

    /// Waits until the services that a service depends on are as it wants them.
    pub(crate) fn await_dependencies(&self, name: &str) -> Result<(), Failure> {
        let service = self.service(name)?;
        for (other, one) in service.get("depends_on").and_then(Node::as_map).into_iter().flatten() {
            let required = one.get("required").and_then(Node::as_bool) != Some(false);
            let done = match one.text_of("condition") {
                Some("service_healthy") => self.await_healthy(other, None, true),
                Some("service_completed_successfully") => self.await_completion(other),
                _ => Ok(()),
            };
            match done {
                Err(why) if required => {
                    let path = format!("services.{name}.depends_on.{other}");
                    return Err(self.at(one, &path, &format!("dependency failed to start: {why}")));
                }
                Err(why) => note(Severity::Warning, &format!("optional dependency {other}: {why}")),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The health of a container: `starting`, `healthy`, `unhealthy`; nothing without a check.
    pub(crate) fn health(&self, id: &str) -> Result<Option<String>, Failure> {
        let printed =
            self.husk.output(&["inspect", "--type=container", "--format={{json .State}}", id])?;
        let state: serde_json::Value = serde_json::from_str(&printed).map_err(|e| e.to_string())?;
        Ok(state["Health"]["Status"].as_str().filter(|one| *one != "none").map(str::to_owned))
    }

    /// Waits until each container of a service is healthy; `strict`: without a check it is not.
    pub(crate) fn await_healthy(
        &self,
        name: &str,
        until: Option<Instant>,
        strict: bool,
    ) -> Result<(), Failure> {
        let found = self.containers_of(&[name.to_owned()], false)?;
        if found.is_empty() && strict {
            return Err(format!("service {name} has no container"));
        }
        found.iter().try_for_each(|one| self.await_one_healthy(one, until, strict))
    }

    fn await_one_healthy(
        &self,
        one: &Found,
        until: Option<Instant>,
        strict: bool,
    ) -> Result<(), Failure> {
        let name = &one.existing.name;
        loop {
            let state = one.container.state().map_err(engine)?;
            match state.status {
                Status::Exited => {
                    return Err(format!("container {name} exited ({})", state.exit_code));
                }
                Status::Created => return Err(format!("container {name} is not running")),
                _ => {}
            }
            match self.health(&one.existing.id)?.as_deref() {
                Some("healthy") => {
                    self.done("Container", name, "Healthy");
                    return Ok(());
                }
                Some("unhealthy") => return Err(format!("container {name} is unhealthy")),
                Some(_) => {}
                None if strict => {
                    return Err(format!("container {name} has no healthcheck configured"));
                }
                None => return Ok(()),
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(format!(
                    "application not healthy after the time that --wait-timeout gives: container {name}"
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn await_completion(&self, name: &str) -> Result<(), Failure> {
        for one in self.containers_of(&[name.to_owned()], false)? {
            let code = stop::wait(&one.container).map_err(engine)?;
            if code != 0 {
                return Err(format!("service {name:?} didn't complete successfully: exit {code}"));
            }
            self.done("Container", &one.existing.name, "Exited");
        }
        Ok(())
    }
}
