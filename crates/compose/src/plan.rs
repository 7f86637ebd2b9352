//! What must be done, from what is wanted and what is there. Pure: nothing is asked or changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A service as it is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// How many containers.
    pub(crate) scale: usize,
    /// Of its configuration.
    pub(crate) hash: String,
    /// The image's id, where the image is there.
    pub(crate) image: Option<String>,
    /// `container_name`.
    pub(crate) container_name: Option<String>,
    /// Services that it depends on.
    pub(crate) depends_on: Vec<String>,
    /// Those of them whose recreation restarts it.
    pub(crate) restarts_with: Vec<String>,
    /// Those of them whose namespaces or volumes it shares: it is recreated with them.
    pub(crate) shares_with: Vec<String>,
    /// Recreate whatever it is, or never.
    pub(crate) policy: Policy,
}

/// When a container is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Where it is not what is wanted.
    #[default]
    Diverged,
    /// Always.
    Force,
    /// Never.
    Never,
}

/// A container that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Existing {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) number: usize,
    pub(crate) hash: String,
    /// The image's id at its creation.
    pub(crate) image: String,
    pub(crate) running: bool,
}

/// What is done for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is as it should be.
    Keep,
    /// It is, but does not run.
    Start,
    /// There is none.
    Create,
    /// It is replaced, for this reason.
    Recreate(&'static str),
    /// It is stopped and started, as a service that it depends on was replaced.
    Restart,
    /// There is one too many.
    Remove,
}

/// One container and what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) service: String,
    pub(crate) number: usize,
    pub(crate) name: String,
    /// The container that is there.
    pub(crate) old: Option<String>,
    pub(crate) action: Action,
}

/// Everything, services in the order of their dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) services: Vec<(String, Vec<Step>)>,
    /// Containers of services that the project no longer has.
    pub(crate) orphans: Vec<Existing>,
}

impl PartialEq for Existing {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl Eq for Existing {}

/// Names in the order of their dependencies; what depends on nothing comes first, by name.
pub(crate) fn order(services: &[Wanted]) -> Vec<&Wanted> {
    let known: BTreeMap<&str, &Wanted> =
        services.iter().map(|one| (one.name.as_str(), one)).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::with_capacity(known.len());
    while out.len() < known.len() {
        let ready: Vec<&&Wanted> = known
            .values()
            .filter(|one| !done.contains(one.name.as_str()))
            .filter(|one| {
                let mut before = one.depends_on.iter().map(String::as_str);
                before.all(|other| done.contains(other) || !known.contains_key(other))
            })
            .collect();
        if ready.is_empty() {
            // A circle, which is refused before: whatever order is as good as another.
            out.extend(known.values().filter(|one| !done.contains(one.name.as_str())));
            return out;
        }
        for one in ready {
            done.insert(&one.name);
            out.push(*one);
        }
    }
    out
}

/// Plans a project. `known` are all services of its files, also those that are not started now.
pub(crate) fn plan(
    project: &str,
    services: &[Wanted],
    existing: &[Existing],
    known: &BTreeSet<String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut replaced: BTreeSet<String> = BTreeSet::new();
    for wanted in order(services) {
        let steps = plan_service(project, wanted, existing, &replaced);
        let news = |step: &Step| matches!(step.action, Action::Create | Action::Recreate(_));
        if steps.iter().any(news) {
            replaced.insert(wanted.name.clone());
        }
        plan.services.push((wanted.name.clone(), steps));
    }
    plan.orphans = existing.iter().filter(|one| !known.contains(&one.service)).cloned().collect();
    plan
}

fn plan_service(
    project: &str,
    wanted: &Wanted,
    existing: &[Existing],
    replaced: &BTreeSet<String>,
) -> Vec<Step> {
    let mut own: Vec<&Existing> =
        existing.iter().filter(|one| one.service == wanted.name).collect();
    // With fewer wanted those stay that are as they should be, then those of low numbers.
    own.sort_by_key(|one| (reason(wanted, one, replaced).is_some(), one.number));
    let mut steps = Vec::new();
    for (index, one) in own.iter().enumerate() {
        let action = if index >= wanted.scale {
            Action::Remove
        } else if let Some(reason) = reason(wanted, one, replaced) {
            Action::Recreate(reason)
        } else if !one.running {
            Action::Start
        } else if wanted.restarts_with.iter().any(|other| replaced.contains(other)) {
            Action::Restart
        } else {
            Action::Keep
        };
        steps.push(Step {
            service: wanted.name.clone(),
            number: one.number,
            name: one.name.clone(),
            old: Some(one.id.clone()),
            action,
        });
    }
    let highest = own.iter().map(|one| one.number).max().unwrap_or(0);
    for number in (highest + 1..).take(wanted.scale.saturating_sub(own.len())) {
        let name = wanted.container_name.clone();
        let name = name.unwrap_or_else(|| format!("{project}-{}-{number}", wanted.name));
        steps.push(Step {
            service: wanted.name.clone(),
            number,
            name,
            old: None,
            action: Action::Create,
        });
    }
    steps.sort_by_key(|step| step.number);
    steps
}

/// Why a container is replaced, or nothing.
fn reason(wanted: &Wanted, one: &Existing, replaced: &BTreeSet<String>) -> Option<&'static str> {
    match wanted.policy {
        Policy::Never => return None,
        Policy::Force => return Some("forced"),
        Policy::Diverged => {}
    }
    if one.hash != wanted.hash {
        return Some("its configuration changed");
    }
    if wanted.image.as_ref().is_some_and(|image| !one.image.is_empty() && *image != one.image) {
        return Some("its image changed");
    }
    if wanted.shares_with.iter().any(|other| replaced.contains(other)) {
        return Some("it shares with a container that is replaced");
    }
    None
}

