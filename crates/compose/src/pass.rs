//! Commands that husk has for one container: a service is resolved, and husk does the rest.

use std::io::IsTerminal as _;

use crate::arguments::{Attach, Build, Commit, Cp, Events, Exec, Export, Pull, Push, Run, Stats};
use crate::converge::Manner;
use crate::graph::at_once;
use crate::hash::digest;
use crate::project::Failure;
use crate::run::{note, print};
use crate::session::{LABEL, Session, engine};
use crate::source::Severity;
use crate::supply::{BuildFlags, Supply};
use crate::up::Wish;

/// Flags with a value.
fn flags<'a>(words: &mut Vec<String>, flag: &str, values: impl IntoIterator<Item = &'a String>) {
    words.extend(values.into_iter().map(|value| format!("{flag}={value}")));
}

impl Session<'_> {
    fn pass(&self, words: &[String]) -> Result<u8, Failure> {
        if self.dry_run {
            print(&format!("husk {}\n", crate::words::quoted(words)));
            return Ok(0);
        }
        self.husk.run(words)
    }

    /// `exec`.
    pub(crate) fn exec(&self, exec: &Exec) -> Result<u8, Failure> {
        let one = self.one_of(&exec.service, exec.index)?;
        let mut words = vec!["exec".to_owned()];
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        match exec.detach {
            true => words.push("--detach".to_owned()),
            false => words.push("--interactive".to_owned()),
        }
        if terminal && !exec.no_tty && !exec.detach {
            words.push("--tty".to_owned());
        }
        if exec.privileged {
            words.push("--privileged".to_owned());
        }
        flags(&mut words, "--env", &exec.env);
        flags(&mut words, "--user", &exec.user);
        flags(&mut words, "--workdir", &exec.workdir);
        words.push(one.existing.id);
        words.extend(exec.command.iter().cloned());
        self.pass(&words)
    }

    /// `run`.
    pub(crate) fn run_once(&self, run: &Run) -> Result<u8, Failure> {
        self.refuse()?;
        let name = &run.service;
        self.service(name)?;
        if !run.no_deps {
            // What it depends on runs and is as it wants it.
            let mut wish = Wish::default();
            wish.making.supplies = run.supplies.clone();
            wish.making.services = self.depends(name);
            if !wish.making.services.is_empty() {
                wish.making.scale = vec![format!("{name}=0")];
                wish.making.no_recreate = true;
                let plan = self.prepare_dependencies(&wish, name)?;
                self.start_all(&plan, Manner::default(), true)?;
                self.await_dependencies(name)?;
            }
        }
        let pull =
            Some(run.supplies.pull.clone()).filter(|pull| !["policy", ""].contains(&pull.as_str()));
        self.images(&Supply {
            build: run.supplies.build,
            pull,
            quiet_pull: run.supplies.quiet_pull,
            quiet_build: run.supplies.quiet_build,
            ..Supply::default()
        })?;
        self.resources()?;
        let random = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let suffix: String = digest(format!("{random} {}", std::process::id()).as_bytes())
            .chars()
            .take(12)
            .collect();
        let own = run
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-{name}-run-{suffix}", self.project.name));
        let mut new = self.new_container(name, &own, 1)?;
        new.one_off = !run.use_aliases;
        new.ports = run.service_ports;
        if !run.command.is_empty() {
            new.command = Some(run.command.clone());
        }
        if let Some(entrypoint) = &run.entrypoint {
            let words = crate::units::shell_words(entrypoint)
                .map_err(|why| format!("--entrypoint {entrypoint:?}: {why}"))?;
            new.entrypoint = Some(words);
            if run.command.is_empty() {
                new.command = Some(Vec::new());
            }
        }
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let words = &mut new.flags;
        words.push(format!("--tty={}", terminal && !run.no_tty && !run.detach));
        words.push(format!("--interactive={}", run.interactive && !run.detach));
        if run.remove {
            words.push("--rm".to_owned());
        }
        words.push(format!("--label={LABEL}slug={suffix}"));
        words.push(format!("--label={LABEL}oneoff=True"));
        flags(words, "--env-file", &run.env_from_file);
        flags(words, "--env", &run.env);
        flags(words, "--label", &run.label);
        flags(words, "--cap-add", &run.cap_add);
        flags(words, "--cap-drop", &run.cap_drop);
        flags(words, "--publish", &run.publish);
        flags(words, "--volume", &run.volume);
        flags(words, "--user", &run.user);
        flags(words, "--workdir", &run.workdir);
        if self.dry_run {
            print(&format!("{own}: create and run\n"));
            return Ok(0);
        }
        let id = self.create(name, &new)?;
        if run.detach {
            let container =
                husk_engine::container::Container::open(self.home, &id).map_err(engine)?;
            self.start(name, &container)?;
            print(&format!("{own}\n"));
            return Ok(0);
        }
        let mut words = vec!["start".to_owned(), "--attach".to_owned()];
        if run.interactive {
            words.push("--interactive".to_owned());
        }
        words.push(id);
        self.pass(&words)
    }

    /// Makes what a service depends on, and not the service.
    fn prepare_dependencies(&self, wish: &Wish, name: &str) -> Result<crate::plan::Plan, Failure> {
        let known = self.known();
        let mut wanted = self.wanted(&std::collections::BTreeMap::new());
        wanted.retain(|one| one.name != name);
        for one in &mut wanted {
            one.policy = crate::plan::Policy::Never;
        }
        self.images(&Supply { quiet_pull: wish.making.supplies.quiet_pull, ..Supply::default() })?;
        self.resources()?;
        let found = self.containers(false)?;
        let existing: Vec<_> = found.iter().map(|one| one.existing.clone()).collect();
        let plan = crate::plan::plan(&self.project.name, &wanted, &existing, &known);
        if !self.dry_run {
            self.converge(&plan, Manner::default())?;
        }
        Ok(plan)
    }

    /// `attach`.
    pub(crate) fn attach(&self, attach: &Attach) -> Result<u8, Failure> {
        let one = self.one_of(&attach.service, attach.index)?;
        let mut words = vec!["attach".to_owned(), format!("--sig-proxy={}", attach.sig_proxy)];
        if attach.no_stdin {
            words.push("--no-stdin".to_owned());
        }
        flags(&mut words, "--detach-keys", &attach.detach_keys);
        words.push(one.existing.id);
        self.pass(&words)
    }

    /// `top`.
    pub(crate) fn top(&self, names: &[String]) -> Result<u8, Failure> {
        for one in self.containers_of(names, false)?.iter().filter(|one| one.existing.running) {
            print(&format!("{}\n", one.existing.name));
            print(&self.husk.output(&["top", &one.existing.id])?);
            print("\n");
        }
        Ok(0)
    }

    /// `stats`.
    pub(crate) fn stats(&self, stats: &Stats) -> Result<u8, Failure> {
        let mut found = self.containers_of(&stats.services, false)?;
        found.retain(|one| stats.all || one.existing.running);
        if found.is_empty() {
            return Ok(0);
        }
        let mut words = vec!["stats".to_owned()];
        for (flag, on) in
            [("--all", stats.all), ("--no-stream", stats.no_stream), ("--no-trunc", stats.no_trunc)]
        {
            words.extend(on.then(|| flag.to_owned()));
        }
        flags(&mut words, "--format", &stats.format);
        words.extend(found.into_iter().map(|one| one.existing.id));
        self.pass(&words)
    }

    /// `events`.
    pub(crate) fn events(&self, events: &Events) -> Result<u8, Failure> {
        let mut words = vec![
            "events".to_owned(),
            format!("--filter=label={LABEL}project={}", self.project.name),
        ];
        if let [service] = events.services.as_slice() {
            words.push(format!("--filter=label={LABEL}service={service}"));
        } else if !events.services.is_empty() {
            return Err("events takes one service, or none".to_owned());
        }
        flags(&mut words, "--since", &events.since);
        flags(&mut words, "--until", &events.until);
        if events.json {
            words.push("--format=json".to_owned());
        }
        self.pass(&words)
    }

    /// `cp`.
    pub(crate) fn cp(&self, cp: &Cp) -> Result<u8, Failure> {
        let resolve = |text: &String| -> Result<String, Failure> {
            match text.split_once(':') {
                Some((service, path)) if !service.contains(['/', '.']) => {
                    Ok(format!("{}:{path}", self.one_of(service, cp.index)?.existing.id))
                }
                _ => Ok(text.clone()),
            }
        };
        let mut words = vec!["cp".to_owned()];
        for (flag, on) in [("--archive", cp.archive), ("--follow-link", cp.follow_link)] {
            words.extend(on.then(|| flag.to_owned()));
        }
        words.extend([resolve(&cp.source)?, resolve(&cp.destination)?]);
        self.pass(&words)
    }

    /// `export`.
    pub(crate) fn export(&self, export: &Export) -> Result<u8, Failure> {
        let one = self.one_of(&export.service, export.index)?;
        let mut words = vec!["export".to_owned()];
        flags(&mut words, "--output", &export.output);
        words.push(one.existing.id);
        self.pass(&words)
    }

    /// `commit`.
    pub(crate) fn commit(&self, commit: &Commit) -> Result<u8, Failure> {
        let one = self.one_of(&commit.service, commit.index)?;
        let mut words = vec!["commit".to_owned()];
        flags(&mut words, "--author", &commit.author);
        flags(&mut words, "--change", &commit.change);
        flags(&mut words, "--message", &commit.message);
        words.push(one.existing.id);
        words.extend(commit.image.iter().cloned());
        self.pass(&words)
    }

    /// The named services that are there; all where none is named.
    fn chosen(&self, names: &[String], dependencies: bool) -> Result<Vec<String>, Failure> {
        names.iter().try_for_each(|name| self.service(name).map(drop))?;
        let all = self.project.services().into_iter();
        let chosen = all.filter(|name| names.is_empty() || dependencies || names.contains(name));
        Ok(chosen.cloned().collect())
    }

    /// `build`.
    pub(crate) fn build_services(&self, build: &Build) -> Result<u8, Failure> {
        let flags = BuildFlags {
            args: build.build_arg.clone(),
            no_cache: build.no_cache,
            pull: build.pull,
            push: build.push,
            quiet: build.quiet,
            ssh: build.ssh.clone(),
            progress: None,
        };
        let names = self.chosen(&build.services, build.with_dependencies)?;
        names.iter().try_for_each(|name| self.build(name, &flags))?;
        Ok(0)
    }

    /// `pull`.
    pub(crate) fn pull_services(&self, pull: &Pull) -> Result<u8, Failure> {
        let mut images = std::collections::BTreeMap::new();
        for name in self.chosen(&pull.services, pull.include_deps)? {
            let service = self.service(&name)?;
            let builds = service.get("build").is_some();
            let own = service.text_of("image").is_some();
            let image = self.project.image_of(&name, service);
            let there = self.home.images().is_ok_and(|store| store.find(&image).is_ok());
            if !own || (builds && pull.ignore_buildable) || (pull.policy == "missing" && there) {
                continue;
            }
            images.entry(image).or_insert(name);
        }
        let list: Vec<(String, String)> = images.into_iter().collect();
        at_once(&list, &|(image, name)| match self.pull(name, image, pull.quiet) {
            Err(why) if pull.ignore_pull_failures => {
                note(Severity::Warning, &why);
                Ok(())
            }
            other => other,
        })?;
        Ok(0)
    }

    /// `push`.
    pub(crate) fn push_services(&self, push: &Push) -> Result<u8, Failure> {
        for name in self.chosen(&push.services, push.include_deps)? {
            let service = self.service(&name)?;
            if service.get("build").is_none() || service.text_of("image").is_none() {
                continue;
            }
            let image = self.project.image_of(&name, service);
            let mut words = vec!["push".to_owned()];
            words.extend(push.quiet.then(|| "--quiet".to_owned()));
            words.push(image.clone());
            match self.pass(&words)? {
                0 => {}
                _ if push.ignore_push_failures => {
                    note(Severity::Warning, &format!("{image} was not pushed"));
                }
                code => return Ok(code),
            }
        }
        Ok(0)
    }

    /// `systemd`: a unit that starts the project at boot and stops it at shutdown.
    pub(crate) fn systemd(&self) -> u8 {
        let files: Vec<String> = self
            .project
            .files
            .iter()
            .flat_map(|path| ["-f".to_owned(), path.display().to_string()])
            .collect();
        let program = std::env::current_exe()
            .map_or_else(|_| "/usr/bin/husk".to_owned(), |path| path.display().to_string());
        let mut call =
            vec![program, "compose".to_owned(), "-p".to_owned(), self.project.name.clone()];
        call.extend(files);
        // A % is a specifier of systemd's.
        let call = crate::words::quoted(&call).replace('%', "%%");
        let directory = self.project.directory.display().to_string().replace('%', "%%");
        print(&format!(
            "[Unit]\nDescription=Compose project {}\nWants=network-online.target\nAfter=network-online.target\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\nWorkingDirectory={directory}\nExecStart={call} up -d --wait\n\
             ExecStop={call} stop\nTimeoutStartSec=infinity\nKillMode=none\n\n[Install]\nWantedBy=multi-user.target\n",
            self.project.name
        ));
        0
    }
}
