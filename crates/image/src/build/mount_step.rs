//! The mounts of a RUN: what goes into the step's key, and what the engine mounts.
//!
//! What is bound is a copy in a directory of the store's own: a step sees neither what
//! .dockerignore leaves out nor a link that leads out of its source, and what it writes
//! there is lost, as the reference says.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::BuildError;
use super::builder::Build;
use super::copy::{Attributes, Manner, Target};
use super::copy_step::View;
use super::dockerfile::Word;
use super::layer_step::Scratch;
use super::lines::Heredoc;
use super::run_mount::{MountKind, RunMount};
use super::source::Source;
use super::state::{StageState, absolute};
use crate::pack::TreeHash;
use crate::store::{CacheMount, Sharing};
use crate::tree::mode::ModeChange;

/// A mount of a step, for the engine.
#[derive(Clone, PartialEq, Eq)]
pub struct StepMount {
    /// Absolute, without `.` and `..`.
    pub target: String,
    /// What is mounted there.
    pub source: StepSource,
}

/// What a step's mount shows.
#[derive(Clone, PartialEq, Eq)]
pub enum StepSource {
    /// A file or directory that is the build's alone, or shared with other builds.
    Path {
        /// Where.
        path: PathBuf,
        /// Nothing can be written.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// At most so many bytes.
        size: Option<u64>,
    },
    /// A file that must not come to any disk.
    Secret {
        /// Its content.
        content: Vec<u8>,
        /// Its owner.
        owner: (u32, u32),
        /// Its permissions.
        mode: u32,
    },
}

/// `--secret`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What a mount calls it.
    pub id: String,
    /// The content.
    pub content: Vec<u8>,
}

// No message shows a secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({:?}, {} bytes)", self.id, self.content.len())
    }
}

impl std::fmt::Debug for StepMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match &self.source {
            StepSource::Path { path, read_only } => format!("{path:?}, read-only {read_only}"),
            StepSource::Tmpfs { size } => format!("tmpfs of {size:?}"),
            StepSource::Secret { mode, .. } => format!("a secret, mode {mode:o}"),
        };
        write!(f, "{:?}: {what}", self.target)
    }
}

/// A mount whose words are expanded and whose source is found.
pub(super) struct Planned {
    target: String,
    what: What,
    /// For messages.
    word: Word,
}

enum What {
    Copied {
        source: Option<Copied>,
        read_only: bool,
    },
    Cache {
        key: Vec<u8>,
        sharing: Sharing,
        read_only: bool,
        seed: Option<Copied>,
        attributes: Attributes,
    },
    Ready(StepSource),
}

/// Something to be copied: of a stage or an image, or else of the context.
struct Copied {
    view: Option<View>,
    path: String,
}

/// What must live as long as the step runs.
pub(super) enum Held {
    Scratch { _directory: Scratch },
    Cache { _mount: CacheMount },
}

