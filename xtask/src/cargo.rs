//! cargo: building, and what it knows of the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The package of the black-box suites.
pub(crate) const SUITES: &str = "husk-tests";

/// Where it is.
pub(crate) const SUITES_DIRECTORY: &str = "tests";

/// Which of the two profiles of Cargo.toml.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Debug assertions and overflow checks on: what the tests run against.
    Dev,
    /// What is measured and shipped.
    Release,
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    // `cargo run` sets the variable, so a moved checkout is still found.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_owned)
}

/// `cargo`, in the workspace's root.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
}

/// A target of a package, as `cargo metadata` prints it.
#[derive(Deserialize)]
pub(crate) struct Target {
    /// The name in Cargo.toml.
    pub(crate) name: String,
    /// `bin`, `lib`, `test`, ...
    pub(crate) kind: Vec<String>,
}

/// Builds the programs of `packages` and returns where each is.
///
/// # Errors
/// The build fails: the compiler's own words are on standard error by then.
pub(crate) fn build(
    packages: &[&str],
    profile: Profile,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut command = command();
    command.args(["build", "--bins"]);
    match profile {
        // One package alone would have its dependencies built anew, with the features that
        // it alone asks for; the tests have built them with those of the whole workspace.
        Profile::Dev => {
            command.arg("--workspace");
        }
        Profile::Release => {
            command.arg("--release");
            packages.iter().for_each(|package| {
                command.args(["--package", package]);
            });
        }
    }
    let mut built = executables(&mut command, "bin", None)?;
    built.remove("xtask");
    Ok(built)
}

/// Builds one package's program of that name.
///
/// # Errors
/// As [`build`]; or the package has no such program.
pub(crate) fn build_one(package: &str, program: &str, profile: Profile) -> anyhow::Result<PathBuf> {
    build(&[package], profile)?
        .remove(program)
        .with_context(|| format!("package {package} has no program {program}"))
}

/// Runs a cargo command and collects the executables of `kind` that it made, by name; those
/// of `package` only, a directory of the workspace, since two may have a test of one name.
///
/// # Errors
/// The build fails.
pub(crate) fn executables(
    command: &mut Command,
    kind: &str,
    package: Option<&str>,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let manifest = package.map(|directory| workspace().join(directory).join("Cargo.toml"));
    Ok(artifacts(command)?
        .into_iter()
        .filter(|artifact| artifact.target.is(kind))
        .filter(|artifact| manifest.as_ref().is_none_or(|path| *path == artifact.manifest))
        .map(|artifact| (artifact.target.name, artifact.executable))
        .collect())
}

/// The test executables that a `cargo test --no-run` made, by the name of what they test.
///
/// # Errors
/// The build fails.
pub(crate) fn test_executables(command: &mut Command) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    Ok(artifacts(command)?
        .into_iter()
        // Programs that the tests start are built along; tests stand in deps/.
        .filter(|artifact| artifact.executable.parent().is_some_and(|dir| dir.ends_with("deps")))
        .map(|artifact| (artifact.target.name, artifact.executable))
        .collect())
}

/// An executable that cargo made or found made.
struct Artifact {
    target: Target,
    manifest: PathBuf,
    executable: PathBuf,
}

fn artifacts(command: &mut Command) -> anyhow::Result<Vec<Artifact>> {
    command.arg("--message-format=json-render-diagnostics");
    command.stderr(Stdio::inherit()).stdin(Stdio::null());
    let output = command.output().context("cargo")?;
    if !output.status.success() {
        bail!("{}: {}", crate::process::describe(command), output.status);
    }
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else { continue };
        if message.reason == "compiler-artifact"
            && let (Some(target), Some(manifest), Some(executable)) =
                (message.target, message.manifest_path, message.executable)
        {
            found.push(Artifact { target, manifest, executable });
        }
    }
    Ok(found)
}

/// What `cargo metadata` says, as far as we ask.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the graph.
    pub(crate) packages: Vec<Package>,
    /// Ids of our own packages.
    pub(crate) workspace_members: Vec<String>,
    /// The resolved graph.
    pub(crate) resolve: Resolve,
}

/// One package.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Unique in the graph.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its targets.
    pub(crate) targets: Vec<Target>,
}

/// The resolved graph.
#[derive(Deserialize)]
pub(crate) struct Resolve {
    /// One a package.
    pub(crate) nodes: Vec<Node>,
}

/// A package's edges.
#[derive(Deserialize)]
pub(crate) struct Node {
    /// The package.
    pub(crate) id: String,
    /// What it depends on.
    pub(crate) deps: Vec<Edge>,
}

/// One edge.
#[derive(Deserialize)]
pub(crate) struct Edge {
    /// The package depended on.
    pub(crate) pkg: String,
    /// Why: normal (no kind), `dev`, `build`.
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

/// The kind of an edge.
#[derive(Deserialize)]
pub(crate) struct EdgeKind {
    /// `None` for what is linked, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// cargo fails, or prints what we cannot read.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let json = crate::process::output(command().args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ]))?;
        serde_json::from_str(&json).context("cargo metadata")
    }

    /// The id of the package of the workspace that is called `name`.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.packages
            .iter()
            .find(|p| p.name == name && self.workspace_members.contains(&p.id))
            .map(|p| p.id.as_str())
    }

    /// The name of the package `id`.
    pub(crate) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.packages.iter().find(|p| p.id == id).map_or(id, |p| &p.name)
    }

    /// The names of the black-box suites: the `[[test]]` targets of their package.
    pub(crate) fn suites(&self) -> Vec<String> {
        self.packages
            .iter()
            .filter(|package| package.name == SUITES)
            .flat_map(|package| &package.targets)
            .filter(|target| target.is("test"))
            .map(|target| target.name.clone())
            .collect()
    }

    /// The packages whose programs are under test: all of ours that have any.
    pub(crate) fn programs(&self) -> Vec<&str> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
            .filter(|package| package.name != "xtask")
            .filter(|package| package.targets.iter().any(|target| target.is("bin")))
            .map(|package| package.name.as_str())
            .collect()
    }
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|k| k == kind)
    }
}
