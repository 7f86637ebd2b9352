//! `cargo xtask demo`: from a fresh checkout to a running container.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use lexopt::Arg;

use crate::bundle::{self, Bundle};
use crate::cargo::{self, Profile};
use crate::scratch::Scratch;
use crate::{interrupt, process};

const HELP: &str = "\
cargo xtask demo [--runtime PATH]

Builds husk-oci and a tiny static program, makes a bundle whose root filesystem is that
one file, runs it and prints what the container sees. Needs no network and no image, and
leaves nothing behind.

  --runtime PATH   run another OCI runtime instead of husk-oci
";

/// Runs the command.
///
/// # Errors
/// Something is missing, or a step fails.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let mut runtime = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("runtime") => runtime = Some(PathBuf::from(arguments.value()?)),
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let rootless = !process::is_root();
    if rootless {
        refuse_without_user_namespaces()?;
    }
    interrupt::note()?;
    eprintln!("==> building husk-oci and hello (release)");
    let hello = cargo::build_one("husk-hello", "hello", Profile::Release)?;
    let runtime = match runtime {
        Some(runtime) => runtime,
        None => cargo::build_one("husk-runtime", "husk-oci", Profile::Release)?,
    };
    interrupt::check()?;

    let scratch = Scratch::new("demo")?;
    let state = scratch.path().join("state");
    let made = Bundle::from_spec(&scratch.path().join("bundle"), &runtime, rootless)?;
    made.install(&hello, "/hello")?;
    let mut config = made.config()?;
    bundle::set_process(&mut config, &["/hello"], "husk-demo")?;
    made.write(&config)?;

    let id = format!("husk-demo-{}", std::process::id());
    eprintln!("==> {} run --bundle {} {id}\n", runtime.display(), made.path().display());
    let status = Command::new(&runtime)
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle"])
        .arg(made.path())
        .arg(&id)
        .status()
        .with_context(|| runtime.display().to_string());
    if !matches!(&status, Ok(status) if status.success()) {
        // A run that failed has cleaned up; one that was killed has not.
        let mut delete = Command::new(&runtime);
        delete.arg("--root").arg(&state).args(["delete", "--force", &id]);
        let _ = process::output(&mut delete);
    }
    let status = status?;
    if !status.success() {
        bail!("the container did not run: {status}");
    }
    eprintln!("\n==> the container is gone, and so is its bundle");
    Ok(ExitCode::SUCCESS)
}

/// Without root the container needs a user namespace, which a distribution may forbid.
fn refuse_without_user_namespaces() -> anyhow::Result<()> {
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        bail!(
            "not root, and this kernel gives users no namespaces: run `sudo -E cargo xtask demo`, \
             or set the sysctl kernel.unprivileged_userns_clone (Debian) to 1 or \
             kernel.apparmor_restrict_unprivileged_userns (Ubuntu) to 0"
        );
    }
    Ok(())
}
