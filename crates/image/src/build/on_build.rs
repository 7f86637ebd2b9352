//! ONBUILD: instructions that an image has for the builds on top of it (Dockerfile
//! reference, "ONBUILD").
//!
//! They run right after FROM, as if they stood there, and are not passed on. What is wrong
//! with one is said at the FROM that brought it.

use super::BuildError;
use super::builder::Build;
use super::dockerfile::{Stage, Step};
use super::error::DockerfileError;
use super::state::StageState;
use crate::digest::clip;
use crate::progress::Event;

impl Build<'_> {
    /// Runs what the base of a stage has for it.
    pub(super) fn triggers(
        &mut self,
        state: &mut StageState,
        stage: &Stage,
        index: usize,
        place: &str,
    ) -> Result<(), BuildError> {
        let triggers = state.config.on_build.take().unwrap_or_default();
        let position = stage.base.position;
        for (number, text) in triggers.iter().enumerate() {
            let shown = format!("[{place}{}/{} ONBUILD] {text}", number + 1, triggers.len());
            self.progress.event(Event::Step(&shown));
            let told = |mut error: DockerfileError| {
                error.message = format!("ONBUILD {} of this image: {}", clip(text), error.message);
                error.position = position;
                error
            };
            let instruction = self.dockerfile.triggered(text, position).map_err(told)?;
            let step = Step { instruction, position, text: text.clone() };
            self.step(state, &step, index).map_err(|error| match error {
                BuildError::Dockerfile(error) => BuildError::Dockerfile(told(error)),
                BuildError::Run(error) => BuildError::Run(told(error)),
                error => error,
            })?;
        }
        Ok(())
    }
}
