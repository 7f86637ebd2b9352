//! `start`, `stop`, `restart`, `kill`, `rm`, `pause`, `unpause`, `wait`.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use husk_engine::remove::{RemoveRequest, remove_container};
use husk_engine::{pause, stop};

use crate::arguments::{Down, Kill, Restart, Rm, Stop, Wait};
use crate::graph::{at_once, in_order};
use crate::project::Failure;
use crate::run::print;
use crate::session::{Found, Session, dependencies, engine};

impl Session<'_> {
    fn would(&self, found: &[Found], what: &str) -> bool {
        if self.dry_run {
            for one in found {
                print(&format!("{}: {what}\n", one.existing.name));
            }
        }
        self.dry_run
    }

    /// `start`.
    pub(crate) fn start_services(&self, names: &[String]) -> Result<u8, Failure> {
        let found = self.containers_of(names, false)?;
        if let Some(missing) =
            names.iter().find(|name| found.iter().all(|one| one.existing.service != **name))
        {
            return Err(format!("service {missing:?} has no container to start"));
        }
        if self.would(&found, "start") {
            return Ok(0);
        }
        let mut by_service: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_service.entry(one.existing.service.clone()).or_default().push(one);
        }
        in_order(&self.order_of(&by_service), self.limit, &|name| {
            let list = by_service.get(name).map(Vec::as_slice).unwrap_or_default();
            if list.iter().all(|one| one.existing.running) {
                return Ok(());
            }
            if self.project.section_of("services", name).is_some() {
                self.await_dependencies(name)?;
            }
            at_once(list, &|one| {
                if one.existing.running { Ok(()) } else { self.start(name, &one.container) }
            })
        })?;
        Ok(0)
    }

    /// `stop`.
    pub(crate) fn stop_services(&self, stop: &Stop) -> Result<u8, Failure> {
        let found = self.containers_of(&stop.services, false)?;
        if self.would(&found, "stop") {
            return Ok(0);
        }
        let timeout = stop.timeout.map(Duration::from_secs);
        self.in_reverse(found, &|one| {
            if one.existing.running {
                self.stop(&one.container, timeout)?;
                self.done("Container", &one.existing.name, "Stopped");
            }
            Ok(())
        })?;
        Ok(0)
    }

    /// `restart`: with those that depend on the services and ask for that.
    pub(crate) fn restart_services(&self, restart: &Restart) -> Result<u8, Failure> {
        let mut names = restart.services.clone();
        if !restart.no_deps && !names.is_empty() {
            for (name, service) in self.project.section("services") {
                let depends = service.get("depends_on").and_then(crate::node::Node::as_map);
                let asks = depends.into_iter().flatten().any(|(other, one)| {
                    restart.services.contains(other)
                        && one.get("restart").and_then(crate::node::Node::as_bool) == Some(true)
                });
                if asks && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let found = self.containers_of(&names, false)?;
        if self.would(&found, "restart") {
            return Ok(0);
        }
        let timeout = restart.timeout.map(Duration::from_secs);
        self.in_reverse(found.clone(), &|one| self.stop(&one.container, timeout))?;
        let mut by_service: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_service.entry(one.existing.service.clone()).or_default().push(one);
        }
        in_order(&self.order_of(&by_service), self.limit, &|name| {
            at_once(by_service.get(name).map(Vec::as_slice).unwrap_or_default(), &|one| {
                self.start(name, &one.container)
            })
        })?;
        Ok(0)
    }

    /// `kill`.
    pub(crate) fn kill_services(&self, kill: &Kill) -> Result<u8, Failure> {
        let known = self.known();
        let mut found = self.containers_of(&kill.services, false)?;
        found.retain(|one| {
            one.existing.running
                && (kill.remove_orphans
                    || known.is_empty()
                    || known.contains(&one.existing.service))
        });
        if self.would(&found, "kill") {
            return Ok(0);
        }
        at_once(&found, &|one| {
            stop::kill(self.home, &one.container, &kill.signal).map_err(engine)?;
            self.done("Container", &one.existing.name, "Killed");
            Ok(())
        })?;
        Ok(0)
    }

    /// `rm`.
    pub(crate) fn remove_services(&self, rm: &Rm) -> Result<u8, Failure> {
        let mut found = self.containers_of(&rm.services, true)?;
        if rm.stop {
            self.in_reverse(found.clone(), &|one| self.stop(&one.container, None))?;
        } else {
            found.retain(|one| !one.existing.running);
        }
        if found.is_empty() {
            print("No stopped containers\n");
            return Ok(0);
        }
        if self.would(&found, "remove") {
            return Ok(0);
        }
        let names: Vec<&str> = found.iter().map(|one| one.existing.name.as_str()).collect();
        if !rm.force
            && !confirmed(&format!("Going to remove {}\nAre you sure? [yN] ", names.join(", ")))?
        {
            return Ok(0);
        }
        at_once(&found, &|one| {
            let request = RemoveRequest { force: rm.stop, volumes: rm.volumes };
            remove_container(self.home, &one.container, &request).map_err(engine)?;
            self.done("Container", &one.existing.name, "Removed");
            Ok(())
        })?;
        Ok(0)
    }

    /// `pause` and `unpause`.
    pub(crate) fn pause_services(&self, names: &[String], freeze: bool) -> Result<u8, Failure> {
        let mut found = self.containers_of(names, false)?;
        found.retain(|one| one.existing.running && one.paused != freeze);
        if self.would(&found, if freeze { "pause" } else { "unpause" }) {
            return Ok(0);
        }
        at_once(&found, &|one| {
            let (done, what) = match freeze {
                true => (pause::pause(self.home, &one.container), "Paused"),
                false => (pause::unpause(self.home, &one.container), "Unpaused"),
            };
            done.map_err(engine)?;
            self.done("Container", &one.existing.name, what);
            Ok(())
        })?;
        Ok(0)
    }

    /// `wait`: the exit code of the first that ends.
    pub(crate) fn wait_services(&self, wait: &Wait) -> Result<u8, Failure> {
        let found = self.containers_of(&wait.services, false)?;
        if found.is_empty() {
            return Err(format!("no containers for the services {}", wait.services.join(", ")));
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        for one in &found {
            let (sender, container) = (sender.clone(), one.container.clone());
            std::thread::spawn(move || {
                let _ = sender
                    .send((container.record.name.clone(), stop::wait(&container).unwrap_or(255)));
            });
        }
        let mut last = 0;
        for _ in 0..found.len() {
            let Ok((name, code)) = receiver.recv() else { break };
            print(&format!("container {name:?} exited with status code {code}\n"));
            last = u8::try_from(code & 0xff).unwrap_or(255);
            if wait.down_project {
                self.down(&Down {
                    remove_orphans: false,
                    rmi: None,
                    timeout: None,
                    volumes: false,
                    services: Vec::new(),
                })?;
                break;
            }
        }
        Ok(last)
    }

    /// What a service depends on, for `run`.
    pub(crate) fn depends(&self, name: &str) -> Vec<String> {
        self.project.section_of("services", name).map(dependencies).unwrap_or_default()
    }
}

/// Asks at the terminal; without one nobody says yes.
fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err("standard input is not a terminal: give --force".to_owned());
    }
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|e| crate::load::plain(&e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
