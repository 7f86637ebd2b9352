//! Fetching git repositories with the machine's own `git`.
//!
//! A repository is a stranger's: git runs without the caller's configuration, hooks,
//! credential helpers and prompts, with the network protocols alone, and its submodules are
//! fetched under the same rules.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::remote::GitAddress;
use crate::digest::clip;

/// Where `git` is looked for: never in the caller's PATH, which may lead into the context.
const PROGRAMS: [&str; 3] = ["/usr/bin/git", "/usr/local/bin/git", "/bin/git"];

/// What git gets of our environment: the way to the network, and keys.
const PASSED: [&str; 13] = [
    "HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "TMPDIR",
];

/// Checks out what `address` names into `directory`, which is there and empty. Gives the
/// commit.
///
/// # Errors
/// One line, with what git said last.
pub fn checkout(
    address: &GitAddress,
    directory: &Path,
    keep_git_dir: bool,
) -> Result<String, String> {
    let wanted = address.reference.as_deref().unwrap_or("HEAD");
    for text in [address.url.as_str(), wanted] {
        if text.starts_with('-') || text.contains(['\0', '\n']) {
            return Err(format!("{:?} is not the address of a git repository", clip(text)));
        }
    }
    run(directory, &["init", "--quiet", "."])?;
    run(directory, &["remote", "add", "origin", &address.url])?;
    let shallow = ["fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted];
    if let Err(problem) = run(directory, &shallow) {
        // A commit that no branch ends in is served with its history alone; so is all by
        // HTTP servers that are files only.
        let whole = ["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        run(directory, &whole).map_err(|_| problem)?;
        if address.reference.is_none() {
            run(directory, &["remote", "set-head", "origin", "--auto"])?;
        }
        let found = [format!("refs/remotes/origin/{wanted}"), wanted.to_owned()];
        let found = found.iter().find_map(|name| {
            let name = format!("{name}^{{commit}}");
            run(directory, &["rev-parse", "--quiet", "--verify", &name]).ok()
        });
        let commit = found.ok_or_else(|| {
            format!("{}: there is no branch, tag or commit {:?}", clip(&address.url), clip(wanted))
        })?;
        run(directory, &["checkout", "--quiet", "--detach", commit.trim()])?;
    } else {
        run(directory, &["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
    }
    if directory.join(".gitmodules").exists() {
        run(directory, &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
    }
    let commit = run(directory, &["rev-parse", "HEAD"])?.trim().to_owned();
    if !keep_git_dir {
        let path = directory.join(".git");
        std::fs::remove_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(commit)
}

/// Runs git in `directory`; gives its standard output.
fn run(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let program = PROGRAMS.iter().find(|path| Path::new(path).exists());
    let program = program.ok_or("git is needed to fetch a repository: install it")?;
    let mut command = Command::new(program);
    command.env_clear().current_dir(directory).stdin(Stdio::null());
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "/bin/false")
        .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env("GIT_DIR", directory.join(".git"))
        .env("GIT_WORK_TREE", directory);
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "credential.helper=",
        "init.defaultBranch=master",
        "fetch.fsckObjects=true",
        "protocol.file.allow=never",
        "protocol.ext.allow=never",
    ] {
        command.args(["-c", setting]);
    }
    if arguments.first() == Some(&"submodule") {
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    }
    let output = command.args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let how = match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    let action = arguments.first().copied().unwrap_or_default();
    Err(format!("git {action}: {}: {}", how, clip(said)))
}
