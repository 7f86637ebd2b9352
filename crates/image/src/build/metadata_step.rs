//! Instructions that change the image's config and no file.

use super::dockerfile::{Dockerfile, Instruction, Word};
use super::error::DockerfileError;
use super::state::{StageState, absolute};
use crate::config::Empty;
use crate::facts::parse_port;

type Result<T> = std::result::Result<T, DockerfileError>;

impl Dockerfile {
    /// Does what an instruction says to the config; those that make files it leaves alone.
    pub(super) fn metadata(&self, state: &mut StageState, instruction: &Instruction) -> Result<()> {
        match instruction {
            Instruction::Env(pairs) => {
                // All values of one ENV see the variables as they were before it.
                for (name, value) in self.pairs("ENV", pairs, state)? {
                    state.set_env(&name, &value);
                }
            }
            Instruction::Label(pairs) => {
                let labels = self.pairs("LABEL", pairs, state)?;
                state.config.labels.get_or_insert_default().extend(labels);
            }
            Instruction::User(word) => state.config.user = Some(self.user(state, word)?),
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
            Instruction::Expose(words) => self.expose(state, words)?,
            Instruction::Volume(words) => self.volumes(state, words)?,
            Instruction::StopSignal(word) => {
                state.config.stop_signal = Some(self.stop_signal(state, word)?);
            }
            Instruction::Shell(shell) => state.config.shell = Some(shell.clone()),
            Instruction::Maintainer(author) => state.author = Some(author.clone()),
            Instruction::Healthcheck(check) => {
                state.config.healthcheck = Some(check.recorded());
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

    /// What WORKDIR means on top of the present one.
    pub(super) fn working_dir(&self, state: &StageState, word: &Word) -> Result<String> {
        let text = self.value(word, state)?;
        match text.is_empty() || text.contains('\0') {
            true => Err(self.error(word.position, "WORKDIR takes a path")),
            false => Ok(absolute(&text, state.working_dir())),
        }
    }

    fn value(&self, word: &Word, state: &StageState) -> Result<String> {
        self.expand(word, &|name| state.variable(name))
    }

    fn user(&self, state: &StageState, word: &Word) -> Result<String> {
        let user = self.value(word, state)?;
        match user.contains(['\0', '\n', ' ']) || user.is_empty() {
            true => Err(self.error(word.position, "USER takes user[:group]")),
            false => Ok(user),
        }
    }

    fn expose(&self, state: &mut StageState, words: &[Word]) -> Result<()> {
        for word in words {
            let text = self.value(word, state)?;
            for port in text.split_whitespace() {
                let port = parse_port(port)
                    .map_err(|problem| self.error(word.position, format!("{port:?}: {problem}")))?;
                // The image-spec knows single ports only.
                let ports = state.config.exposed_ports.get_or_insert_default();
                for number in port.first..=port.last {
                    ports.insert(format!("{number}/{}", port.protocol), Empty {});
                }
            }
        }
        Ok(())
    }

    fn volumes(&self, state: &mut StageState, words: &[Word]) -> Result<()> {
        for word in words {
            let text = self.value(word, state)?;
            if text.trim().is_empty() {
                let message = "VOLUME takes paths; this one is empty";
                return Err(self.error(word.position, message));
            }
            let path = absolute(&text, state.working_dir());
            if path == "/" {
                return Err(self.error(word.position, "a volume cannot be the root"));
            }
            state.config.volumes.get_or_insert_default().insert(path, Empty {});
        }
        Ok(())
    }

    fn stop_signal(&self, state: &StageState, word: &Word) -> Result<String> {
        let signal = self.value(word, state)?;
        if husk_sys::signal_name::number(&signal).is_none() {
            let form = "is no signal; it takes a name or a number, as in SIGTERM or 15";
            return Err(self.error(word.position, format!("STOPSIGNAL {signal:?} {form}")));
        }
        Ok(signal)
    }

    /// Names and values of ENV or LABEL; the names must be some.
    fn pairs(
        &self,
        keyword: &str,
        pairs: &[(Word, Word)],
        state: &StageState,
    ) -> Result<Vec<(String, String)>> {
        let pair = |(name, value): &(Word, Word)| {
            let found = (self.value(name, state)?, self.value(value, state)?);
            match found.0.trim().is_empty() {
                true => {
                    let message = format!("{keyword} takes name=value; the name is empty");
                    Err(self.error(name.position, message))
                }
                false => Ok(found),
            }
        };
        pairs.iter().map(pair).collect()
    }
}
