//! `RUN --mount` as it stands in the Dockerfile (Dockerfile reference, "RUN --mount").

use super::dockerfile::Word;
use super::instruction::{LineParser, Problem, problem};

/// One `--mount`, its keys checked and its values not yet expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// What is mounted.
    pub kind: MountKind,
    /// Each key once, by its first name, with its value.
    pub options: Vec<(&'static str, Word)>,
    /// The whole of it.
    pub word: Word,
}

/// `type=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image; what is written to them is lost.
    Bind,
    /// A directory that is kept from build to build.
    Cache,
    /// An empty file system in memory.
    Tmpfs,
    /// A file that comes from outside and stays in no layer.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

impl MountKind {
    /// Its keys, each with its other names.
    fn keys(self) -> &'static [&'static [&'static str]] {
        const TARGET: &[&str] = &["target", "dst", "destination"];
        const SOURCE: &[&str] = &["source", "src"];
        const WRITABLE: &[&str] = &["rw", "readwrite"];
        const READ_ONLY: &[&str] = &["ro", "readonly"];
        match self {
            MountKind::Bind => &[TARGET, SOURCE, &["from"], WRITABLE, READ_ONLY],
            MountKind::Cache => &[
                TARGET,
                SOURCE,
                &["from"],
                &["id"],
                &["sharing"],
                &["mode"],
                &["uid"],
                &["gid"],
                WRITABLE,
                READ_ONLY,
            ],
            MountKind::Tmpfs => &[TARGET, &["size"]],
            MountKind::Secret => &[
                TARGET,
                &["id", "source", "src"],
                &["required"],
                &["mode"],
                &["uid"],
                &["gid"],
                &["env"],
            ],
            MountKind::Ssh => &[TARGET, &["id"], &["required"], &["mode"], &["uid"], &["gid"]],
        }
    }

    fn name(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }
}

impl RunMount {
    /// The value of a key.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&Word> {
        self.options.iter().find(|(known, _)| *known == key).map(|(_, word)| word)
    }
}

impl LineParser<'_> {
    /// The value of `--mount` at a byte offset of the line.
    pub(super) fn mount(&self, offset: usize, value: Option<&str>) -> Result<RunMount, Problem> {
        let Some(text) = value.filter(|text| !text.is_empty()) else {
            return problem(offset, "RUN --mount needs a value, as in type=cache,target=/dir");
        };
        // `--mount=` stands before it.
        let start = offset + "--mount=".len();
        let mut fields = Vec::new();
        let mut at = 0;
        for field in text.split(',') {
            fields.push((start + at, field));
            at += field.len() + 1;
        }
        let mut kind = MountKind::Bind;
        for (at, field) in &fields {
            kind = match field.split_once('=') {
                Some(("type", "bind")) => MountKind::Bind,
                Some(("type", "cache")) => MountKind::Cache,
                Some(("type", "tmpfs")) => MountKind::Tmpfs,
                Some(("type", "secret")) => MountKind::Secret,
                Some(("type", "ssh")) => MountKind::Ssh,
                Some(("type", other)) => {
                    let message =
                        format!("no mount of type {other:?}: bind, cache, tmpfs, secret, ssh");
                    return problem(*at, message);
                }
                _ => continue,
            };
        }
        let mut mount = RunMount { kind, options: Vec::new(), word: self.word(start, text) };
        for (at, field) in fields {
            let (name, value) = field.split_once('=').unwrap_or((field, "true"));
            if name == "type" {
                continue;
            }
            let known = kind.keys().iter().find(|names| names.contains(&name));
            let Some(key) = known.and_then(|names| names.first()) else {
                return problem(at, format!("a mount of type {} has no {name:?}", kind.name()));
            };
            if mount.option(key).is_some() {
                return problem(at, format!("{key} is given twice"));
            }
            let flag = ["rw", "ro", "required"].contains(key);
            if flag && !["true", "false", "1", "0"].contains(&value) {
                return problem(at, format!("{key} is true or false"));
            }
            if *key == "sharing" && !["shared", "private", "locked"].contains(&value) {
                return problem(at, "sharing is one of shared, private, locked");
            }
            let place = at + if field.contains('=') { name.len() + 1 } else { 0 };
            mount.options.push((key, self.word(place, value)));
        }
        let needed = match kind {
            MountKind::Ssh => None,
            MountKind::Secret if mount.option("id").is_some() => None,
            MountKind::Secret => Some("id"),
            _ if mount.option("target").is_some() => None,
            _ => Some("target"),
        };
        match needed {
            Some(key) => problem(start, format!("a mount of type {} needs {key}=", kind.name())),
            None => Ok(mount),
        }
    }
}