impl Plan {
    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.services.iter().flat_map(|(_, steps)| steps).all(|step| step.action == Action::Keep)
    }

    /// One line for each container, as `--dry-run` prints it.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for step in self.services.iter().flat_map(|(_, steps)| steps) {
            let what = match &step.action {
                Action::Keep => "keep".to_owned(),
                Action::Start => "start".to_owned(),
                Action::Create => "create and start".to_owned(),
                Action::Recreate(reason) => format!("recreate, as {reason}"),
                Action::Restart => {
                    "restart, as a service that it depends on is replaced".to_owned()
                }
                Action::Remove => "remove".to_owned(),
            };
            let _ = writeln!(text, "{}: {what}", step.name);
        }
        for one in &self.orphans {
            let _ = writeln!(text, "{}: orphan of the service {}", one.name, one.service);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, depends_on: &[&str]) -> Wanted {
        Wanted {
            name: name.to_owned(),
            scale: 1,
            hash: "h".to_owned(),
            depends_on: depends_on.iter().map(|one| (*one).to_owned()).collect(),
            ..Wanted::default()
        }
    }

    fn existing(service: &str, number: usize) -> Existing {
        Existing {
            id: format!("id-{service}-{number}"),
            name: format!("p-{service}-{number}"),
            service: service.to_owned(),
            number,
            hash: "h".to_owned(),
            running: true,
            ..Existing::default()
        }
    }

    fn describe(services: &[Wanted], there: &[Existing]) -> String {
        let known = services.iter().map(|one| one.name.clone()).collect();
        plan("p", services, there, &known).describe()
    }

    #[test]
    fn nothing_there() {
        let services =
            [wanted("web", &["db", "cache"]), wanted("db", &[]), wanted("cache", &["db"])];
        let expected =
            "p-db-1: create and start\np-cache-1: create and start\np-web-1: create and start\n";
        assert_eq!(describe(&services, &[]), expected);
    }

    #[test]
    fn second_time_changes_nothing() {
        let services = [wanted("web", &["db"]), wanted("db", &[])];
        let there = [existing("web", 1), existing("db", 1)];
        let known = services.iter().map(|one| one.name.clone()).collect();
        assert!(plan("p", &services, &there, &known).is_empty());
    }

    #[test]
    fn only_what_changed() {
        let mut services = [wanted("web", &["db"]), wanted("db", &[])];
        services[1].hash = "other".to_owned();
        let there = [existing("web", 1), existing("db", 1)];
        let expected = "p-db-1: recreate, as its configuration changed\np-web-1: keep\n";
        assert_eq!(describe(&services, &there), expected);
        services[0].restarts_with = vec!["db".to_owned()];
        assert!(describe(&services, &there).contains("p-web-1: restart"));
        services[0].shares_with = vec!["db".to_owned()];
        assert!(describe(&services, &there).contains("p-web-1: recreate, as it shares"));
    }

    #[test]
    fn image_changed() {
        let mut services = [wanted("web", &[])];
        services[0].image = Some("new".to_owned());
        let mut there = [existing("web", 1)];
        there[0].image = "old".to_owned();
        assert_eq!(describe(&services, &there), "p-web-1: recreate, as its image changed\n");
        services[0].policy = Policy::Never;
        assert_eq!(describe(&services, &there), "p-web-1: keep\n");
    }

    #[test]
    fn scale() {
        let mut services = [wanted("web", &[])];
        services[0].scale = 3;
        let there = [existing("web", 2)];
        assert_eq!(
            describe(&services, &there),
            "p-web-2: keep\np-web-3: create and start\np-web-4: create and start\n"
        );
        services[0].scale = 0;
        assert_eq!(describe(&services, &there), "p-web-2: remove\n");
        services[0].scale = 1;
        let mut there = [existing("web", 1), existing("web", 2)];
        there[0].hash = "other".to_owned();
        assert_eq!(describe(&services, &there), "p-web-1: remove\np-web-2: keep\n");
    }

    #[test]
    fn stopped_and_orphans() {
        let mut there = [existing("web", 1), existing("gone", 1)];
        there[0].running = false;
        let expected = "p-web-1: start\np-gone-1: orphan of the service gone\n";
        assert_eq!(describe(&[wanted("web", &[])], &there), expected);
    }
}
