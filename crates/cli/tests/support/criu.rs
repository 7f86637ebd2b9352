//! Commands with a CRIU that works.

use std::path::Path;
use std::process::Command;

use super::{Done, Engine};

/// PATH with CRIU in it; None where it does not work.
pub(crate) fn search_path() -> Option<String> {
    let criu = std::env::var("CRIU").unwrap_or_else(|_| "criu".to_owned());
    let works = Command::new(&criu).arg("check").output().is_ok_and(|out| out.status.success());
    let path = std::env::var("PATH").unwrap_or_default();
    let directory = Path::new(&criu).parent().map(|parent| parent.display().to_string());
    works.then(|| match directory.filter(|directory| !directory.is_empty()) {
        Some(directory) => format!("{directory}:{path}"),
        None => path,
    })
}

pub(crate) fn run(engine: &Engine, path: &str, arguments: &[&str]) -> Done {
    let mut command = engine.command(arguments);
    command.env("PATH", path).output().unwrap().into()
}

pub(crate) fn ok(engine: &Engine, path: &str, arguments: &[&str]) -> String {
    let done = run(engine, path, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {}", done.err);
    done.out
}
