//! What other crates call, and what is printed.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use husk_engine::home::Home;

use crate::arguments::{Command, Compose, Up, Watch};
use crate::husk::Husk;
use crate::listing;
use crate::load::Environment;
use crate::output;
use crate::project::{Failure, Project, Request};
use crate::session::Session;
use crate::source::Severity;
use crate::up::Wish;

/// Who calls: the environment and the directory that files and variables come from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Variables.
    pub environment: Environment,
    /// The working directory.
    pub current: PathBuf,
}

/// `config --format json` with these files, profiles and environment files.
///
/// # Errors
/// The text that a person sees: every mistake with its place.
pub fn config_json(
    caller: &Caller,
    files: &[String],
    profiles: &[String],
    env_files: &[String],
) -> Result<serde_json::Value, String> {
    let request = Request {
        files: files.to_vec(),
        profiles: profiles.to_vec(),
        env_files: env_files.to_vec(),
        ..Request::new(caller)
    };
    request.load().map(|project| output::json(&project.root, true))
}

impl Compose {
    /// Whether the engine is needed: `config` only reads files.
    pub fn needs_engine(&self) -> bool {
        !matches!(self.command, Command::Config(_))
    }

    /// Runs the command; says what is wrong on standard error. Gives the exit code.
    pub fn run(&self, home: &Home, caller: &Caller) -> u8 {
        match self.dispatch(home, caller) {
            Ok(code) => code,
            Err(failure) => {
                error(&failure);
                1
            }
        }
    }

    fn request(&self, caller: &Caller) -> Request {
        Request {
            files: self.file.clone(),
            name: self.project_name.clone(),
            directory: self.project_directory.clone(),
            profiles: self.profile.clone(),
            env_files: self.env_file.clone(),
            all_resources: self.all_resources,
            ..Request::new(caller)
        }
    }

    fn dispatch(&self, home: &Home, caller: &Caller) -> Result<u8, Failure> {
        match &self.command {
            Command::Config(config) => return config.run(self.request(caller)),
            Command::Ls(ls) => return listing::ls(home, ls),
            Command::Version(version) => return listing::version(version),
            _ => {}
        }
        if !["auto", "always", "never"].contains(&self.ansi.as_str()) {
            return Err(format!("--ansi {:?}: must be auto, always or never", self.ansi));
        }
        if !["auto", "tty", "plain", "json", "quiet"].contains(&self.progress.as_str()) {
            return Err(format!(
                "--progress {:?}: must be auto, tty, plain, json or quiet",
                self.progress
            ));
        }
        let session = Session {
            home,
            husk: Husk::new(home),
            project: self.project(caller)?,
            limit: usize::try_from(self.parallel)
                .ok()
                .filter(|limit| *limit > 0)
                .unwrap_or(usize::MAX),
            dry_run: self.dry_run,
            quiet: self.progress == "quiet",
            color: match self.ansi.as_str() {
                "always" => true,
                "never" => false,
                _ => {
                    std::io::stdout().is_terminal() && !caller.environment.contains_key("NO_COLOR")
                }
            },
        };
        session.command(&self.command)
    }

    /// The project; without a file, for commands that need none, what its containers say.
    fn project(&self, caller: &Caller) -> Result<Project, Failure> {
        let mut request = self.request(caller);
        let (named, dependencies) = self.command.services();
        request.services.clone_from(&named);
        // What is stopped or removed is so whatever its profile is.
        request.all_profiles = self.command.takes_all_profiles();
        let name = self
            .project_name
            .clone()
            .or_else(|| caller.environment.get("COMPOSE_PROJECT_NAME").cloned());
        let mut project = match (request.load(), name) {
            (Err(_), Some(name))
                if self.file.is_empty()
                    && self.command.works_without_file()
                    && !request.has_file() =>
            {
                return Ok(Project::bare(&name, caller));
            }
            (loaded, _) => loaded?,
        };
        project.warn();
        match dependencies {
            Some(true) => project.keep_named(&named)?,
            Some(false) => project.keep_only(&named)?,
            None => {}
        }
        Ok(project)
    }
}

