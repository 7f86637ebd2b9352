//! COPY and ADD as steps: their words, their cache key, and where things go.

use std::io::Cursor;
use std::os::fd::{AsFd, OwnedFd};

use super::BuildError;
use super::builder::Build;
use super::copy::{Attributes, CopyError, Manner, Target};
use super::dockerfile::{Copy, Step, Word};
use super::fetch_step::Repository;
use super::ignore::Ignore;
use super::layer_step::{Scratch, layer_step};
use super::options::NamedContext;
use super::remote::{Fetched, Remote};
use super::source::{Source, clean};
use super::state::{StageState, absolute};
use crate::digest::clip;
use crate::overlay::OverlayPlan;
use crate::pack::TreeHash;
use crate::progress::Event;
use crate::store::ImageRecord;
use crate::tree::mode::ModeChange;
use crate::user::lookup;

/// A COPY or ADD with its words expanded and its sources found.
pub(super) struct Resolved<'c> {
    pub(super) copy: &'c Copy,
    /// The destination as it stands, and absolute.
    text: String,
    destination: String,
    paths: Vec<Found<'c>>,
    pub(super) fetched: Vec<(&'c Word, Fetched)>,
    pub(super) repositories: Vec<(&'c Word, Repository)>,
    inline: Vec<(String, String)>,
    exclude: Vec<String>,
    chown: Option<String>,
    /// As it stands, for the key, and parsed.
    mode: Option<(String, ModeChange)>,
    /// What was fetched is in these.
    pub(super) scratch: Vec<Scratch>,
}

/// A path that a source word means.
struct Found<'c> {
    word: &'c Word,
    path: String,
    /// With `--parents`: the part of the path that is kept.
    kept: String,
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
        key.field(self.mode.as_ref().map_or("", |(text, _)| text).as_bytes());
        key.field(format!("{:?} {}", self.copy.unpack, self.copy.parents).as_bytes());
        key.field(&(self.exclude.len() as u64).to_le_bytes());
        self.exclude.iter().for_each(|pattern| key.field(pattern.as_bytes()));
        for (name, content) in &self.inline {
            key.field(name.as_bytes());
            key.field(content.as_bytes());
        }
        for (_, fetched) in &self.fetched {
            key.field(b"url");
            key.field(fetched.name.as_deref().unwrap_or_default().as_bytes());
            key.field(fetched.digest.to_string().as_bytes());
            key.field(&fetched.modified.unwrap_or(-1).to_le_bytes());
        }
        for (_, repository) in &self.repositories {
            key.field(b"git");
            key.field(repository.commit.as_bytes());
            key.field(repository.directory.as_bytes());
            key.field(&[u8::from(self.copy.keep_git_dir)]);
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
        let mut source = match (&view, &self.options.context) {
            (Some(view), _) => Some(view.source()),
            (None, Some(context)) => {
                let ignore = Some(&self.options.ignore);
                Some(Source::new(context.as_fd(), ignore, "the context".to_owned()))
            }
            (None, None) => None,
        };
        let (exclude, patterns) = self.exclude(copy, state)?;
        if let Some(source) = &mut source {
            source.exclude = patterns.clone();
        }
        let mut resolved = self.resolve_copy(state, step, copy, source.as_ref())?;
        resolved.exclude = exclude;
        let mut key = state.key(if copy.add { "ADD" } else { "COPY" });
        resolved.hash(&mut key);
        for found in &resolved.paths {
            if let Some(source) = &source {
                key.field(found.kept.as_bytes());
                source.hash(&mut key, &found.path).map_err(|e| self.copy_error(found.word, e))?;
            }
        }
        let make =
            &mut |rootfs: &OwnedFd| self.place(&resolved, source.as_ref(), &patterns, rootfs);
        layer_step(self.store, self.options, self.progress, state, key, make)
    }

    /// `--exclude`, as texts and as one list of patterns.
    fn exclude(
        &self,
        copy: &Copy,
        state: &StageState,
    ) -> Result<(Vec<String>, Ignore), BuildError> {
        let mut texts = Vec::new();
        for word in &copy.exclude {
            let text = self.expand(word, state)?;
            if let Err(error) = Ignore::parse("--exclude", &text) {
                return Err(self.wrong(word, format!("{:?}: {}", clip(&text), error.problem)));
            }
            texts.push(text);
        }
        let patterns = Ignore::parse("--exclude", &texts.join("\n"))?;
        Ok((texts, patterns))
    }

    fn resolve_copy<'c>(
        &self,
        state: &StageState,
        step: &Step,
        copy: &'c Copy,
        source: Option<&Source<'_>>,
    ) -> Result<Resolved<'c>, BuildError> {
        let text = self.expand(&copy.destination, state)?;
        let destination = absolute(&text, state.working_dir());
        let chown = copy.chown.as_ref().map(|word| self.expand(word, state)).transpose()?;
        let mode = match &copy.chmod {
            Some(word) => Some((self.expand(word, state)?, self.mode_change(word, state)?)),
            None => None,
        };
        let mut resolved = Resolved {
            copy,
            text,
            destination,
            paths: Vec::new(),
            fetched: Vec::new(),
            repositories: Vec::new(),
            inline: Vec::new(),
            exclude: Vec::new(),
            chown,
            mode,
            scratch: Vec::new(),
        };
        for word in &copy.sources {
            self.resolve_source(state, word, source, &mut resolved)?;
        }
        self.check_flags(&resolved)?;
        for heredoc in &copy.inline {
            let content = match heredoc.expand {
                true => {
                    let word = Word { text: quoted(&heredoc.content), position: step.position };
                    self.expand(&word, state)?
                }
                false => heredoc.content.clone(),
            };
            resolved.inline.push((heredoc.name.clone(), content));
        }
        let count = resolved.paths.len() + resolved.inline.len() + resolved.fetched.len();
        if count + resolved.repositories.len() > 1 && !resolved.has_slash() {
            let message = "several sources need a destination that ends in /";
            return Err(self.wrong(&copy.destination, message));
        }
        Ok(resolved)
    }

    fn resolve_source<'c>(
        &self,
        state: &StageState,
        word: &'c Word,
        source: Option<&Source<'_>>,
        resolved: &mut Resolved<'c>,
    ) -> Result<(), BuildError> {
        let copy = resolved.copy;
        let pattern = self.expand(word, state)?;
        if pattern.is_empty() {
            let message = "this source is empty; . is the whole of the context";
            return Err(self.wrong(word, message));
        }
        if copy.add
            && let Some(remote) = Remote::parse(&pattern)
        {
            return self.fetch(state, word, &remote, resolved);
        }
        let source =
            source.ok_or_else(|| self.wrong(word, "this build has no context to copy from"))?;
        // `/./` says where the kept part of a path begins (--parents).
        let (pivot, rest) = match pattern.split_once("/./") {
            Some((pivot, rest)) if copy.parents => (clean(pivot).join("/"), rest),
            _ => (String::new(), pattern.as_str()),
        };
        let whole = if pivot.is_empty() { rest.to_owned() } else { format!("{pivot}/{rest}") };
        let found = match copy.parents {
            true => source.find_deep(&whole),
            false => source.find(&whole),
        };
        let found = found.map_err(|e| self.copy_error(word, e))?;
        if found.is_empty() {
            // As in BuildKit: `yarn.lock*` is how a file that may be missing is named.
            let text = format!("{:?} matches nothing in {}", clip(&pattern), source.name);
            self.progress.event(Event::Warning(&text));
        }
        for path in found {
            // A pattern may have matched what --exclude leaves out.
            if source.excludes(&path) {
                continue;
            }
            let kept = path.strip_prefix(&pivot).unwrap_or(&path).trim_start_matches('/');
            resolved.paths.push(Found { word, kept: kept.to_owned(), path });
        }
        Ok(())
    }

    /// A flag that none of the sources can honour is an error.
    fn check_flags(&self, resolved: &Resolved<'_>) -> Result<(), BuildError> {
        let copy = resolved.copy;
        let remote = !resolved.fetched.is_empty() || !resolved.repositories.is_empty();
        match &copy.checksum {
            Some(word) if !remote => {
                return Err(self.wrong(word, "--checksum is of a URL or a git repository"));
            }
            Some(word) if resolved.fetched.len() + resolved.repositories.len() > 1 => {
                return Err(self.wrong(word, "--checksum takes one source"));
            }
            _ => {}
        }
        if copy.keep_git_dir && resolved.repositories.is_empty() {
            let message = "--keep-git-dir is of a git repository";
            return Err(self.wrong(copy.sources.first().unwrap_or(&copy.destination), message));
        }
        Ok(())
    }

    pub(super) fn mode(&self, word: &Word, state: &StageState) -> Result<u32, BuildError> {
        match self.mode_change(word, state)? {
            ModeChange::Set(mode) => Ok(mode),
            ModeChange::Change(_) => Err(self.wrong(word, "a mode is octal digits, as in 0755")),
        }
    }

    fn mode_change(&self, word: &Word, state: &StageState) -> Result<ModeChange, BuildError> {
        let text = self.expand(word, state)?;
        text.parse().map_err(|error: crate::tree::mode::ModeError| {
            self.wrong(word, format!("{:?}: {error}", clip(&text)))
        })
    }

    /// Copies into a root file system.
    fn place(
        &self,
        resolved: &Resolved<'_>,
        source: Option<&Source<'_>>,
        exclude: &Ignore,
        rootfs: &OwnedFd,
    ) -> Result<(), BuildError> {
        let copy = resolved.copy;
        let chown = resolved.chown.as_ref();
        let chown = chown.map(|text| self.owner(rootfs, copy, text)).transpose()?;
        let owner = match (chown, source) {
            (Some(owner), _) => Some(owner),
            (None, Some(source)) if source.owners => None,
            (None, _) => Some((0, 0)),
        };
        let mode = resolved.mode.as_ref().map(|(_, mode)| mode.clone());
        let attributes = Attributes { owner, mode };
        let target = Target { root: rootfs.as_fd(), attributes, options: &self.options.unpack };
        let destination = &resolved.destination;
        let into = resolved.has_slash() || target.is_directory(destination);
        let unpack = copy.add && copy.unpack != Some(false);
        let manner = Manner { into, unpack, chown };
        for Found { word, path, kept } in &resolved.paths {
            let Some(source) = source else { continue };
            match copy.parents {
                true => target.copy_with_parents(source, path, kept, destination),
                false => target.copy(source, path, destination, manner),
            }
            .map_err(|e| self.copy_error(word, e))?;
        }
        for (word, fetched) in &resolved.fetched {
            let unpack = copy.unpack == Some(true);
            let manner = Manner { into, unpack, chown };
            self.place_fetched(&target, fetched, destination, manner)
                .map_err(|e| self.copy_error(word, e))?
                .ok_or_else(|| {
                    self.wrong(word, "the URL names no file; name one as the destination")
                })?;
        }
        for (word, repository) in &resolved.repositories {
            let mut tree = Source::new(repository.root.as_fd(), None, "the repository".to_owned());
            tree.exclude = exclude.clone();
            let manner = Manner { into, unpack: false, chown: None };
            let owner = target.attributes.owner.or(Some((0, 0)));
            let attributes = Attributes { owner, mode: target.attributes.mode.clone() };
            let target = Target { attributes, ..target };
            let copied = tree.find(&repository.directory).and_then(|found| {
                found.iter().try_for_each(|path| target.copy(&tree, path, destination, manner))
            });
            copied.map_err(|e| self.copy_error(word, e))?;
        }
        for (name, content) in &resolved.inline {
            let name = into.then_some(name.as_str());
            let mut content = Cursor::new(content.as_bytes());
            target.write(destination, name, &mut content, 0o644, None).map_err(BuildError::Copy)?;
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
                    format!("{name} is not an earlier stage, and as an image: {}", error.message);
                BuildError::Dockerfile(error)
            }
            error => error,
        })
    }

    /// The files of a stage, an image or a named context, for `--from`.
    pub(super) fn view(
        &mut self,
        from: &Word,
        index: usize,
        state: &StageState,
    ) -> Result<View, BuildError> {
        let scratch = Scratch::new(self.store)?;
        let name = from.text.clone();
        let layers = match (self.named_context(&name), self.dockerfile.stage(&name, index)) {
            (Some(NamedContext::Directory { root, ignore }), _) => {
                let root = root.try_clone();
                let root = root
                    .map_err(|source| BuildError::Scratch { path: name.clone().into(), source })?;
                return Ok(View { root, name, ignore: Some(ignore.clone()), _scratch: scratch });
            }
            (Some(NamedContext::Image(image)), _) => {
                self.image(from, &image.clone(), &state.platform)?.chain_ids()
            }
            (None, Some(earlier)) => {
                let done = self.finished(earlier)?;
                done.as_ref().map(StageState::chain_ids).unwrap_or_default()
            }
            (None, None) => self.image_of(from, state)?.chain_ids(),
        };
        let layers = self.store.layers(&layers)?;
        let root = OverlayPlan::read_only(&layers, &scratch.0)?.mount()?;
        Ok(View { root, name, ignore: None, _scratch: scratch })
    }

    /// `--build-context` of a name.
    pub(super) fn named_context(&self, name: &str) -> Option<&NamedContext> {
        let mut known = self.options.contexts.iter();
        known.find(|(known, _)| known == name).map(|(_, context)| context)
    }
}

/// A here-document's text as one word: only `$` and its escape mean anything in it.
fn quoted(content: &str) -> String {
    format!("\"{}\"", content.replace('"', "\\\""))
}

/// The files that `--from` names.
pub(super) struct View {
    pub(super) root: OwnedFd,
    /// As `--from` has it.
    name: String,
    ignore: Option<Ignore>,
    _scratch: Scratch,
}

impl View {
    pub(super) fn source(&self) -> Source<'_> {
        Source::new(self.root.as_fd(), self.ignore.as_ref(), self.name.clone())
    }
}