impl Build<'_> {
    /// Expands the mounts of a RUN and gives their part to its key: neither a cache's
    /// content nor a secret's, so that they change without a step being made anew. Secrets
    /// that are asked for as variables are added to `env`.
    pub(super) fn plan_mounts(
        &mut self,
        state: &StageState,
        mounts: &[RunMount],
        index: usize,
        key: &mut TreeHash,
        env: &mut Vec<(String, String)>,
    ) -> Result<Vec<Planned>, BuildError> {
        let mut planned = Vec::new();
        for mount in mounts {
            for (name, word) in &mount.options {
                key.field(name.as_bytes());
                key.field(self.expand(word, state)?.as_bytes());
            }
            key.field(format!("{:?}", mount.kind).as_bytes());
            let what = match mount.kind {
                MountKind::Bind => {
                    let source = Some(self.copied(mount, state, index, key)?);
                    Some(What::Copied { source, read_only: !self.flag(mount, "rw") })
                }
                MountKind::Cache => Some(self.cache(mount, state, index, key)?),
                MountKind::Tmpfs => {
                    let size =
                        mount.option("size").map(|word| self.size(word, state)).transpose()?;
                    Some(What::Ready(StepSource::Tmpfs { size }))
                }
                MountKind::Secret => self.secret(mount, state, env)?.map(What::Ready),
                MountKind::Ssh => self.agent(mount, state, planned.len(), env)?.map(What::Ready),
            };
            let Some(what) = what else { continue };
            let target = match mount.option("target") {
                Some(word) => {
                    let text = self.expand(word, state)?;
                    let path = absolute(&text, state.working_dir());
                    if path == "/" || text.trim().is_empty() || text.contains('\0') {
                        return Err(self.wrong(word, "nothing can be mounted there"));
                    }
                    path
                }
                None if mount.kind == MountKind::Ssh => agent_path(planned.len()),
                None => format!("/run/secrets/{}", self.text(mount, "id", state)?),
            };
            planned.push(Planned { target, what, word: mount.word.clone() });
        }
        Ok(planned)
    }

    fn flag(&self, mount: &RunMount, key: &str) -> bool {
        mount.option(key).is_some_and(|word| matches!(word.text.as_str(), "true" | "1"))
    }

    fn text(&self, mount: &RunMount, key: &str, state: &StageState) -> Result<String, BuildError> {
        mount.option(key).map_or(Ok(String::new()), |word| self.expand(word, state))
    }

    fn number(&self, mount: &RunMount, key: &str, state: &StageState) -> Result<u32, BuildError> {
        let Some(word) = mount.option(key) else { return Ok(0) };
        let text = self.expand(word, state)?;
        text.parse().map_err(|_| self.wrong(word, format!("{key} {text:?} is not an id's number")))
    }

    fn size(&self, word: &Word, state: &StageState) -> Result<u64, BuildError> {
        let text = self.expand(word, state)?.to_ascii_lowercase();
        let text = text.strip_suffix('b').unwrap_or(&text);
        let (digits, shift) = match text.char_indices().last() {
            Some((end, 'k')) => (text.get(..end), 10),
            Some((end, 'm')) => (text.get(..end), 20),
            Some((end, 'g')) => (text.get(..end), 30),
            _ => (Some(text), 0),
        };
        let size = digits.and_then(|digits| digits.parse::<u64>().ok());
        let size = size.and_then(|size| size.checked_mul(1 << shift)).filter(|size| *size > 0);
        size.ok_or_else(|| self.wrong(word, "a size is bytes, or with k, m or g, as in 64m"))
    }

    fn attributes(&self, mount: &RunMount, state: &StageState) -> Result<Attributes, BuildError> {
        let mode = mount.option("mode").map(|word| self.mode(word, state)).transpose()?;
        let (uid, gid) = (self.number(mount, "uid", state)?, self.number(mount, "gid", state)?);
        let mode = mode.map(ModeChange::Set);
        Ok(Attributes { owner: Some((uid, gid)), mode })
    }

    /// The source of a bind, or what a new cache begins with.
    fn copied(
        &mut self,
        mount: &RunMount,
        state: &StageState,
        index: usize,
        key: &mut TreeHash,
    ) -> Result<Copied, BuildError> {
        let view = match mount.option("from") {
            Some(from) => Some(self.view(from, index, state)?),
            None => None,
        };
        let word = mount.option("source").unwrap_or(&mount.word);
        let path = self.text(mount, "source", state)?;
        let mut copied = Copied { view, path: String::new() };
        let source = self.source_of(&copied);
        let source =
            source.ok_or_else(|| self.wrong(word, "this build has no context to mount"))?;
        let found = source.find(&path).map_err(|error| self.copy_error(word, error))?;
        let [found] = found.as_slice() else {
            let message = format!("a mount has one source; this pattern matches {}", found.len());
            return Err(self.wrong(word, message));
        };
        source.hash(key, found).map_err(|error| self.copy_error(word, error))?;
        copied.path.clone_from(found);
        Ok(copied)
    }

    fn source_of<'c>(&'c self, copied: &'c Copied) -> Option<Source<'c>> {
        match (&copied.view, &self.options.context) {
            (Some(view), _) => Some(view.source()),
            (None, Some(context)) => {
                let ignore = Some(&self.options.ignore);
                Some(Source::new(context.as_fd(), ignore, "the context".to_owned()))
            }
            (None, None) => None,
        }
    }

    fn cache(
        &mut self,
        mount: &RunMount,
        state: &StageState,
        index: usize,
        key: &mut TreeHash,
    ) -> Result<What, BuildError> {
        let target = self.text(mount, "target", state)?;
        let id = match self.text(mount, "id", state)? {
            id if id.is_empty() => absolute(&target, state.working_dir()),
            id => id,
        };
        let sharing = match mount.option("sharing").map(|word| word.text.as_str()) {
            Some("private") => Sharing::Private,
            Some("locked") => Sharing::Locked,
            _ => Sharing::Shared,
        };
        let seed = match mount.option("from") {
            Some(_) => Some(self.copied(mount, state, index, key)?),
            None => None,
        };
        Ok(What::Cache {
            key: id.into_bytes(),
            sharing,
            read_only: self.flag(mount, "ro"),
            seed,
            attributes: self.attributes(mount, state)?,
        })
    }

    /// A secret's file; `None` where it is a variable only, or is not there and need not be.
    fn secret(
        &self,
        mount: &RunMount,
        state: &StageState,
        env: &mut Vec<(String, String)>,
    ) -> Result<Option<StepSource>, BuildError> {
        let id = self.text(mount, "id", state)?;
        let word = mount.option("id").unwrap_or(&mount.word);
        if id.is_empty() || id.contains(['/', '\0']) {
            return Err(self.wrong(word, "a secret's id is a name without /"));
        }
        let Some(secret) = self.options.secrets.iter().find(|secret| secret.id == id) else {
            return match self.flag(mount, "required") {
                true => {
                    Err(self
                        .wrong(word, format!("give the secret {id}: --secret id={id},src=FILE")))
                }
                false => Ok(None),
            };
        };
        if let Some(word) = mount.option("env") {
            let name = self.expand(word, state)?;
            let value = String::from_utf8(secret.content.clone())
                .ok()
                .filter(|value| !value.contains('\0') && !name.is_empty());
            let value =
                value.ok_or_else(|| self.wrong(word, "this secret cannot be a variable"))?;
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
            if mount.option("target").is_none() {
                return Ok(None);
            }
        }
        let owner = self.attributes(mount, state)?.owner.unwrap_or_default();
        let mode = mount.option("mode").map(|word| self.mode(word, state)).transpose()?;
        let (content, mode) = (secret.content.clone(), mode.unwrap_or(0o400));
        Ok(Some(StepSource::Secret { content, owner, mode }))
    }

    /// The socket of an SSH agent; `None` where there is none and none is required. The
    /// variable SSH_AUTH_SOCK leads to it.
    fn agent(
        &self,
        mount: &RunMount,
        state: &StageState,
        number: usize,
        env: &mut Vec<(String, String)>,
    ) -> Result<Option<StepSource>, BuildError> {
        for key in ["mode", "uid", "gid"] {
            if let Some(word) = mount.option(key) {
                let message =
                    "the agent's socket is the host's own: its owner and mode cannot be changed";
                return Err(self.wrong(word, message));
            }
        }
        let id = self.text(mount, "id", state)?;
        let id = if id.is_empty() { "default" } else { &id };
        let Some((_, path)) = self.options.agents.iter().find(|(known, _)| known == id) else {
            return match self.flag(mount, "required") {
                true => {
                    let message =
                        format!("give the SSH agent {id}: --ssh {id}, or --ssh {id}=SOCKET");
                    Err(self.wrong(&mount.word, message))
                }
                false => Ok(None),
            };
        };
        let target = match mount.option("target") {
            Some(word) => absolute(&self.expand(word, state)?, state.working_dir()),
            None => agent_path(number),
        };
        env.retain(|(known, _)| known != "SSH_AUTH_SOCK");
        env.push(("SSH_AUTH_SOCK".to_owned(), target));
        Ok(Some(StepSource::Path { path: path.clone(), read_only: true }))
    }

    /// A here-document that names its own interpreter, as a file to execute.
    pub(super) fn script(
        &self,
        script: &Heredoc,
        mounts: &mut Vec<StepMount>,
        held: &mut Vec<Held>,
    ) -> Result<(), BuildError> {
        let scratch = Scratch::new(self.store)?;
        let root = open(&scratch.0)?;
        let attributes = Attributes { owner: Some((0, 0)), mode: None };
        let target = Target { root: root.as_fd(), attributes, options: &self.options.unpack };
        let mut content = std::io::Cursor::new(script.content.as_bytes());
        target.write("/source", None, &mut content, 0o755, None)?;
        let source = StepSource::Path { path: scratch.0.join("source"), read_only: true };
        mounts.push(StepMount { target: script_path(script), source });
        held.push(Held::Scratch { _directory: scratch });
        Ok(())
    }

    /// Makes what the planned mounts show. It lasts as long as what is held.
    pub(super) fn prepare_mounts(
        &self,
        planned: &[Planned],
    ) -> Result<(Vec<StepMount>, Vec<Held>), BuildError> {
        let (mut mounts, mut held) = (Vec::new(), Vec::new());
        let caches = self.caches(planned)?;
        for one in planned {
            let source = match &one.what {
                What::Ready(source) => source.clone(),
                What::Copied { source, read_only } => {
                    let scratch = Scratch::new(self.store)?;
                    if let Some(copied) = source {
                        self.fill(copied, &scratch.0, &one.word)?;
                    }
                    let path = scratch.0.join("source");
                    held.push(Held::Scratch { _directory: scratch });
                    StepSource::Path { path, read_only: *read_only }
                }
                What::Cache { key, read_only, seed, attributes, .. } => {
                    let Some(cache) = caches.get(key.as_slice()) else { continue };
                    if cache.is_new() {
                        self.begin(cache, seed.as_ref(), attributes.clone(), &one.word)?;
                    }
                    StepSource::Path { path: cache.directory(), read_only: *read_only }
                }
            };
            mounts.push(StepMount { target: one.target.clone(), source });
        }
        held.extend(caches.into_values().map(|cache| Held::Cache { _mount: cache }));
        Ok((mounts, held))
    }

    /// Each cache once, however many mounts of the step show it, and all steps take theirs
    /// in one order: else one would wait for itself, or two for each other.
    fn caches<'p>(
        &self,
        planned: &'p [Planned],
    ) -> Result<BTreeMap<&'p [u8], CacheMount>, BuildError> {
        let mut wanted: BTreeMap<&[u8], Sharing> = BTreeMap::new();
        for one in planned {
            if let What::Cache { key, sharing, .. } = &one.what {
                let strictest = wanted.entry(key).or_insert(*sharing);
                *strictest = (*strictest).max(*sharing);
            }
        }
        let take = |(key, sharing)| Ok((key, self.store.cache_mount(key, sharing)?));
        wanted.into_iter().map(take).collect()
    }

    /// Copies to `source` in `directory`.
    fn fill(
        &self,
        copied: &Copied,
        directory: &std::path::Path,
        word: &Word,
    ) -> Result<(), BuildError> {
        let root = open(directory)?;
        let Some(source) = self.source_of(copied) else { return Ok(()) };
        let owner = (!source.owners).then_some((0, 0));
        let attributes = Attributes { owner, mode: None };
        let target = Target { root: root.as_fd(), attributes, options: &self.options.unpack };
        let manner = Manner { into: false, unpack: false, chown: None };
        let made = target.copy(&source, &copied.path, "/source", manner);
        made.map_err(|error| self.copy_error(word, error))
    }

    fn begin(
        &self,
        cache: &CacheMount,
        seed: Option<&Copied>,
        attributes: Attributes,
        word: &Word,
    ) -> Result<(), BuildError> {
        let making = cache.making();
        let owner = attributes.owner.unwrap_or_default();
        let mode = attributes.mode.as_ref().map_or(0o755, |mode| mode.apply(0o755, true));
        match seed {
            Some(seed) => self.fill(seed, &making, word)?,
            None => {
                let root = open(&making)?;
                let target =
                    Target { root: root.as_fd(), attributes, options: &self.options.unpack };
                let made = target.directory("/source", 0o755);
                made.map_err(|error| self.copy_error(word, error.into()))?;
            }
        }
        cache.begin(owner.0, owner.1, mode)?;
        Ok(())
    }
}

/// Where the n-th mount's agent is, as in BuildKit.
fn agent_path(number: usize) -> String {
    format!("/run/buildkit/ssh_agent.{number}")
}

/// Where a script of a here-document is, as in BuildKit.
pub(super) fn script_path(script: &Heredoc) -> String {
    format!("/dev/pipes/{}", script.name)
}

fn open(directory: &std::path::Path) -> Result<OwnedFd, BuildError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| BuildError::Scratch { path: directory.to_owned(), source: errno.into() })
}
