//! `watch`: files of the host that change are copied, or their service is rebuilt or restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::time::Timespec;

use crate::arguments::{Restart, Up, Watch};
use crate::node::Node;
use crate::project::Failure;
use crate::run::note;
use crate::session::Session;
use crate::source::Severity;
use crate::words::texts;

/// How long changes are collected before something is done: an editor makes several.
const QUIET: Duration = Duration::from_millis(200);
/// The most directories that are watched.
const DIRECTORIES: usize = 20_000;

/// A rule of `develop.watch`.
#[derive(Clone, Debug)]
struct Rule {
    service: String,
    path: PathBuf,
    action: String,
    target: String,
    ignore: Vec<String>,
    include: Vec<String>,
    exec: Vec<String>,
}

impl Rule {
    /// The path below the rule's own, where the rule is about it.
    fn relative(&self, changed: &Path) -> Option<String> {
        let rest = changed.strip_prefix(&self.path).ok()?.to_str()?.to_owned();
        let ignored = self.ignore.iter().any(|pattern| matches(pattern, &rest));
        let included =
            self.include.is_empty() || self.include.iter().any(|pattern| matches(pattern, &rest));
        (!ignored && included).then_some(rest)
    }
}

/// Whether a pattern is about a path: as in .dockerignore, and a pattern of one part is about
/// any part of the path.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    if !pattern.contains('/') {
        return parts.iter().any(|part| glob(pattern.as_bytes(), part.as_bytes()));
    }
    let pattern = pattern.trim_start_matches('/');
    let patterns: Vec<&str> = pattern.split('/').collect();
    (1..=parts.len()).any(|length| glob_parts(&patterns, &parts[..length]))
}

fn glob_parts(patterns: &[&str], parts: &[&str]) -> bool {
    match patterns.split_first() {
        None => parts.is_empty(),
        Some((&"**", rest)) => (0..=parts.len()).any(|skip| glob_parts(rest, &parts[skip..])),
        Some((first, rest)) => match parts.split_first() {
            Some((part, more)) => glob(first.as_bytes(), part.as_bytes()) && glob_parts(rest, more),
            None => false,
        },
    }
}

/// `*` and `?` in one part of a path, without going back more than to the last star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Watched directories by their watch descriptor.
struct Watched {
    inotify: OwnedFd,
    directories: BTreeMap<i32, PathBuf>,
}

impl Watched {
    fn new() -> Result<Self, Failure> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let inotify = inotify
            .map_err(|e| format!("cannot watch files: {}", crate::load::plain(&e.into())))?;
        Ok(Self { inotify, directories: BTreeMap::new() })
    }

    /// Watches a directory and those below it, or the directory of a file.
    fn add(&mut self, path: &Path, rules: &[Rule]) -> Result<(), Failure> {
        let mut rest = vec![path.to_path_buf()];
        while let Some(path) = rest.pop() {
            if self.directories.len() >= DIRECTORIES {
                return Err(format!(
                    "more than {DIRECTORIES} directories would be watched: ignore some"
                ));
            }
            let flags = WatchFlags::CREATE
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DONT_FOLLOW;
            match inotify::add_watch(&self.inotify, &path, flags) {
                Ok(descriptor) => {
                    self.directories.insert(descriptor, path.clone());
                }
                Err(error)
                    if error == rustix::io::Errno::NOENT || error == rustix::io::Errno::NOTDIR =>
                {
                    continue;
                }
                Err(error) => {
                    let why = crate::load::plain(&error.into());
                    return Err(format!("cannot watch {}: {why}", path.display()));
                }
            }
            for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let below = entry.path();
                let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let wanted = rules.iter().any(|rule| {
                    below.starts_with(&rule.path)
                        && !rule.ignore.iter().any(|pattern| {
                            below
                                .strip_prefix(&rule.path)
                                .is_ok_and(|rest| matches(pattern, &rest.to_string_lossy()))
                        })
                });
                if directory && wanted {
                    rest.push(below);
                }
            }
        }
        Ok(())
    }

    /// Paths that changed, once nothing more has for a moment.
    fn changes(&mut self, rules: &[Rule]) -> Result<BTreeSet<PathBuf>, Failure> {
        let mut changed = BTreeSet::new();
        loop {
            let quiet =
                Timespec { tv_sec: 0, tv_nsec: i64::try_from(QUIET.as_nanos()).unwrap_or(0) };
            let timeout = (!changed.is_empty()).then_some(&quiet);
            let mut fds = [PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN)];
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(changed),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return Err(format!(
                        "cannot watch files: {}",
                        crate::load::plain(&error.into())
                    ));
                }
            }
            let mut new = Vec::new();
            let mut buffer = [MaybeUninit::uninit(); 8192];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            while let Ok(event) = reader.next() {
                let Some(directory) = self.directories.get(&event.wd()) else { continue };
                let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) else {
                    continue;
                };
                let path = directory.join(name);
                if event.events().contains(ReadFlags::ISDIR)
                    && event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
                {
                    new.push(path.clone());
                }
                changed.insert(path);
            }
            for path in new {
                self.add(&path, rules)?;
            }
        }
    }
}

