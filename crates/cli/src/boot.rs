//! `system boot` and `system install`: containers after the machine has started.

use std::path::{Path, PathBuf};

use clap::Args;
use husk_engine::boot;
use husk_engine::home::{Home, make_directory};
use husk_engine::reporter::Reporter;
use husk_engine::rootless::is_rootless;

use super::output;
use crate::error::{Error, Result, file};

/// The unit's name.
const UNIT: &str = "husk.service";

/// `system boot`.
#[derive(Debug, Args)]
pub(super) struct Boot {}

/// Notices come from several threads.
struct Notices;

impl Reporter for Notices {
    fn notice(&self, text: &str) {
        husk_engine::notice::notice(text);
    }

    fn progress(&self, _event: husk_image::progress::Event<'_>) {}
}

impl Boot {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut code = 0;
        for booted in boot::boot(home, &Notices)? {
            match booted.outcome {
                Ok(()) => output::line(&booted.container.record.name)?,
                Err(error) => {
                    let name = &booted.container.record.name;
                    output::error(&Error::other(format_args!("container {name}: {error}")));
                    code = 1;
                }
            }
        }
        Ok(code)
    }
}

/// `system install`.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// Install for the calling user's own containers
    #[arg(long)]
    user: bool,
    /// Print the unit instead of writing it
    #[arg(long)]
    print: bool,
    /// Directory of the unit
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "print")]
    directory: Option<PathBuf>,
}

impl Install {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if self.user != is_rootless() {
            let problem = match self.user {
                true => "--user is for an ordinary user's containers: root's need no --user",
                false => "an ordinary user's containers need --user",
            };
            return Err(Error::Usage(problem.to_owned()));
        }
        let program = std::env::current_exe().map_err(file("find", "/proc/self/exe"))?;
        let command = command(&program, home)?;
        if self.print {
            output::print(&unit(&command, self.user))?;
            return Ok(0);
        }
        let directory = match (&self.directory, self.user) {
            (Some(directory), _) => directory.clone(),
            (None, false) => PathBuf::from("/etc/systemd/system"),
            (None, true) => user_directory()?,
        };
        if self.directory.is_none() && !Path::new("/run/systemd/system").exists() {
            return Err(Error::other(format_args!(
                "this machine's init is not systemd: have it run {command:?} when the network is \
                 up, or give --directory"
            )));
        }
        make_directory(&directory)?;
        let path = directory.join(UNIT);
        std::fs::write(&path, unit(&command, self.user)).map_err(file("write", &path))?;
        // Read by systemd whatever our umask.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).map_err(file("chmod", &path))?;
        output::line(path.display())?;
        let enable = match self.user {
            true => "systemctl --user enable husk, and as root: loginctl enable-linger USER",
            false => "systemctl enable husk",
        };
        husk_engine::notice::notice(format_args!("it counts after: {enable}"));
        Ok(0)
    }
}

fn user_directory() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let missing = || Error::other("neither XDG_CONFIG_HOME nor HOME is set: give --directory");
    Ok(config.ok_or_else(missing)?.join("systemd/user"))
}

/// The command that starts what should run, quoted for systemd (systemd.syntax(7)).
fn command(program: &Path, home: &Home) -> Result<String> {
    let usual = Home::new(None, None)?;
    let mut words = vec![program.to_path_buf()];
    if usual.root != home.root {
        words.extend(["--root".into(), home.root.clone()]);
    }
    if usual.run != home.run {
        words.extend(["--runroot".into(), home.run.clone()]);
    }
    words.extend(["system".into(), "boot".into()]);
    let quoted: Result<Vec<String>> = words.iter().map(|word| quoted(word)).collect();
    Ok(quoted?.join(" "))
}

fn quoted(word: &Path) -> Result<String> {
    let text = word.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| {
        Error::other(format_args!("{}: cannot be written into a unit", word.display()))
    })?;
    let text = text.replace('%', "%%").replace('$', "$$");
    match text.contains([' ', '"', '\'', '\\', ';']) {
        true => Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
        false => Ok(text),
    }
}

fn unit(command: &str, user: bool) -> String {
    let (network, target) = match user {
        true => ("", "default.target"),
        false => (
            "Wants=network-online.target\nAfter=network-online.target local-fs.target\n",
            "multi-user.target",
        ),
    };
    format!(
        "[Unit]\n\
         Description=Start the containers of husk that should run\n\
         Documentation=man:husk-system-boot(1)\n\
         {network}\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={command}\n\
         # Containers wait for others to become healthy.\n\
         TimeoutStartSec=infinity\n\
         # The containers and their monitors go on when this unit is stopped.\n\
         KillMode=process\n\
         TasksMax=infinity\n\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}
