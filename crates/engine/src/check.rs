//! `system check`: what of the engine's records is damaged, and mending it.
//!
//! Records can be cut short by a power failure, by a full disk on a filesystem that lies, or by
//! hand. Most can be derived from what is beside them; what cannot is named with the command
//! that removes it.

use std::path::{Path, PathBuf};

use husk_image::store::{Fault, Repair, StoreError};

use crate::container::state::State;
use crate::container::{Container, Source, name, restore_name, sweep};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::volume::{self, Volume};

/// One thing that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// What is affected, as a person names it.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// What a person can do about it.
    pub remedy: String,
    /// What came of repairing it; `None` where that was not asked for, or cannot be.
    pub repaired: Option<Result<()>>,
}

impl Finding {
    /// Whether it is still wrong.
    pub fn stands(&self) -> bool {
        !matches!(self.repaired, Some(Ok(())))
    }
}

/// How thorough a check is, and what it changes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Repair what can be.
    pub repair: bool,
    /// Compare unpacked layers with their blobs.
    pub layers: bool,
}

/// Checks everything of one engine; `report` gets each finding when it has been dealt with.
///
/// # Errors
/// A directory that cannot be read, and those of `report`.
pub fn check(
    home: &Home,
    options: Options,
    report: &mut dyn FnMut(Finding) -> Result<()>,
) -> Result<()> {
    let mut check = Check { home, repair: options.repair, report };
    check.containers()?;
    check.volumes()?;
    check.networks()?;
    let store = home.images()?;
    for fault in store.check(options.layers)? {
        check.store_fault(&fault)?;
    }
    check.scratch()
}

struct Check<'a> {
    home: &'a Home,
    repair: bool,
    report: &'a mut dyn FnMut(Finding) -> Result<()>,
}

impl Check<'_> {
    fn found(
        &mut self,
        object: String,
        problem: impl std::fmt::Display,
        remedy: impl Into<String>,
        repair: Option<&dyn Fn() -> Result<()>>,
    ) -> Result<()> {
        let repaired = repair.filter(|_| self.repair).map(|repair| repair());
        let problem = problem.to_string();
        (self.report)(Finding { object, problem, remedy: remedy.into(), repaired })
    }

    fn containers(&mut self) -> Result<()> {
        let home = self.home;
        let (containers, damaged) = Container::survey(home)?;
        for (id, error) in damaged {
            let short = name::short(&id).to_owned();
            let changes = home.root.join("containers").join(&id).join("upper");
            let remedy = format!(
                "\"husk rm -f {short}\" removes it; its changes to the image are in {}",
                changes.display()
            );
            self.found(format!("container {short}"), error, remedy, None)?;
        }
        let pins = home.images()?.pins()?;
        for container in &containers {
            let object = format!("container {}", container.record.name);
            let path = container.directory.join("state.json");
            if let Err(error) = husk_record::read::<State>(&path) {
                let mend = || {
                    let _lock = container.lock()?;
                    let state = container.written_state()?;
                    husk_record::remove(&path)?;
                    container.write_state(&state)
                };
                let remedy = "it counts as ended, with exit status 255";
                self.found(object.clone(), error, remedy, Some(&mend))?;
            }
            if !container.has_name(home) {
                let problem = "the file of its name is missing or damaged";
                let mend = || restore_name(home, container);
                self.found(object.clone(), problem, "\"husk rename\" writes it", Some(&mend))?;
            }
            if let Source::Image { manifest, .. } = &container.record.source {
                match home.images()?.image(manifest) {
                    Ok(_) if pins.iter().any(|(id, _)| id == container.id()) => {}
                    Ok(_) => {
                        let problem = "its image could be removed: the pin is missing";
                        let mend = || sweep::restore_pins(home);
                        self.found(object, problem, "a prune restores it", Some(&mend))?;
                    }
                    Err(error) => {
                        let remedy = format!(
                            "pull or load {} again, or \"husk rm {}\"",
                            container.record.image, container.record.name
                        );
                        self.found(
                            object,
                            format_args!("its image is not there: {error}"),
                            remedy,
                            None,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    fn volumes(&mut self) -> Result<()> {
        let home = self.home;
        for volume in Volume::all(home)? {
            let object = format!("volume {}", volume.name);
            if let Some(damage) = &volume.damage {
                let remedy = "its data are there, its labels are lost";
                let mend = || volume.write(home);
                self.found(object, damage, remedy, Some(&mend))?;
            } else if !volume::data(home, &volume.name).is_dir() {
                let remedy = format!("\"husk volume rm {}\"", volume.name);
                self.found(object, "its data directory is gone", remedy, None)?;
            }
        }
        Ok(())
    }

    fn networks(&mut self) -> Result<()> {
        let nets = self.home.networks()?;
        for (name, error) in nets.damaged()? {
            let remedy = match name.as_str() {
                "bridge" => "it is made anew at its next use, once it is removed".to_owned(),
                name => format!("\"husk network rm {name}\", and create it again"),
            };
            let mend = || Ok(nets.remove(&name)?);
            self.found(format!("network {name}"), error, remedy, Some(&mend))?;
        }
        for path in nets.damaged_leases()? {
            let running = self.running()?;
            let problem = format!("{} is damaged: who has which address or port", path.display());
            let remedy = "stop all containers, then repair";
            let mend = || Ok(husk_record::remove(&path)?);
            let mend: Option<&dyn Fn() -> Result<()>> = (!running).then_some(&mend);
            self.found("addresses and ports in use".to_owned(), problem, remedy, mend)?;
        }
        Ok(())
    }

    fn running(&self) -> Result<bool> {
        let (containers, _) = Container::survey(self.home)?;
        Ok(containers.iter().any(|one| one.written_state().is_ok_and(|state| state.is_alive())))
    }

    fn store_fault(&mut self, fault: &Fault) -> Result<()> {
        let store = self.home.images()?;
        let mend = || match store.repair(fault) {
            Ok(_) => Ok(()),
            Err(error @ StoreError::LayerInUse(_)) => Err(error.into()),
            Err(error) => Err(Error::from(error)),
        };
        let mend: Option<&dyn Fn() -> Result<()>> = (fault.repair != Repair::None).then_some(&mend);
        self.found(fault.object.clone(), &fault.problem, fault.remedy.clone(), mend)
    }

    /// What was being written by processes that were killed.
    fn scratch(&mut self) -> Result<()> {
        if !self.repair {
            return Ok(());
        }
        let networks = self.home.root.join("networks");
        let left = std::fs::read_dir(&networks).into_iter().flatten().flatten();
        let is_scratch = |path: &Path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(husk_record::is_scratch)
        };
        let left: Vec<PathBuf> = left.map(|one| one.path()).filter(|one| is_scratch(one)).collect();
        let _lock = husk_record::Lock::exclusive(&networks.join("lock")).ok();
        left.iter().try_for_each(|path| Ok(husk_record::remove(path)?))
    }
}