impl Session<'_> {
    fn rules(&self, services: &[String]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (name, service) in self.project.section("services") {
            if !services.is_empty() && !services.contains(name) {
                continue;
            }
            let watch =
                service.get("develop").and_then(|node| node.get("watch")).and_then(Node::as_list);
            for rule in watch.unwrap_or_default() {
                let text = |key: &str| rule.text_of(key).unwrap_or_default().to_owned();
                rules.push(Rule {
                    service: name.clone(),
                    path: PathBuf::from(text("path")),
                    action: text("action"),
                    target: text("target"),
                    ignore: texts(rule, "ignore"),
                    include: texts(rule, "include"),
                    exec: rule.get("exec").map(|exec| texts(exec, "command")).unwrap_or_default(),
                });
            }
        }
        rules
    }

    /// `watch`.
    pub(crate) fn watch(&self, watch: &Watch) -> Result<u8, Failure> {
        let rules = self.rules(&watch.services);
        if rules.is_empty() {
            return Err("none of the selected services is configured for watch: see develop.watch"
                .to_owned());
        }
        if self.dry_run {
            return Ok(0);
        }
        if !watch.no_up {
            let mut up = Up { detach: true, ..Up::default() };
            up.making.supplies.build = true;
            up.making.supplies.quiet_build = watch.quiet;
            up.making.services.clone_from(&watch.services);
            self.up(&up)?;
        }
        let mut watched = Watched::new()?;
        for rule in &rules {
            let directory = if rule.path.is_dir() {
                rule.path.as_path()
            } else {
                rule.path.parent().unwrap_or(Path::new("/"))
            };
            watched.add(directory, &rules)?;
        }
        note(Severity::Remark, "Watch enabled");
        loop {
            let changed = watched.changes(&rules)?;
            self.apply(&rules, &changed, watch.quiet);
        }
    }

    fn apply(&self, rules: &[Rule], changed: &BTreeSet<PathBuf>, quiet: bool) {
        let mut rebuild = BTreeSet::new();
        let mut restart = BTreeSet::new();
        let mut commands: Vec<(&Rule, ())> = Vec::new();
        for rule in rules {
            let paths: Vec<(&PathBuf, String)> =
                changed.iter().filter_map(|path| Some((path, rule.relative(path)?))).collect();
            if paths.is_empty() {
                continue;
            }
            match rule.action.as_str() {
                "rebuild" => {
                    rebuild.insert(rule.service.clone());
                    continue;
                }
                "restart" => {
                    restart.insert(rule.service.clone());
                    continue;
                }
                "sync+restart" => {
                    restart.insert(rule.service.clone());
                }
                "sync+exec" => commands.push((rule, ())),
                _ => {}
            }
            for (path, below) in paths {
                if let Err(why) = self.sync(rule, path, &below) {
                    note(Severity::Warning, &format!("{}: {why}", rule.service));
                }
            }
        }
        for (rule, ()) in commands {
            let done =
                self.containers_of(std::slice::from_ref(&rule.service), false).and_then(|found| {
                    found.iter().try_for_each(|one| {
                        let mut words = vec!["exec".to_owned(), one.existing.id.clone()];
                        words.extend(rule.exec.iter().cloned());
                        self.husk.output(&words).map(drop)
                    })
                });
            if let Err(why) = done {
                note(Severity::Warning, &format!("{}: {why}", rule.service));
            }
        }
        if !restart.is_empty() {
            let restart =
                Restart { no_deps: true, timeout: None, services: restart.into_iter().collect() };
            if let Err(why) = self.restart_services(&restart) {
                note(Severity::Warning, &why);
            }
        }
        if !rebuild.is_empty() {
            note(
                Severity::Remark,
                &format!("Rebuilding {}", rebuild.iter().cloned().collect::<Vec<_>>().join(", ")),
            );
            let mut up = Up { detach: true, no_deps: true, ..Up::default() };
            up.making.supplies.build = true;
            up.making.supplies.quiet_build = quiet;
            up.making.services = rebuild.into_iter().collect();
            if let Err(why) = self.up(&up) {
                note(Severity::Warning, &why);
            }
        }
    }

    /// Copies a path into the containers of a service, or removes it there.
    fn sync(&self, rule: &Rule, path: &Path, below: &str) -> Result<(), Failure> {
        let target = match below.is_empty() {
            true => rule.target.clone(),
            false => format!("{}/{below}", rule.target.trim_end_matches('/')),
        };
        for one in self.containers_of(std::slice::from_ref(&rule.service), false)? {
            if !one.existing.running {
                continue;
            }
            let id = &one.existing.id;
            if path.symlink_metadata().is_ok() {
                let directory = path.is_dir();
                // A directory is copied into what is there already by its content.
                let source = if directory {
                    format!("{}/.", path.display())
                } else {
                    path.display().to_string()
                };
                self.husk.output(&[
                    "cp".to_owned(),
                    "--quiet".to_owned(),
                    source,
                    format!("{id}:{target}"),
                ])?;
            } else {
                self.husk.output(&["exec", id, "rm", "-rf", &target])?;
            }
        }
        note(Severity::Remark, &format!("Syncing service {:?}: {}", rule.service, path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path) in [
            ("node_modules/", "a/node_modules/x.js"),
            ("*.log", "deep/er/a.log"),
            ("src/*.tmp", "src/a.tmp"),
            ("src/**/x", "src/a/b/x"),
            ("./dist", "dist/a"),
            ("a?c", "abc"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("*.log", "a.logs"), ("src/*.tmp", "src/a/b.tmp"), ("dist", "distant"), ("/a/b", "b")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
