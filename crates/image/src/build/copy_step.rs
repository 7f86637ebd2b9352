//! COPY and ADD as steps: their words, their cache key, and where things go.

use std::os::fd::{AsFd, OwnedFd};

use super::BuildError;
use super::builder::Build;
use super::copy::{Attributes, CopyError, Source, Target};
use super::dockerfile::{Copy, Step, Word};
use super::layer_step::{Scratch, layer_step};
use super::state::{StageState, absolute};
use crate::overlay::OverlayPlan;
use crate::pack::TreeHash;
use crate::store::ImageRecord;
use crate::user::lookup;

/// A COPY or ADD with its words expanded and its sources found.
struct Resolved<'c> {
    copy: &'c Copy,
    /// The destination as it stands, and absolute.
    text: String,
    destination: String,
    paths: Vec<(&'c Word, String)>,
    inline: Vec<(String, String)>,
    chown: Option<String>,
    mode: Option<u32>,
}

impl Resolved<'_> {
    /// The destination is a directory by its form.
    fn has_slash(&self) -> bool {
        self.text.ends_with('/') || self.text.ends_with("/.") || self.text == "."
    }

    fn hash(&self, key: &mut TreeHash) {
        key.field(self.text.as_bytes());
        key.field(self.destination.as_bytes());
        key.field(self.chown.as_deref().unwrap_or_default().as_bytes());
        key.field(&self.mode.unwrap_or(u32::MAX).to_le_bytes());
        for (name, content) in &self.inline {
            key.field(name.as_bytes());
            key.field(content.as_bytes());
        }
    }
}

