//! Instructions that change the image's config and no file.

use super::BuildError;
use super::builder::Build;
use super::dockerfile::{Instruction, Word};
use super::state::{StageState, absolute};
use crate::facts::parse_port;
use crate::progress::Event;

impl Build<'_> {
    pub(super) fn metadata(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
    ) -> Result<(), BuildError> {
        match instruction {
            Instruction::Env(pairs) => {
                // All values of one ENV see the variables as they were before it.
                let mut values = Vec::new();
                for (name, value) in pairs {
                    values.push(self.pair("ENV", name, value, state)?);
                }
                for (name, value) in values {
                    state.set_env(&name, &value);
                }
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let (name, value) = self.pair("LABEL", name, value, state)?;
                    state.config.labels.get_or_insert_default().insert(name, value);
                }
            }
            Instruction::User(word) => {
                let user = self.expand(word, state)?;
                if user.contains(['\0', '\n', ' ']) || user.is_empty() {
                    return Err(self.wrong(word, "USER takes user[:group]"));
                }
                state.config.user = Some(user);
            }
            Instruction::Entrypoint(command) => {
                state.config.entrypoint = Some(state.argv(command));
                // A CMD of the base image was meant for its own entrypoint.
                if !state.has_cmd {
                    state.config.cmd = None;
                }
            }
            Instruction::Cmd(command) => {
                state.config.cmd = Some(state.argv(command));
                state.has_cmd = true;
            }
            Instruction::Expose(words) => {
                for word in words {
                    let text = self.expand(word, state)?;
                    for port in text.split_whitespace() {
                        let port = parse_port(port)
                            .map_err(|problem| self.wrong(word, format!("{port:?}: {problem}")))?;
                        let ports = state.config.exposed_ports.get_or_insert_default();
                        ports.insert(port.to_string(), crate::config::Empty {});
                    }
                }
            }
            Instruction::Volume(words) => {
                for word in words {
                    let text = self.expand(word, state)?;
                    if text.trim().is_empty() {
                        return Err(self.wrong(word, "VOLUME takes paths; this one is empty"));
                    }
                    let path = absolute(&text, state.working_dir());
                    if path == "/" {
                        return Err(self.wrong(word, "a volume cannot be the root"));
                    }
                    let volumes = state.config.volumes.get_or_insert_default();
                    volumes.insert(path, crate::config::Empty {});
                }
            }
            Instruction::StopSignal(word) => {
                let signal = self.expand(word, state)?;
                if husk_sys::signal_name::number(&signal).is_none() {
                    let form = "is no signal; it takes a name or a number, as in SIGTERM or 15";
                    return Err(self.wrong(word, format!("STOPSIGNAL {signal:?} {form}")));
                }
                state.config.stop_signal = Some(signal);
            }
            Instruction::Shell(shell) => state.config.shell = Some(shell.clone()),
            Instruction::Maintainer(author) => state.author = Some(author.clone()),
            Instruction::Healthcheck(check) => {
                state.config.healthcheck = Some(check.recorded());
                if check.command.is_some() {
                    let text =
                        "HEALTHCHECK is recorded in the image; husk run does not probe it yet";
                    self.progress.event(Event::Warning(text));
                }
            }
            Instruction::OnBuild(trigger) => {
                state.config.on_build.get_or_insert_default().push(trigger.text.clone());
            }
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Workdir(_)
            | Instruction::Arg(_) => {}
        }
        Ok(())
    }

    /// A name and a value of ENV or LABEL; the name must be one.
    fn pair(
        &self,
        keyword: &str,
        name: &Word,
        value: &Word,
        state: &StageState,
    ) -> Result<(String, String), BuildError> {
        let found = (self.expand(name, state)?, self.expand(value, state)?);
        match found.0.trim().is_empty() {
            true => Err(self.wrong(name, format!("{keyword} takes name=value; the name is empty"))),
            false => Ok(found),
        }
    }
}
