//! The command line of the virtual machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use lexopt::Arg;

use super::machine::{Hierarchy, Size};
use crate::cargo::Profile;

pub(super) const HELP: &str = "\
cargo xtask vm [OPTIONS] [PART...]
cargo xtask vm [OPTIONS] -- CMD [ARG...]

Boots Debian's kernel under qemu (software emulation, no KVM) with systemd, pure cgroup v2
and AppArmor, the freshly built programs in /husk, and runs parts of the black-box suites
there. The image is built once, as root, and kept in $XDG_CACHE_HOME/husk-vm.

  smoke      a few checks of each of the following, and every limit's effect with both
             drivers (--smoke is the same)
  root       the suites and husk-cgroup's tests as root, cgroupfs driver
  systemd    the suites as root with --systemd-cgroup, and husk-cgroup's tests with the
             systemd driver
  user       the suite of rootless containers, and husk-cgroup's tests as a user with a
             delegated cgroup, with both drivers
  CMD        any command, as root, with /husk first on PATH; its exit code is ours.
             /husk/as-user CMD runs it as the user without privileges

  --suite NAME     only this suite of tests/ (repeatable)
  --filter WORD    only tests whose names contain WORD (repeatable)
  --package NAME   put the test executables of this package into /husk/deps too, as
                   NAME-TEST (NAME-husk_x for the unit tests)
  --file PATH      put this file into /husk/files
  --runtime PATH   another runtime under test: a path inside the machine
                   (/usr/bin/crun and /usr/sbin/runc are there)
  --hierarchy NAME unified (cgroup v2 alone, the default), hybrid or legacy (cgroup v1 alone)
  --release        the release build
  --cpus N         processors (2)
  --memory MB      memory (2048)
  --timeout S      seconds from power on to power off (900)
  --console FILE   keep what the kernel and systemd say
";

const PARTS: [&str; 4] = ["smoke", "root", "systemd", "user"];

/// What the command line asked for.
pub(super) struct Options {
    /// What is run, in order.
    pub(super) parts: Vec<String>,
    /// Suites wanted; none means all.
    pub(super) suites: Vec<String>,
    /// Words in the names of the tests wanted.
    pub(super) filters: Vec<String>,
    /// Packages whose test executables come along.
    pub(super) packages: Vec<String>,
    /// Other files that come along.
    pub(super) files: Vec<PathBuf>,
    /// Another runtime under test: a path inside the machine.
    pub(super) runtime: Option<String>,
    /// Which build.
    pub(super) profile: Profile,
    /// Which cgroup hierarchies systemd sets up.
    pub(super) hierarchy: Hierarchy,
    /// The machine.
    pub(super) size: Size,
    /// Where the console is kept.
    pub(super) console: Option<PathBuf>,
    /// A command instead of parts.
    pub(super) command: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        let limit = Duration::from_secs(900);
        Self {
            parts: Vec::new(),
            suites: Vec::new(),
            filters: Vec::new(),
            packages: Vec::new(),
            files: Vec::new(),
            runtime: None,
            profile: Profile::Dev,
            hierarchy: Hierarchy::Unified,
            size: Size { processors: 2, memory: 2048, limit },
            console: None,
            command: None,
        }
    }
}

impl Options {
    /// The small part that every run of the tests can afford.
    pub(super) fn smoke() -> Self {
        let mut options = Self { parts: vec!["smoke".to_owned()], ..Self::default() };
        options.size.limit = Duration::from_secs(420);
        options
    }

    /// Reads the command line; `None` for `--help`.
    ///
    /// # Errors
    /// An option or a part is unknown, or a value is no number.
    pub(super) fn parse(mut arguments: lexopt::Parser) -> anyhow::Result<Option<Self>> {
        let mut options = Self::default();
        loop {
            if let Some(raw) = arguments.try_raw_args()
                && raw.peek().is_some_and(|next| next == "--")
            {
                let words = raw.skip(1).map(|word| word.to_string_lossy().into_owned());
                options.command = Some(words.collect());
                break;
            }
            let Some(argument) = arguments.next()? else { break };
            let flag = match argument {
                Arg::Long(flag) => flag.to_owned(),
                Arg::Short('h') => return Ok(None),
                Arg::Value(part) => {
                    options.parts.push(part.to_string_lossy().into_owned());
                    continue;
                }
                other => return Err(other.unexpected().into()),
            };
            if !options.flag(&flag, &mut arguments)? {
                return Ok(None);
            }
        }
        options.validate()?;
        Ok(Some(options))
    }

    /// Takes one long option; false for `--help`.
    fn flag(&mut self, flag: &str, arguments: &mut lexopt::Parser) -> anyhow::Result<bool> {
        let mut value = || -> anyhow::Result<String> {
            arguments.value()?.into_string().map_err(|v| anyhow::anyhow!("{v:?} is no text"))
        };
        let number = |text: String| match text.parse::<usize>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(anyhow::anyhow!("--{flag} {text}: not a number above 0")),
        };
        match flag {
            "smoke" => self.parts.push("smoke".to_owned()),
            "suite" => self.suites.push(value()?),
            "filter" => self.filters.push(value()?),
            "package" => self.packages.push(value()?),
            "file" => self.files.push(value()?.into()),
            "runtime" => self.runtime = Some(value()?),
            "hierarchy" => self.hierarchy = Hierarchy::named(&value()?)?,
            "release" => self.profile = Profile::Release,
            "cpus" => self.size.processors = number(value()?)?,
            "memory" => self.size.memory = number(value()?)?,
            "timeout" => self.size.limit = Duration::from_secs(number(value()?)? as u64),
            "console" => self.console = Some(value()?.into()),
            "help" => return Ok(false),
            other => bail!("no option --{other}; --help lists them"),
        }
        Ok(true)
    }

    fn validate(&mut self) -> anyhow::Result<()> {
        if let Some(part) = self.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            bail!("no part {part:?}: there are {}", PARTS.join(", "));
        }
        if self.command.is_some() && !self.parts.is_empty() {
            bail!("either parts or a command");
        }
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            bail!("no command after --");
        }
        if self.parts.is_empty() {
            self.parts = PARTS.map(str::to_owned).to_vec();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        let parsed = Options::parse(lexopt::Parser::from_args(words))?;
        parsed.context("help")
    }

    #[test]
    fn a_command_is_all_that_follows_the_dashes() {
        let options = parse(&["--memory", "512", "--", "ls", "-l", "--", "a b"]).expect("parse");
        assert_eq!(options.command.expect("a command"), ["ls", "-l", "--", "a b"]);
        assert_eq!(options.size.memory, 512);
    }

    #[test]
    fn parts_and_commands_exclude_each_other() {
        assert!(parse(&["smoke", "--", "true"]).is_err());
        assert!(parse(&["--"]).is_err());
        assert!(parse(&["everything"]).is_err());
        assert!(parse(&["--cpus", "0"]).is_err());
        assert!(parse(&["--hierarchy", "v3", "root"]).is_err());
    }
}
