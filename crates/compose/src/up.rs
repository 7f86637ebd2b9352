//! `up`, `create`, `scale`, `down`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use husk_engine::volume::Volume;

use crate::arguments::{Down, Making, Up};
use crate::converge::Manner;
use crate::graph::{at_once, in_order, reversed};
use crate::plan::{Plan, Policy, plan};
use crate::project::Failure;
use crate::run::{note, print};
use crate::session::{Found, LABEL, Session, engine};
use crate::source::Severity;
use crate::supply::Supply;

/// `SERVICE=NUM` words.
pub(crate) fn scales(words: &[String]) -> Result<BTreeMap<String, usize>, Failure> {
    let mut scales = BTreeMap::new();
    for word in words {
        let parsed = word
            .split_once('=')
            .and_then(|(name, number)| Some((name.to_owned(), number.parse().ok()?)));
        let Some((name, number)) = parsed else {
            return Err(format!("--scale {word:?}: must be SERVICE=NUM"));
        };
        scales.insert(name, number);
    }
    Ok(scales)
}

/// How containers are made: flags of `up` and of what calls it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) making: Making,
    pub(crate) always_recreate_deps: bool,
    pub(crate) no_deps: bool,
    pub(crate) manner: Manner,
}

impl Session<'_> {
    /// Plans, and does everything but the starting.
    pub(crate) fn prepare(&self, wish: &Wish) -> Result<Plan, Failure> {
        self.refuse()?;
        let making = &wish.making;
        if self.project.services().is_empty() {
            return Err("no service selected".to_owned());
        }
        let pull = making.supplies.pull.as_str();
        if !["always", "missing", "never", "policy", "build", ""].contains(&pull) {
            return Err(format!("--pull {pull:?}: must be always, missing, never or policy"));
        }
        let scale = scales(&making.scale)?;
        let known = self.known();
        if let Some(unknown) = scale.keys().find(|name| !known.contains(*name)) {
            return Err(format!("no such service: {unknown}"));
        }
        self.images(&Supply {
            build: making.supplies.build,
            no_build: making.no_build,
            pull: Some(pull.to_owned()).filter(|pull| !["policy", ""].contains(&pull.as_str())),
            quiet_pull: making.supplies.quiet_pull,
            quiet_build: making.supplies.quiet_build,
        })?;
        self.resources()?;
        let mut wanted = self.wanted(&scale);
        for one in &mut wanted {
            let named = making.services.is_empty() || making.services.contains(&one.name);
            one.policy = match () {
                () if making.no_recreate => Policy::Never,
                () if making.force_recreate && (named || wish.always_recreate_deps) => {
                    Policy::Force
                }
                () if wish.always_recreate_deps && !named => Policy::Force,
                () => Policy::Diverged,
            };
        }
        let found = self.containers(false)?;
        let existing: Vec<_> = found.iter().map(|one| one.existing.clone()).collect();
        let plan = plan(&self.project.name, &wanted, &existing, &known);
        if self.dry_run {
            print(&plan.describe());
            return Ok(plan);
        }
        self.orphans(&plan, &found, making.supplies.remove_orphans)?;
        self.converge(&plan, wish.manner)?;
        Ok(plan)
    }

    fn orphans(&self, plan: &Plan, found: &[Found], remove: bool) -> Result<(), Failure> {
        if plan.orphans.is_empty()
            || self
                .project
                .environment
                .get("COMPOSE_IGNORE_ORPHANS")
                .is_some_and(|one| one == "1" || one == "true")
        {
            return Ok(());
        }
        let orphans: Vec<&Found> =
            found.iter().filter(|one| plan.orphans.contains(&one.existing)).collect();
        if remove {
            return at_once(&orphans, &|one| self.remove(&one.container, None, true));
        }
        let names: Vec<&str> = orphans.iter().map(|one| one.existing.name.as_str()).collect();
        note(
            Severity::Warning,
            &format!(
                "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your \
                 compose file, you can run this command with the --remove-orphans flag to clean it up.",
                names.join(" ")
            ),
        );
        Ok(())
    }

    /// `up`.
    pub(crate) fn up(&self, up: &Up) -> Result<u8, Failure> {
        let manner = Manner {
            renew_volumes: up.renew_anon_volumes,
            timeout: up.timeout.map(Duration::from_secs),
        };
        let wish = Wish {
            making: up.making.clone(),
            always_recreate_deps: up.always_recreate_deps,
            no_deps: up.no_deps,
            manner,
        };
        let since = husk_engine::clock::timestamp();
        let plan = self.prepare(&wish)?;
        if self.dry_run || up.no_start {
            return Ok(0);
        }
        let attached = !up.detach && !up.wait;
        if !attached {
            self.start_all(&plan, manner, !wish.no_deps)?;
            if up.wait {
                self.await_all(up.wait_timeout)?;
            }
            return Ok(0);
        }
        self.attached(up, &plan, manner, &since)
    }

    /// Waits until every service runs and is healthy.
    pub(crate) fn await_all(&self, timeout: Option<u64>) -> Result<(), Failure> {
        let until = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let names: Vec<String> = self.project.services().into_iter().cloned().collect();
        // What others wait for until it has completed may have ended well.
        let completes = |name: &String| {
            self.project.section("services").values().any(|service| {
                let one = service.get("depends_on").and_then(|node| node.get(name));
                one.and_then(|one| one.text_of("condition"))
                    == Some("service_completed_successfully")
            })
        };
        let names: Vec<String> = names.into_iter().filter(|name| !completes(name)).collect();
        at_once(&names, &|name| self.await_healthy(name, until, false))
    }

    /// `down`.
    pub(crate) fn down(&self, down: &Down) -> Result<u8, Failure> {
        if let Some(which) = down.rmi.as_deref().filter(|which| !["local", "all"].contains(which)) {
            return Err(format!("--rmi {which:?}: must be local or all"));
        }
        let known = self.known();
        let bare = known.is_empty();
        let timeout = down.timeout.map(Duration::from_secs);
        let mut found = self.containers_of(&down.services, true)?;
        found.retain(|one| bare || down.remove_orphans || known.contains(&one.existing.service));
        let mut by_service: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_service.entry(one.existing.service.clone()).or_default().push(one);
        }
        if self.dry_run {
            for one in by_service.values().flatten() {
                print(&format!("{}: stop and remove\n", one.existing.name));
            }
            return Ok(0);
        }
        let graph = self.order_of(&by_service);
        in_order(&reversed(&graph), self.limit, &|name| {
            let list = by_service.get(name).map(Vec::as_slice).unwrap_or_default();
            at_once(list, &|one| self.remove_with_volumes(one, timeout, down.volumes))
        })?;
        if let Some(which) = &down.rmi {
            self.remove_images(which == "all")?;
        }
        if down.services.is_empty() {
            self.remove_resources(down.volumes)?;
        }
        Ok(0)
    }

    /// What each service comes after, by its file or, without one, by its containers' labels.
    pub(crate) fn order_of(
        &self,
        by_service: &BTreeMap<String, Vec<Found>>,
    ) -> BTreeMap<String, Vec<String>> {
        let graph = self.graph();
        let of = |name: &String, list: &Vec<Found>| -> Vec<String> {
            if let Some(before) = graph.get(name) {
                return before.clone();
            }
            let label =
                list.first().map(|one| one.label("depends_on").to_owned()).unwrap_or_default();
            label.split(',').filter_map(|one| Some(one.split(':').next()?.to_owned())).collect()
        };
        by_service.iter().map(|(name, list)| (name.clone(), of(name, list))).collect()
    }

    fn remove_with_volumes(
        &self,
        one: &Found,
        timeout: Option<Duration>,
        volumes: bool,
    ) -> Result<(), Failure> {
        use husk_engine::container::config::Mount;
        self.remove(&one.container, timeout, volumes)?;
        if volumes {
            // Anonymous volumes that a replaced container handed on have a name by now.
            for mount in &one.container.record.config.mounts {
                if let Mount::Volume { name, anonymous: false, .. } = mount
                    && Volume::find(self.home, name).is_ok_and(|volume| volume.anonymous)
                {
                    let _ = Volume::remove(self.home, name);
                }
            }
        }
        Ok(())
    }

    fn remove_images(&self, all: bool) -> Result<(), Failure> {
        for (name, service) in self.project.section("services") {
            let image = self.project.image_of(name, service);
            if !all && service.text_of("image").is_some() {
                continue;
            }
            match self.husk.output(&["rmi", &image]) {
                Ok(_) => self.done("Image", &image, "Removed"),
                Err(why) => note(Severity::Warning, &format!("image {image}: {why}")),
            }
        }
        Ok(())
    }

    fn remove_resources(&self, volumes: bool) -> Result<(), Failure> {
        let label = format!("{LABEL}project");
        let own =
            |labels: &BTreeMap<String, String>| labels.get(&label) == Some(&self.project.name);
        if volumes {
            for volume in Volume::all(self.home).map_err(engine)? {
                if own(&volume.labels) {
                    match Volume::remove(self.home, &volume.name) {
                        Ok(()) => self.done("Volume", &volume.name, "Removed"),
                        Err(error) => note(Severity::Warning, &engine(error)),
                    }
                }
            }
        }
        let networks = self.home.networks().map_err(engine)?;
        for network in networks.list().map_err(|e| e.to_string())? {
            if own(&network.labels) {
                match self.husk.output(&["network", "rm", &network.name]) {
                    Ok(_) => self.done("Network", &network.name, "Removed"),
                    Err(why) => {
                        note(Severity::Warning, &format!("network {}: {why}", network.name));
                    }
                }
            }
        }
        Ok(())
    }
}
