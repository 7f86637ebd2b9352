//! A build: stages in order, each step from the cache or made anew.
//!
//! A step that makes files does so in an overlayfs mount on the layers below; its upper
//! directory then becomes the next layer, both as a blob and, moved as it is, as the
//! unpacked layer. A step's cache key is made of the chain id below it and of everything
//! that goes into it, each field with its length before it, so that no two steps share a
//! key (security-cases "Build").

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::BuildError;
use super::copy::{Attributes, CopyError, Source, Target};
use super::dockerfile::{Command, Copy, Dockerfile, Instruction, Stage, Step, Word};
use super::error::DockerfileError;
use super::ignore::Ignore;
use super::state::{Parent, StageState, absolute};
use crate::compose::{Dialect, compose, timestamp};
use crate::digest::Digest;
use crate::document::{Descriptor, History, ImageConfig, RootFs, media};
use crate::facts::parse_port;
use crate::overlay::OverlayPlan;
use crate::pack::{TreeHash, pack};
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::store::{CachedStep, ImageLayer, ImageRecord, LayerClaim, Store};
use crate::unpack::{UnpackOptions, UnpackReport};
use crate::user::{Identity, lookup};

/// What a build needs of the engine.
pub trait Runner {
    /// Runs a command in a container on `step.rootfs` and returns when it has ended and
    /// nothing uses the rootfs any more. An exit status but zero is an error.
    ///
    /// # Errors
    /// One line for the user.
    fn run(&mut self, step: &RunStep<'_>) -> Result<(), String>;

    /// Finds an image, pulling it where it is not in the store, unpacked.
    ///
    /// # Errors
    /// One line for the user.
    fn image(&mut self, reference: &Reference, platform: &Platform) -> Result<ImageRecord, String>;
}

/// A RUN.
#[derive(Debug)]
pub struct RunStep<'a> {
    /// The root file system: a mount, attached nowhere, that changes are written to.
    pub rootfs: &'a OwnedFd,
    /// What is executed.
    pub arguments: Vec<String>,
    /// The environment, PATH among it.
    pub env: Vec<(String, String)>,
    /// Who runs it.
    pub user: Identity,
    /// Where; it exists.
    pub working_dir: String,
    /// The instruction as it stands, for messages.
    pub text: &'a str,
}

