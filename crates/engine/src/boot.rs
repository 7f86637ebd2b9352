//! What runs after the machine has started: the containers whose restart policy asks for it.
//!
//! Nothing that runs is touched, so that this can be done at any time: it is what Docker's
//! daemon does when it starts. A container waits for those that it needs: whose namespaces it
//! joins, and those that compose's label `com.docker.compose.depends_on` names, until they are
//! healthy where that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::container::Container;
use crate::container::health::{HealthCheck, HealthStatus};
use crate::container::state::{State, Status};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::launch::{self, StartRequest};
use crate::lock::Lock;
use crate::remove::{self, RemoveRequest};
use crate::reporter::Reporter;

/// Labels of compose.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// How many containers are started at the same time.
const AT_ONCE: usize = 4;
/// Between two looks at a container's health.
const LOOK: Duration = Duration::from_millis(100);

/// What became of a container.
#[derive(Debug)]
pub struct Booted {
    /// The container.
    pub container: Container,
    /// Whether it runs now, and why it does not.
    pub outcome: Result<()>,
}

/// A container that another needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    id: String,
    healthy: bool,
}

/// Starts what should run, and removes containers of `--rm` whose end nobody saw. Gives what was
/// tried, in no particular order.
///
/// # Errors
/// A directory that cannot be read.
pub fn boot(home: &Home, reporter: &(dyn Reporter + Sync)) -> Result<Vec<Booted>> {
    let (containers, damaged) = Container::survey(home)?;
    for (id, error) in damaged {
        reporter.notice(&format!("container {}: {error}", crate::container::name::short(&id)));
    }
    let mut asked = BTreeMap::new();
    for container in &containers {
        match is_asked(home, container, reporter) {
            Ok(true) => drop(asked.insert(container.id().to_owned(), container.clone())),
            Ok(false) => {}
            Err(error) => reporter.notice(&format!("container {}: {error}", container.record.name)),
        }
    }
    let mut needs: BTreeMap<String, BTreeSet<Need>> = BTreeMap::new();
    for (id, container) in &asked {
        needs.insert(id.clone(), needs_of(home, container, &containers));
    }
    for (id, need) in break_cycles(&mut needs) {
        let name =
            |id: &String| asked.get(id).map_or_else(|| id.clone(), |one| one.record.name.clone());
        reporter.notice(&format!(
            "container {} does not wait for {}, which waits for it",
            name(&id),
            name(&need)
        ));
    }
    Ok(start_all(home, &asked, &needs, &containers, reporter))
}

/// Whether a container is to be started.
fn is_asked(home: &Home, container: &Container, reporter: &dyn Reporter) -> Result<bool> {
    let state = container.state()?;
    let config = &container.record.config;
    match state.status {
        Status::Running if !Lock::is_held(&container.monitor_lock()) => {
            let name = &container.record.name;
            reporter.notice(&format!(
                "container {name} runs without its monitor, which was killed: \
                 \"husk restart {name}\" gives it a new one"
            ));
            Ok(false)
        }
        Status::Exited if config.auto_remove => {
            let request = RemoveRequest { force: false, volumes: true };
            remove::remove_container(home, container, &request)?;
            Ok(false)
        }
        Status::Exited if !state.started.is_empty() => {
            let (code, by_hand) = (state.exit_code, state.stopped_by_hand);
            Ok(config.restart.starts_at_boot(code, state.restart_count, by_hand))
        }
        _ => Ok(false),
    }
}

/// What a container needs of others that are there.
fn needs_of(home: &Home, container: &Container, all: &[Container]) -> BTreeSet<Need> {
    let config = &container.record.config;
    let networks = config.networks.iter().filter_map(|mode| mode.strip_prefix("container:"));
    let namespaces = config.joined_namespaces.iter().map(|(_, name)| name.as_str());
    let mut needs = BTreeSet::new();
    for name in networks.chain(namespaces) {
        if let Ok(other) = Container::find(home, name) {
            needs.insert(Need { id: other.record.id, healthy: false });
        }
    }
    let label = |one: &Container, name: &str| one.record.config.labels.get(name).cloned();
    let (Some(project), Some(depends_on)) =
        (label(container, PROJECT), label(container, DEPENDS_ON))
    else {
        return needs;
    };
    for part in depends_on.split(',') {
        // SERVICE:CONDITION:RESTART
        let mut words = part.split(':');
        let (service, condition) = (words.next().unwrap_or_default(), words.next());
        let is_meant = |one: &&Container| {
            label(one, PROJECT).as_ref() == Some(&project)
                && label(one, SERVICE).as_deref() == Some(service)
                && label(one, ONE_OFF).is_none_or(|value| value != "True")
                && one.id() != container.id()
        };
        for other in all.iter().filter(is_meant) {
            let healthy = condition == Some("service_healthy");
            needs.insert(Need { id: other.id().to_owned(), healthy });
        }
    }
    needs
}

