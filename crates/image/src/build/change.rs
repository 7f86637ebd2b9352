//! `--change`: instructions for an image that no Dockerfile builds.

use super::dockerfile::{Dockerfile, Instruction};
use super::error::DockerfileError;
use super::state::StageState;
use crate::config::RunConfig;
use crate::platform::Platform;

/// The config that instructions make of an empty one, in their order. All of a Dockerfile's
/// that change the config and no file are taken, with variables of ENV.
///
/// # Errors
/// [`DockerfileError`]; its `line` is the instruction.
pub fn config_of(changes: &[String]) -> Result<RunConfig, DockerfileError> {
    config_on(RunConfig::default(), changes)
}

/// The same of a config that is there.
///
/// # Errors
/// As [`config_of`].
pub fn config_on(config: RunConfig, changes: &[String]) -> Result<RunConfig, DockerfileError> {
    let source = format!("FROM scratch\n{}\n", changes.join("\n"));
    let dockerfile = Dockerfile::parse("--change", &source)?;
    let mut state = StageState::scratch(Platform::host());
    state.config = config;
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        if index > 0 {
            return Err(dockerfile.error(stage.base.position, "FROM builds an image"));
        }
        for step in &stage.steps {
            match &step.instruction {
                Instruction::Run(_) | Instruction::Copy(_) | Instruction::Arg(_) => {
                    let message = "only instructions that change the config and no file are taken: \
                                   CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, \
                                   STOPSIGNAL, USER, VOLUME and WORKDIR";
                    return Err(dockerfile.error(step.position, message));
                }
                Instruction::Workdir(word) => {
                    let path = dockerfile.working_dir(&state, word)?;
                    state.config.working_dir = Some(path);
                }
                instruction => dockerfile.metadata(&mut state, instruction)?,
            }
        }
    }
    Ok(state.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig, DockerfileError> {
        let changes: Vec<String> = changes.iter().map(|text| (*text).to_owned()).collect();
        config_of(&changes)
    }

    #[test]
    fn all_that_changes_the_config_is_taken() {
        let config = changed(&[
            "ENV A=1 B=\"x y\"",
            "env C some words",
            "WORKDIR /a",
            "WORKDIR b/$A",
            "USER me:us",
            "ENTRYPOINT [\"/e\"]",
            "CMD run it",
            "EXPOSE 80 53/udp",
            "LABEL a=b",
            "ONBUILD RUN x",
            "STOPSIGNAL SIGINT",
            "VOLUME /v",
            "HEALTHCHECK CMD true",
        ])
        .unwrap();
        assert_eq!(config.env.unwrap(), ["A=1", "B=x y", "C=some words"]);
        assert_eq!(config.working_dir.as_deref(), Some("/a/b/1"));
        assert_eq!(config.user.as_deref(), Some("me:us"));
        assert_eq!(config.entrypoint.unwrap(), ["/e"]);
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.exposed_ports.unwrap().len(), 2);
        assert_eq!(config.labels.unwrap()["a"], "b");
        assert_eq!(config.on_build.unwrap(), ["RUN x"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert!(config.volumes.unwrap().contains_key("/v") && config.healthcheck.is_some());
        assert_eq!(changed(&[]).unwrap(), RunConfig::default());
    }

    #[test]
    fn the_instruction_that_is_not_is_named() {
        for (change, expected) in [
            ("RUN x", "only instructions that change the config"),
            ("COPY a /b", "only instructions that change the config"),
            ("FROM x", "FROM builds an image"),
            ("CMDS x", "CMDS"),
            ("CMD", "needs an argument"),
            ("EXPOSE x", "not a port"),
            ("STOPSIGNAL x", "is no signal"),
        ] {
            let error = changed(&["ENV A=1", change]).unwrap_err();
            assert!(error.message.contains(expected), "{change}: {}", error.message);
            assert_eq!(error.line, change);
        }
    }
}