/// How an image is built.
#[derive(Debug)]
pub struct BuildOptions {
    /// The context, for COPY and ADD.
    pub context: Option<OwnedFd>,
    /// What of the context is left out.
    pub ignore: Ignore,
    /// `--build-arg`.
    pub arguments: Vec<(String, String)>,
    /// `--target`: a stage's name or number; the last one without.
    pub target: Option<String>,
    /// What the image is for.
    pub platform: Platform,
    /// Make every step anew.
    pub no_cache: bool,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--tag`.
    pub names: Vec<Reference>,
    /// How layers are made.
    pub unpack: UnpackOptions,
}

impl BuildOptions {
    /// The defaults, for this machine.
    #[must_use]
    pub fn new() -> BuildOptions {
        BuildOptions {
            context: None,
            ignore: Ignore::default(),
            arguments: Vec::new(),
            target: None,
            platform: Platform::host(),
            no_cache: false,
            labels: Vec::new(),
            names: Vec::new(),
            unpack: UnpackOptions::of_this_process(),
        }
    }
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions::new()
    }
}

/// Builds an image.
///
/// # Errors
/// [`BuildError`]; what was made stays in the cache for the next attempt.
pub fn build(
    store: &Store,
    dockerfile: &Dockerfile,
    options: &BuildOptions,
    runner: &mut dyn Runner,
    progress: &dyn Progress,
) -> Result<ImageRecord, BuildError> {
    let _activity = store.activity()?;
    let target = match &options.target {
        Some(name) => dockerfile
            .stage(name, dockerfile.stages.len())
            .ok_or_else(|| BuildError::Target(name.clone()))?,
        None => dockerfile.stages.len().saturating_sub(1),
    };
    for warning in &dockerfile.warnings {
        progress.event(Event::Warning(warning));
    }
    let mut build = Build {
        store,
        dockerfile,
        options,
        runner,
        progress,
        done: vec![None; dockerfile.stages.len()],
        used_arguments: BTreeSet::new(),
    };
    let needed = build.needed(target);
    for index in needed {
        build.stage(index)?;
    }
    build.finish(target)
}

struct Build<'a> {
    store: &'a Store,
    dockerfile: &'a Dockerfile,
    options: &'a BuildOptions,
    runner: &'a mut dyn Runner,
    progress: &'a dyn Progress,
    done: Vec<Option<StageState>>,
    used_arguments: BTreeSet<String>,
}

/// What a layer step is made of.
type Make<'m> = dyn FnMut(&OwnedFd) -> Result<(), BuildError> + 'm;

impl Build<'_> {
    /// The stages that `target` is made from, in the file's order: a stage refers to
    /// earlier ones only.
    fn needed(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut pending = vec![target];
        while let Some(index) = pending.pop() {
            let Some(stage) = self.dockerfile.stages.get(index) else { continue };
            if !needed.insert(index) {
                continue;
            }
            pending.extend(self.dockerfile.stage(&stage.base.text, index));
            for step in &stage.steps {
                if let Instruction::Copy(Copy { from: Some(from), .. }) = &step.instruction {
                    pending.extend(self.dockerfile.stage(&from.text, index));
                }
            }
        }
        needed
    }

    fn wrong(&self, word: &Word, message: impl Into<String>) -> BuildError {
        BuildError::Dockerfile(self.dockerfile.error(word.position, message))
    }

    fn expand(&self, word: &Word, state: &StageState) -> Result<String, BuildError> {
        self.expand_with(word, &|name| state.variable(name))
    }

    fn expand_with(
        &self,
        word: &Word,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, BuildError> {
        super::expand::expand(&word.text, self.dockerfile.escape, lookup).map_err(|error| {
            let before = word.text.get(..error.offset).unwrap_or_default().chars().count();
            let mut position = word.position;
            position.column += before;
            BuildError::Dockerfile(self.dockerfile.error(position, error.message))
        })
    }

    /// `--build-arg` of a name.
    fn build_argument(&self, name: &str) -> Option<String> {
        let given = self.options.arguments.iter().rev().find(|(known, _)| known == name);
        given.map(|(_, value)| value.clone())
    }

    /// A variable of FROM lines and of ARGs without a value: global ARGs and the
    /// platform's.
    fn global(&mut self, name: &str) -> Result<Option<String>, BuildError> {
        let platform = &self.options.platform;
        let host = Platform::host();
        let automatic = match name {
            "TARGETPLATFORM" => Some(platform.to_string()),
            "TARGETOS" => Some(platform.os.clone()),
            "TARGETARCH" => Some(platform.architecture.clone()),
            "TARGETVARIANT" => Some(platform.variant.clone().unwrap_or_default()),
            "BUILDPLATFORM" => Some(host.to_string()),
            "BUILDOS" => Some(host.os),
            "BUILDARCH" => Some(host.architecture),
            "BUILDVARIANT" => Some(host.variant.unwrap_or_default()),
            _ => None,
        };
        let dockerfile = self.dockerfile;
        // A default may use the ARGs before it.
        let mut values: Vec<(String, String)> = Vec::new();
        for argument in &dockerfile.global_args {
            let known = argument.name.text.clone();
            let value = match (self.build_argument(&known), &argument.default) {
                (Some(value), _) => {
                    self.used_arguments.insert(known.clone());
                    Some(value)
                }
                (None, Some(default)) => {
                    let lookup = |name: &str| {
                        let found = values.iter().rev().find(|(known, _)| known == name);
                        found.map(|(_, value)| value.clone())
                    };
                    Some(self.expand_with(default, &lookup)?)
                }
                (None, None) => None,
            };
            values.extend(value.map(|value| (known, value)));
        }
        let found = values.into_iter().rev().find(|(known, _)| known == name);
        Ok(found.map(|(_, value)| value).or(automatic))
    }

    fn expand_global(&mut self, word: &Word) -> Result<String, BuildError> {
        // The names are collected first: looking one up may fail.
        let names = std::cell::RefCell::new(BTreeSet::new());
        let collect = |name: &str| {
            names.borrow_mut().insert(name.to_owned());
            Some("x".to_owned())
        };
        self.expand_with(word, &collect)?;
        let mut values = Vec::new();
        for name in names.into_inner() {
            let value = self.global(&name)?;
            values.extend(value.map(|value| (name, value)));
        }
        self.expand_with(word, &|name| {
            values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    fn stage(&mut self, index: usize) -> Result<(), BuildError> {
        let dockerfile = self.dockerfile;
        let Some(stage) = dockerfile.stages.get(index) else { return Ok(()) };
        let mut state = self.base(stage, index)?;
        let total = stage.steps.len();
        for (number, step) in stage.steps.iter().enumerate() {
            let place = stage.name.clone().unwrap_or_else(|| index.to_string());
            let text = format!("[{place} {}/{total}] {}", number + 1, step.text);
            self.progress.event(Event::Step(&text));
            self.step(&mut state, step, index)?;
        }
        if let Some(slot) = self.done.get_mut(index) {
            *slot = Some(state);
        }
        Ok(())
    }

    fn base(&mut self, stage: &Stage, index: usize) -> Result<StageState, BuildError> {
        let name = self.expand_global(&stage.base)?;
        let platform = match &stage.platform {
            Some(word) => {
                let text = self.expand_global(word)?;
                text.parse()
                    .map_err(|e: crate::platform::PlatformError| self.wrong(word, e.to_string()))?
            }
            None => self.options.platform.clone(),
        };
        if name == "scratch" {
            return Ok(StageState::scratch(platform));
        }
        if let Some(earlier) = self.dockerfile.stage(&name, index) {
            let done = self.done.get(earlier).and_then(Option::as_ref);
            return Ok(done
                .cloned()
                .map_or_else(|| StageState::scratch(platform), |state| state.on_top()));
        }
        let image = self.image(&stage.base, &name, &platform)?;
        let (manifest, config) = self.store.documents(&image)?;
        Ok(StageState::of_image(&image, &manifest, config))
    }

    fn image(
        &mut self,
        word: &Word,
        name: &str,
        platform: &Platform,
    ) -> Result<ImageRecord, BuildError> {
        let reference: Reference = name
            .parse()
            .map_err(|e: crate::reference::ReferenceError| self.wrong(word, e.to_string()))?;
        let found = self.runner.image(&reference.or_latest(), platform);
        found.map_err(|message| self.wrong(word, message))
    }

    fn step(
        &mut self,
        state: &mut StageState,
        step: &Step,
        index: usize,
    ) -> Result<(), BuildError> {
        let layers = state.layers.len();
        match &step.instruction {
            Instruction::Run(command) => self.run(state, step, command)?,
            Instruction::Copy(copy) => self.copy(state, step, copy, index)?,
            Instruction::Workdir(word) => self.workdir(state, word)?,
            Instruction::Arg(arguments) => {
                for argument in arguments {
                    let name = argument.name.text.clone();
                    let given = self.build_argument(&name);
                    if given.is_some() {
                        self.used_arguments.insert(name.clone());
                    }
                    let value = match (given, &argument.default) {
                        (Some(value), _) => Some(value),
                        (None, Some(default)) => Some(self.expand(default, state)?),
                        (None, None) => self.global(&name)?,
                    };
                    state.set_argument(&name, value);
                }
            }
            instruction => self.metadata(state, instruction)?,
        }
        state.history.push(History {
            created: Some(timestamp()),
            created_by: Some(step.text.clone()),
            empty_layer: state.layers.len() == layers,
            ..History::default()
        });
        Ok(())
    }

    fn metadata(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
    ) -> Result<(), BuildError> {
        match instruction {
            Instruction::Env(pairs) => {
                // All values of one ENV see the variables as they were before it.
                let mut values = Vec::new();
                for (name, value) in pairs {
                    values.push((self.expand(name, state)?, self.expand(value, state)?));
                }
                for (name, value) in values {
                    state.set_env(&name, &value);
                }
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let (name, value) = (self.expand(name, state)?, self.expand(value, state)?);
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
                        ports.insert(port.to_string(), crate::document::Empty {});
                    }
                }
            }
            Instruction::Volume(words) => {
                for word in words {
                    let path = absolute(&self.expand(word, state)?, state.working_dir());
                    if path == "/" {
                        return Err(self.wrong(word, "a volume cannot be the root"));
                    }
                    let volumes = state.config.volumes.get_or_insert_default();
                    volumes.insert(path, crate::document::Empty {});
                }
            }
            Instruction::StopSignal(word) => {
                let signal = self.expand(word, state)?;
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'-';
                if signal.is_empty() || !signal.bytes().all(plain) {
                    return Err(self.wrong(word, "STOPSIGNAL takes a signal's name or number"));
                }
                state.config.stop_signal = Some(signal);
            }
            Instruction::Shell(shell) => state.config.shell = Some(shell.clone()),
            Instruction::Maintainer(author) => state.author = Some(author.clone()),
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Workdir(_)
            | Instruction::Arg(_) => {}
        }
        Ok(())
    }

    fn workdir(&mut self, state: &mut StageState, word: &Word) -> Result<(), BuildError> {
        let text = self.expand(word, state)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.wrong(word, "WORKDIR takes a path"));
        }
        let path = absolute(&text, state.working_dir());
        let mut key = state.key("WORKDIR");
        key.field(path.as_bytes());
        let unpack = &self.options.unpack;
        let make = &mut |rootfs: &OwnedFd| {
            let attributes = Attributes::default();
            let target = Target { root: rootfs.as_fd(), attributes, options: unpack };
            target.directory(&path).map(drop).map_err(BuildError::Copy)
        };
        layer_step(self.store, self.options, self.progress, state, key, make)?;
        state.config.working_dir = Some(path);
        Ok(())
    }

    fn run(
        &mut self,
        state: &mut StageState,
        step: &Step,
        command: &Command,
    ) -> Result<(), BuildError> {
        let arguments = state.argv(command);
        let env = self.run_environment(state);
        let user = state.config.user.clone().unwrap_or_default();
        let working_dir = state.working_dir().to_owned();
        let mut key = state.key("RUN");
        for list in [&arguments, &env.iter().map(|(n, v)| format!("{n}={v}")).collect()] {
            key.field(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|word| key.field(word.as_bytes()));
        }
        key.field(user.as_bytes());
        key.field(working_dir.as_bytes());
        let failed =
            |message: String| BuildError::Run(self.dockerfile.error(step.position, message));
        let runner = &mut *self.runner;
        let make = &mut |rootfs: &OwnedFd| {
            let user = lookup(rootfs.as_fd(), &user, &[]).map_err(|e| failed(e.to_string()))?;
            let (arguments, env) = (arguments.clone(), env.clone());
            let (working_dir, text) = (working_dir.clone(), step.text.as_str());
            let run = RunStep { rootfs, arguments, env, user, working_dir, text };
            runner.run(&run).map_err(failed)
        };
        layer_step(self.store, self.options, self.progress, state, key, make)
    }

    fn run_environment(&mut self, state: &StageState) -> Vec<(String, String)> {
        // These need no ARG (Dockerfile reference, "Predefined ARGs").
        const PROXIES: [&str; 5] =
            ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
        let mut env = state.run_environment();
        for name in PROXIES.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]) {
            if let Some(value) = self.build_argument(&name) {
                self.used_arguments.insert(name.clone());
                env.push((name, value));
            }
        }
        env
    }

    fn copy(
        &mut self,
        state: &mut StageState,
        step: &Step,
        copy: &Copy,
        index: usize,
    ) -> Result<(), BuildError> {
        let text = self.expand(&copy.destination, state)?;
        let mut sources = Vec::new();
        for word in &copy.sources {
            sources.push((word, self.expand(word, state)?));
        }
        let chown = copy.chown.as_ref().map(|word| self.expand(word, state)).transpose()?;
        let mode =
            match &copy.chmod {
                Some(word) => {
                    let digits = self.expand(word, state)?;
                    let octal = u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o7777);
                    let octal = octal.filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
                    Some(octal.ok_or_else(|| {
                        self.wrong(word, "--chmod takes octal digits, as in 0755")
                    })?)
                }
                None => None,
            };
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
        let mut paths = Vec::new();
        for (word, pattern) in &sources {
            let source = source
                .as_ref()
                .ok_or_else(|| self.wrong(word, "this build has no context to copy from"))?;
            let found = source.find(pattern).map_err(|e| self.copy_error(word, e))?;
            paths.extend(found.into_iter().map(|path| (*word, path)));
        }
        let destination = absolute(&text, state.working_dir());
        let several = paths.len() + copy.inline.len() > 1;
        let slash = text.ends_with('/') || text.ends_with("/.") || text == ".";
        if several && !slash {
            return Err(
                self.wrong(&copy.destination, "several sources need a destination that ends in /")
            );
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
        let mut key = state.key(if copy.add { "ADD" } else { "COPY" });
        key.field(text.as_bytes());
        key.field(destination.as_bytes());
        key.field(chown.as_deref().unwrap_or_default().as_bytes());
        key.field(&mode.unwrap_or(u32::MAX).to_le_bytes());
        for (word, path) in &paths {
            if let Some(source) = &source {
                source.hash(&mut key, path).map_err(|e| self.copy_error(word, e))?;
            }
        }
        for (name, content) in &inline {
            key.field(name.as_bytes());
            key.field(content.as_bytes());
        }
        let make = &mut |rootfs: &OwnedFd| {
            let (uid, gid) = match &chown {
                Some(text) => self.owner(rootfs, copy, text)?,
                None => (0, 0),
            };
            let attributes = Attributes { uid, gid, mode };
            let options = &self.options.unpack;
            let target = Target { root: rootfs.as_fd(), attributes, options };
            let into = slash || target.is_directory(&destination);
            for (word, path) in &paths {
                if let Some(source) = &source {
                    target
                        .copy(source, path, &destination, into, copy.add)
                        .map_err(|e| self.copy_error(word, e))?;
                }
            }
            for (name, content) in &inline {
                let name = into.then_some(name.as_str());
                target.write(&destination, name, content.as_bytes()).map_err(BuildError::Copy)?;
            }
            Ok(())
        };
        layer_step(self.store, self.options, self.progress, state, key, make)
    }

    fn copy_error(&self, word: &Word, error: CopyError) -> BuildError {
        self.wrong(word, error.to_string())
    }

    /// `--chown`: without a group its id is the user's.
    fn owner(&self, rootfs: &OwnedFd, copy: &Copy, text: &str) -> Result<(u32, u32), BuildError> {
        let found = lookup(rootfs.as_fd(), text, &[]).map_err(|error| {
            self.wrong(copy.chown.as_ref().unwrap_or(&copy.destination), error.to_string())
        })?;
        Ok((found.uid, if text.contains(':') { found.gid } else { found.uid }))
    }

    /// The files of a stage or an image, for `--from`.
    fn view(&mut self, from: &Word, index: usize, state: &StageState) -> Result<View, BuildError> {
        let layers = match self.dockerfile.stage(&from.text, index) {
            Some(earlier) => {
                let done = self.done.get(earlier).and_then(Option::as_ref);
                done.map(StageState::chain_ids).unwrap_or_default()
            }
            None => self.image(from, &from.text.clone(), &state.platform)?.chain_ids(),
        };
        let scratch = Scratch::new(self.store)?;
        let layers = self.store.layers(&layers)?;
        let mount = OverlayPlan::read_only(&layers, &scratch.0)?.mount()?;
        Ok(View { mount, _scratch: scratch })
    }

    fn finish(&mut self, target: usize) -> Result<ImageRecord, BuildError> {
        for (name, _) in &self.options.arguments {
            if !self.used_arguments.contains(name) {
                let text = format!("--build-arg {name} is used by no ARG");
                self.progress.event(Event::Warning(&text));
            }
        }
        let state = self.done.get(target).cloned().flatten();
        let mut state = state.unwrap_or_else(|| StageState::scratch(self.options.platform.clone()));
        for (name, value) in &self.options.labels {
            state.config.labels.get_or_insert_default().insert(name.clone(), value.clone());
        }
        let config = ImageConfig {
            created: Some(timestamp()),
            author: state.author.clone(),
            architecture: state.platform.architecture.clone(),
            os: state.platform.os.clone(),
            variant: state.platform.variant.clone(),
            config: Some(state.config.clone()),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: state.layers.iter().map(|(layer, _)| layer.diff_id).collect(),
            },
            history: Some(state.history.clone()),
        };
        let layers = state
            .layers
            .iter()
            .map(|(layer, kind)| Descriptor::new(kind, layer.blob, layer.size))
            .collect();
        let image = compose(self.store, &config, layers, Dialect::Oci)?;
        self.store.add_image(&image)?;
        for name in &self.options.names {
            self.store.tag(name, &image.manifest, &image.manifest)?;
        }
        Ok(image)
    }
}

/// A here-document's text as one word: only `$` and its escape mean anything in it.
fn quoted(content: &str) -> String {
    format!("\"{}\"", content.replace('"', "\\\""))
}

struct View {
    mount: OwnedFd,
    _scratch: Scratch,
}

/// A directory of the store's `tmp`.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(store: &Store) -> Result<Scratch, BuildError> {
        let path = store.scratch_path("build");
        std::fs::create_dir(&path)
            .map_err(|source| BuildError::Scratch { path: path.clone(), source })?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is collected: nothing else reads `tmp`.
        let _ = crate::store::remove_tree(&self.0);
    }
}

/// Adds the layer that `make` makes, or the cached one. A step that changes nothing adds
/// none.
fn layer_step(
    store: &Store,
    options: &BuildOptions,
    progress: &dyn Progress,
    state: &mut StageState,
    key: TreeHash,
    make: &mut Make<'_>,
) -> Result<(), BuildError> {
    let key = key.finish();
    if !options.no_cache
        && let Some(cached) = store.step(&key)?
        && cached.layers.len() <= state.layers.len() + 1
    {
        progress.event(Event::CachedStep);
        if let Some(layer) = cached.layers.get(state.layers.len()) {
            state.layers.push((layer.clone(), media::OCI_LAYER_GZIP.to_owned()));
        }
        return Ok(());
    }
    let scratch = Scratch::new(store)?;
    let below = store.layers(&state.chain_ids())?;
    let plan = OverlayPlan::prepare(&below, &scratch.0)?;
    let mount = plan.mount()?;
    make(&mount)?;
    // Unmounts: the upper directory is ours alone again.
    drop(mount);
    let upper = scratch.0.join("upper");
    if let Some(layer) = keep(store, options, progress, state.chain_ids().last(), &upper)? {
        state.layers.push((layer, media::OCI_LAYER_GZIP.to_owned()));
    }
    let layers = state.layers.iter().map(|(layer, _)| layer.clone()).collect();
    store.put_step(&key, &CachedStep { layers })?;
    Ok(())
}

/// Packs an upper directory and keeps it as the layer on top of `parent`.
fn keep(
    store: &Store,
    options: &BuildOptions,
    progress: &dyn Progress,
    parent: Option<&Digest>,
    upper: &std::path::Path,
) -> Result<Option<ImageLayer>, BuildError> {
    let root = File::open(upper)
        .map_err(|source| BuildError::Scratch { path: upper.to_owned(), source })?;
    let mut packed = None;
    let (blob, size) = store.put_blob(|writer| {
        packed = Some(pack(root.as_fd(), writer)?);
        Ok::<(), BuildError>(())
    })?;
    let Some(packed) = packed.filter(|packed| packed.entries > 0) else { return Ok(None) };
    for warning in &packed.warnings {
        progress.event(Event::Warning(warning));
    }
    let chain_id = parent.map_or(packed.diff_id, |parent| parent.chain(&packed.diff_id));
    if let LayerClaim::Absent(build) = store.claim_layer(&chain_id, &|| {})? {
        build.adopt(upper)?;
        // The upper directory has the attributes of what it was copied up from.
        let report =
            UnpackReport { bytes: packed.bytes, names_root: true, ..UnpackReport::default() };
        build.commit(parent, &packed.diff_id, &report, &options.unpack)?;
    }
    Ok(Some(ImageLayer { blob, size, diff_id: packed.diff_id, chain_id }))
}

/// The parents of [`StageState`] in words of the store.
impl From<DockerfileError> for BuildError {
    fn from(error: DockerfileError) -> BuildError {
        BuildError::Dockerfile(error)
    }
}

impl StageState {
    /// A key that begins with what is below the step and what the step is.
    fn key(&self, operation: &str) -> TreeHash {
        let mut key = TreeHash::new();
        key.field(b"husk build step 1");
        match self.parent() {
            Parent::Scratch => key.field(b""),
            Parent::Chain(chain) => key.field(chain.to_string().as_bytes()),
        }
        key.field(self.platform.to_string().as_bytes());
        key.field(operation.as_bytes());
        key
    }
}