/// Leaves out what would have containers wait for each other; gives who and for whom.
fn break_cycles(needs: &mut BTreeMap<String, BTreeSet<Need>>) -> Vec<(String, String)> {
    let mut broken = Vec::new();
    let ids: Vec<String> = needs.keys().cloned().collect();
    for id in &ids {
        let own: Vec<Need> = needs.get(id).into_iter().flatten().cloned().collect();
        for need in own {
            if leads_to(needs, &need.id, id, &mut BTreeSet::new()) {
                broken.push((id.clone(), need.id.clone()));
                if let Some(own) = needs.get_mut(id) {
                    own.remove(&need);
                }
            }
        }
    }
    broken
}

fn leads_to(
    needs: &BTreeMap<String, BTreeSet<Need>>,
    from: &str,
    to: &str,
    seen: &mut BTreeSet<String>,
) -> bool {
    from == to
        || (seen.insert(from.to_owned())
            && needs
                .get(from)
                .is_some_and(|next| next.iter().any(|need| leads_to(needs, &need.id, to, seen))))
}

/// Who has been started, or failed to, and how many are being started.
#[derive(Default)]
struct Progress {
    done: BTreeSet<String>,
    starting: usize,
}

fn start_all(
    home: &Home,
    asked: &BTreeMap<String, Container>,
    needs: &BTreeMap<String, BTreeSet<Need>>,
    all: &[Container],
    reporter: &(dyn Reporter + Sync),
) -> Vec<Booted> {
    let (progress, changed) = (Mutex::new(Progress::default()), Condvar::new());
    let start = |container: &Container| {
        let own: Vec<&Need> = needs.get(container.id()).into_iter().flatten().collect();
        let mut now = progress.lock().unwrap_or_else(PoisonError::into_inner);
        while own.iter().any(|one| asked.contains_key(&one.id) && !now.done.contains(&one.id)) {
            now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        drop(now);
        for need in own.into_iter().filter(|need| need.healthy) {
            if let Some(other) = all.iter().find(|one| one.id() == need.id)
                && let Err(problem) = await_health(other)
            {
                reporter.notice(&format!("container {}: {problem}", container.record.name));
            }
        }
        let mut now = progress.lock().unwrap_or_else(PoisonError::into_inner);
        while now.starting >= AT_ONCE {
            now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        now.starting += 1;
        drop(now);
        let started = launch::start(home, container, &StartRequest::default(), &mut |text| {
            reporter.notice(&text);
        });
        let outcome = match started {
            // By another meanwhile.
            Ok(_) | Err(Error::Running(_)) => Ok(()),
            Err(error) => Err(error),
        };
        let mut now = progress.lock().unwrap_or_else(PoisonError::into_inner);
        now.starting -= 1;
        now.done.insert(container.id().to_owned());
        drop(now);
        changed.notify_all();
        Booted { container: container.clone(), outcome }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            asked.values().map(|container| scope.spawn(|| start(container))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Waits until a container is healthy, for as long as its check may take to say so.
fn await_health(container: &Container) -> Result<(), String> {
    let name = &container.record.name;
    let limit = container.record.config.health.as_ref().map(HealthCheck::patience);
    let until = Instant::now() + limit.unwrap_or_default();
    loop {
        let known = |state: State| container.health(&state).map(|health| (state.status, health));
        let (status, health) = match container.state().and_then(known) {
            Ok((status, Some(health))) => (status, health.status),
            Ok((_, None)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        match (status, health) {
            (Status::Running, HealthStatus::Healthy) => return Ok(()),
            (Status::Running, HealthStatus::Starting) if Instant::now() < until => {}
            (Status::Running, HealthStatus::Starting) => {
                return Err(format!("started, although {name} has not become healthy in time"));
            }
            (Status::Running, HealthStatus::Unhealthy) => {
                return Err(format!("started, although {name} is unhealthy"));
            }
            _ => return Err(format!("started, although {name} does not run")),
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_itself_does_not_wait() {
        let need = |id: &str| Need { id: id.to_owned(), healthy: false };
        let mut needs: BTreeMap<String, BTreeSet<Need>> = BTreeMap::new();
        for (id, other) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")] {
            needs.entry(id.to_owned()).or_default().insert(need(other));
        }
        assert_eq!(break_cycles(&mut needs), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(needs["d"].len(), 1);
        assert!(break_cycles(&mut needs).is_empty());
    }
}