impl Command {
    /// The services that are named; whether the project is cut down to them, with what they
    /// depend on or without.
    fn services(&self) -> (Vec<String>, Option<bool>) {
        match self {
            Self::Up(up) => (up.making.services.clone(), Some(!up.no_deps)),
            Self::Create(create) => (create.making.services.clone(), Some(true)),
            Self::Run(run) => (vec![run.service.clone()], Some(!run.no_deps)),
            Self::Scale(scale) => {
                let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
                (scale.scale.iter().map(name).collect(), Some(!scale.no_deps))
            }
            Self::Watch(watch) => (watch.services.clone(), Some(true)),
            Self::Build(build) => (build.services.clone(), Some(true)),
            Self::Pull(pull) => (pull.services.clone(), Some(true)),
            Self::Push(push) => (push.services.clone(), Some(true)),
            _ => (Vec::new(), None),
        }
    }

    fn takes_all_profiles(&self) -> bool {
        !matches!(
            self,
            Self::Up(_)
                | Self::Create(_)
                | Self::Run(_)
                | Self::Scale(_)
                | Self::Watch(_)
                | Self::Build(_)
                | Self::Pull(_)
                | Self::Push(_)
        )
    }

    /// Whether a project's name is enough.
    fn works_without_file(&self) -> bool {
        self.takes_all_profiles() && !matches!(self, Self::Systemd(_))
    }
}

impl Session<'_> {
    fn command(&self, command: &Command) -> Result<u8, Failure> {
        match command {
            Command::Config(_) | Command::Ls(_) | Command::Version(_) => Ok(0),
            Command::Up(up) => {
                let code = self.up(up)?;
                if up.watch {
                    return self.watch(&Watch {
                        no_up: true,
                        quiet: false,
                        services: up.making.services.clone(),
                    });
                }
                Ok(code)
            }
            Command::Create(create) => {
                let wish = Wish { making: create.making.clone(), ..Wish::default() };
                self.prepare(&wish).map(|_| 0)
            }
            Command::Scale(scale) => {
                let mut up = Up { detach: true, no_deps: scale.no_deps, ..Up::default() };
                up.making.scale.clone_from(&scale.scale);
                up.making.no_recreate = true;
                self.up(&up)
            }
            Command::Down(down) => self.down(down),
            Command::Ps(ps) => self.ps(ps),
            Command::Logs(logs) => self.logs(logs),
            Command::Exec(exec) => self.exec(exec),
            Command::Run(run) => self.run_once(run),
            Command::Start(services) => self.start_services(&services.services),
            Command::Stop(stop) => self.stop_services(stop),
            Command::Restart(restart) => self.restart_services(restart),
            Command::Kill(kill) => self.kill_services(kill),
            Command::Rm(rm) => self.remove_services(rm),
            Command::Pause(services) => self.pause_services(&services.services, true),
            Command::Unpause(services) => self.pause_services(&services.services, false),
            Command::Build(build) => self.build_services(build),
            Command::Pull(pull) => self.pull_services(pull),
            Command::Push(push) => self.push_services(push),
            Command::Images(images) => self.images_of(images),
            Command::Volumes(volumes) => self.volumes(volumes),
            Command::Port(port) => self.port(port),
            Command::Top(services) => self.top(&services.services),
            Command::Stats(stats) => self.stats(stats),
            Command::Events(events) => self.events(events),
            Command::Cp(cp) => self.cp(cp),
            Command::Wait(wait) => self.wait_services(wait),
            Command::Attach(attach) => self.attach(attach),
            Command::Watch(watch) => self.watch(watch),
            Command::Export(export) => self.export(export),
            Command::Commit(commit) => self.commit(commit),
            Command::Systemd(_) => Ok(self.systemd()),
        }
    }
}

impl Project {
    /// Prints what was found and does no harm.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            note(Severity::Warning, &warning.line(&self.sources));
        }
    }
}

/// A text on standard output; that its reader has gone is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A failure on standard error.
pub(crate) fn error(text: &str) {
    note(Severity::Error, text);
}

/// A remark on standard error, without what a terminal would obey.
pub(crate) fn note(severity: Severity, text: &str) {
    let clean: String =
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    let word = match severity {
        Severity::Error => "Error: ",
        Severity::Warning => "Warning: ",
        Severity::Remark => "",
    };
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{word}{clean}");
}

/// Rows with columns of the same width, three blanks between them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let blanks = width + 3 - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