impl Build<'_> {
    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        step: &Step,
        copy: &Copy,
        index: usize,
    ) -> Result<(), BuildError> {
        let view = match &copy.from {
            Some(from) => Some(self.view(from, index, state)?),
            None => None,
        };
        let source = match (&view, &self.options.context) {
            (Some(view), _) => Some(Source { root: view.mount.as_fd(), ignore: None }),
            (None, Some(context)) => {
                Some(Source { root: context.as_fd(), ignore: Some(&self.options.ignore) })
            }
            (None, None) => None,
        };
        let resolved = self.resolve_copy(state, step, copy, source.as_ref())?;
        let mut key = state.key(if copy.add { "ADD" } else { "COPY" });
        resolved.hash(&mut key);
        for (word, path) in &resolved.paths {
            if let Some(source) = &source {
                source.hash(&mut key, path).map_err(|e| self.copy_error(word, e))?;
            }
        }
        let make = &mut |rootfs: &OwnedFd| self.place(&resolved, source.as_ref(), rootfs);
        layer_step(self.store, self.options, self.progress, state, key, make)
    }

    fn resolve_copy<'c>(
        &self,
        state: &StageState,
        step: &Step,
        copy: &'c Copy,
        source: Option<&Source<'_>>,
    ) -> Result<Resolved<'c>, BuildError> {
        let text = self.expand(&copy.destination, state)?;
        let mut paths = Vec::new();
        for word in &copy.sources {
            let pattern = self.expand(word, state)?;
            if pattern.is_empty() {
                let message = "this source is empty; . is the whole of the context";
                return Err(self.wrong(word, message));
            }
            let source =
                source.ok_or_else(|| self.wrong(word, "this build has no context to copy from"))?;
            let found = source.find(&pattern).map_err(|e| self.copy_error(word, e))?;
            paths.extend(found.into_iter().map(|path| (word, path)));
        }
        let mut inline = Vec::new();
        for heredoc in &copy.inline {
            let content = match heredoc.expand {
                true => {
                    let word = Word { text: quoted(&heredoc.content), position: step.position };
                    self.expand(&word, state)?
                }
                false => heredoc.content.clone(),
            };
            inline.push((heredoc.name.clone(), content));
        }
        let chown = copy.chown.as_ref().map(|word| self.expand(word, state)).transpose()?;
        let mode = copy.chmod.as_ref().map(|word| self.mode(word, state)).transpose()?;
        let destination = absolute(&text, state.working_dir());
        let resolved = Resolved { copy, text, destination, paths, inline, chown, mode };
        if resolved.paths.len() + resolved.inline.len() > 1 && !resolved.has_slash() {
            let message = "several sources need a destination that ends in /";
            return Err(self.wrong(&copy.destination, message));
        }
        Ok(resolved)
    }

    pub(super) fn mode(&self, word: &Word, state: &StageState) -> Result<u32, BuildError> {
        let digits = self.expand(word, state)?;
        let octal = u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o7777);
        let octal = octal.filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        octal.ok_or_else(|| self.wrong(word, "a mode is octal digits, as in 0755"))
    }

    /// Copies into a root file system.
    fn place(
        &self,
        resolved: &Resolved<'_>,
        source: Option<&Source<'_>>,
        rootfs: &OwnedFd,
    ) -> Result<(), BuildError> {
        let (uid, gid) = match &resolved.chown {
            Some(text) => self.owner(rootfs, resolved.copy, text)?,
            None => (0, 0),
        };
        let attributes = Attributes { uid, gid, mode: resolved.mode, keep_owner: false };
        let target = Target { root: rootfs.as_fd(), attributes, options: &self.options.unpack };
        let destination = &resolved.destination;
        let into = resolved.has_slash() || target.is_directory(destination);
        for (word, path) in &resolved.paths {
            if let Some(source) = source {
                target
                    .copy(source, path, destination, into, resolved.copy.add)
                    .map_err(|e| self.copy_error(word, e))?;
            }
        }
        for (name, content) in &resolved.inline {
            let name = into.then_some(name.as_str());
            target.write(destination, name, content.as_bytes()).map_err(BuildError::Copy)?;
        }
        Ok(())
    }

    pub(super) fn copy_error(&self, word: &Word, error: CopyError) -> BuildError {
        self.wrong(word, error.to_string())
    }

    /// `--chown`: without a group its id is the user's.
    fn owner(&self, rootfs: &OwnedFd, copy: &Copy, text: &str) -> Result<(u32, u32), BuildError> {
        let found = lookup(rootfs.as_fd(), text, &[]).map_err(|error| {
            self.wrong(copy.chown.as_ref().unwrap_or(&copy.destination), error.to_string())
        })?;
        Ok((found.uid, if text.contains(':') { found.gid } else { found.uid }))
    }

    /// `--from` of what is no earlier stage.
    fn image_of(&mut self, from: &Word, state: &StageState) -> Result<ImageRecord, BuildError> {
        let name = from.text.clone();
        let number = name.bytes().all(|b| b.is_ascii_digit());
        if number || self.dockerfile.stage(&name, usize::MAX).is_some() {
            let message = format!("there is no stage {name} before this one");
            return Err(self.wrong(from, message));
        }
        self.image(from, &name, &state.platform).map_err(|error| match error {
            BuildError::Dockerfile(mut error) => {
                error.message =
                    format!("{name} is no earlier stage, and as an image: {}", error.message);
                BuildError::Dockerfile(error)
            }
            error => error,
        })
    }

    /// The files of a stage or an image, for `--from`.
    pub(super) fn view(
        &mut self,
        from: &Word,
        index: usize,
        state: &StageState,
    ) -> Result<View, BuildError> {
        let layers = match self.dockerfile.stage(&from.text, index) {
            Some(earlier) => {
                let done = self.finished(earlier)?;
                done.as_ref().map(StageState::chain_ids).unwrap_or_default()
            }
            None => self.image_of(from, state)?.chain_ids(),
        };
        let scratch = Scratch::new(self.store)?;
        let layers = self.store.layers(&layers)?;
        let mount = OverlayPlan::read_only(&layers, &scratch.0)?.mount()?;
        Ok(View { mount, _scratch: scratch })
    }
}

/// A here-document's text as one word: only `$` and its escape mean anything in it.
fn quoted(content: &str) -> String {
    format!("\"{}\"", content.replace('"', "\\\""))
}

pub(super) struct View {
    pub(super) mount: OwnedFd,
    _scratch: Scratch,
}
