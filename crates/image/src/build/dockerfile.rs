//! The instructions of a Dockerfile.

use super::error::DockerfileError;
use super::healthcheck::Healthcheck;
use super::instruction::LineParser;
use super::lines::{Heredoc, Line, Position, split};
use super::run_mount::RunMount;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// ARGs before the first FROM, for FROM lines only.
    pub global_args: Vec<Argument>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
    /// The escape character, for words that are expanded later.
    pub escape: char,
    file: String,
    source: String,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The image, `scratch` or an earlier stage; variables are not expanded yet.
    pub base: Word,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// `--platform`.
    pub platform: Option<Word>,
    /// Its instructions.
    pub steps: Vec<Step>,
}

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text as it stands, quotes and variables and all.
    pub text: String,
    /// Where it begins.
    pub position: Position,
}

/// ARG's name and default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: Word,
    /// The default.
    pub default: Option<Word>,
}

/// An instruction with its place and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub instruction: Instruction,
    /// Where it begins.
    pub position: Position,
    /// As it stands, continuation lines joined.
    pub text: String,
}

/// A command: words to execute, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["a", "b"]`.
    Exec(Vec<String>),
    /// Anything else.
    Shell(String),
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: Command,
    /// `--mount`.
    pub mounts: Vec<RunMount>,
    /// `--network`.
    pub network: StepNetwork,
    /// `--security=insecure`.
    pub insecure: bool,
    /// A script that names its own interpreter (`#!`): it is executed, and `command` is not.
    pub script: Option<Heredoc>,
}

impl Run {
    /// A RUN without flags.
    #[must_use]
    pub fn of(command: Command) -> Run {
        let network = StepNetwork::Default;
        Run { command, mounts: Vec::new(), network, insecure: false, script: None }
    }
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepNetwork {
    /// That of the build.
    #[default]
    Default,
    /// None but the loopback interface.
    None,
    /// The host's.
    Host,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// ADD: archives are unpacked.
    pub add: bool,
    /// What is copied; the delimiters of here-documents are not among them.
    pub sources: Vec<Word>,
    /// Files that stand in the Dockerfile itself.
    pub inline: Vec<Heredoc>,
    /// Where to.
    pub destination: Word,
    /// `--from`: a stage or an image.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--parents`: the sources keep their directories.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// `--checksum` of a URL or a commit.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`: `None` unpacks archives of the context, and not those of URLs.
    pub unpack: Option<bool>,
}

/// The instructions after FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// RUN.
    Run(Run),
    /// COPY and ADD.
    Copy(Copy),
    /// ENV.
    Env(Vec<(Word, Word)>),
    /// ARG.
    Arg(Vec<Argument>),
    /// WORKDIR.
    Workdir(Word),
    /// USER.
    User(Word),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// CMD.
    Cmd(Command),
    /// EXPOSE.
    Expose(Vec<Word>),
    /// VOLUME.
    Volume(Vec<Word>),
    /// LABEL.
    Label(Vec<(Word, Word)>),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    StopSignal(Word),
    /// MAINTAINER.
    Maintainer(String),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// ONBUILD.
    OnBuild(Trigger),
}

impl Instruction {
    /// Whether it makes a layer, and not just a part of the config.
    #[must_use]
    pub fn makes_files(&self) -> bool {
        matches!(self, Instruction::Run(_) | Instruction::Copy(_) | Instruction::Workdir(_))
    }
}

/// What ONBUILD leaves for builds on top of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The instruction as it stands; it was read without an error.
    pub text: String,
    /// Where it begins.
    pub position: Position,
}

impl Dockerfile {
    /// Parses `source`, the text of `file`.
    ///
    /// # Errors
    /// [`DockerfileError`] with the place.
    pub fn parse(file: &str, source: &str) -> Result<Dockerfile, DockerfileError> {
        let split = split(file, source)?;
        let mut dockerfile = Dockerfile {
            global_args: Vec::new(),
            stages: Vec::new(),
            escape: split.escape,
            file: file.to_owned(),
            source: source.to_owned(),
        };
        for line in &split.lines {
            let parser = LineParser { line, escape: split.escape };
            let parsed = parser.parse(&mut dockerfile);
            parsed.map_err(|(offset, message)| dockerfile.error(line.place(offset), message))?;
        }
        match dockerfile.stages.is_empty() {
            true => Err(dockerfile.error(Position { line: 1, column: 1 }, "there is no FROM")),
            false => Ok(dockerfile),
        }
    }

    /// An error at a place of this file.
    #[must_use]
    pub fn error(&self, position: Position, message: impl Into<String>) -> DockerfileError {
        DockerfileError::new(&self.file, &self.source, position, message)
    }

    /// The instruction that ONBUILD of an image has recorded; errors of it are at `position`.
    pub(super) fn triggered(
        &self,
        text: &str,
        position: Position,
    ) -> Result<Instruction, DockerfileError> {
        // Others may have recorded a line with its escapes.
        let joined = text.trim().replace(['\n', '\r'], " ");
        let line = Line::at(joined, position);
        let parser = LineParser { line: &line, escape: self.escape };
        parser.triggered().map_err(|(_, message)| self.error(position, message))
    }

    /// The stage that a name or a number means, before stage `before`.
    #[must_use]
    pub fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let earlier = self.stages.get(..before).unwrap_or(&self.stages);
        let lower = name.to_ascii_lowercase();
        let named = earlier.iter().rposition(|stage| stage.name.as_deref() == Some(&*lower));
        named.or_else(|| name.parse().ok().filter(|index| *index < earlier.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> Result<Dockerfile, String> {
        Dockerfile::parse("Dockerfile", source).map_err(|error| error.to_string())
    }

    fn instructions(source: &str) -> Vec<Instruction> {
        let parsed = parse(&format!("FROM x\n{source}")).unwrap();
        parsed.stages[0].steps.iter().map(|step| step.instruction.clone()).collect()
    }

    fn text(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn stages_and_their_names() {
        let source = "ARG V=1\nFROM --platform=linux/arm64 a:$V AS Build\nRUN x\nFROM scratch\nCOPY --from=build /a /b\n";
        let parsed = parse(source).unwrap();
        assert_eq!(parsed.global_args[0].name.text, "V");
        assert_eq!(parsed.stages[0].name.as_deref(), Some("build"));
        assert_eq!(parsed.stages[0].base.text, "a:$V");
        assert_eq!(parsed.stages[0].platform.as_ref().unwrap().text, "linux/arm64");
        assert_eq!(parsed.stage("BUILD", 1), Some(0));
        assert_eq!(parsed.stage("0", 1), Some(0));
        assert_eq!(parsed.stage("1", 1), None);
        let Instruction::Copy(copy) = &parsed.stages[1].steps[0].instruction else { panic!() };
        assert_eq!(copy.from.as_ref().unwrap().text, "build");
        assert_eq!((text(&copy.sources), &*copy.destination.text), (vec!["/a"], "/b"));
    }

    #[test]
    fn every_instruction_is_read() {
        let found = instructions(
            "run a && b\nRUN [\"a\", \"b c\"]\nENV A=1 B=\"x y\"\nENV C some words\nARG D E=f\nWORKDIR /w\nUSER u:g\nENTRYPOINT [\"/e\"]\nCMD c d\nEXPOSE 80 53/udp\nVOLUME [\"/v\", \"/w\"]\nVOLUME /x /y\nLABEL a.b=c\nSHELL [\"/bin/bash\", \"-c\"]\nSTOPSIGNAL SIGINT\nMAINTAINER me\nADD --chown=1:2 --chmod=755 [\"a b\", \"/c\"]\n",
        );
        let shell = |text: &str| Command::Shell(text.to_owned());
        let run = |command| Instruction::Run(Run::of(command));
        assert_eq!(found[0], run(shell("a && b")));
        assert_eq!(found[1], run(Command::Exec(vec!["a".into(), "b c".into()])));
        let Instruction::Env(pairs) = &found[2] else { panic!() };
        assert_eq!((&*pairs[1].0.text, &*pairs[1].1.text), ("B", "\"x y\""));
        let Instruction::Env(pairs) = &found[3] else { panic!() };
        assert_eq!((&*pairs[0].0.text, &*pairs[0].1.text), ("C", "some words"));
        let Instruction::Arg(arguments) = &found[4] else { panic!() };
        assert_eq!(arguments[0].default, None);
        assert_eq!(arguments[1].default.as_ref().unwrap().text, "f");
        assert_eq!(found[8], Instruction::Cmd(shell("c d")));
        let Instruction::Volume(volumes) = &found[10] else { panic!() };
        assert_eq!(text(volumes), ["/v", "/w"]);
        let Instruction::Copy(copy) = &found[16] else { panic!() };
        assert!(copy.add);
        assert_eq!(text(&copy.sources), ["a b"]);
        assert_eq!(copy.chown.as_ref().unwrap().text, "1:2");
    }

    #[test]
    fn here_documents_become_scripts_and_files() {
        let found = instructions(
            "RUN <<EOF\nset -e\na\nEOF\nRUN cat <<X | b\ntext\nX\nCOPY <<a.txt /d/\nA\na.txt\n",
        );
        let run = |text: &str| Instruction::Run(Run::of(Command::Shell(text.into())));
        assert_eq!(found[0], run("set -e\na\n"));
        assert_eq!(found[1], run("cat <<X | b\ntext\nX\n"));
    }

    #[test]
    fn errors_have_file_line_and_caret() {
        let error = parse("FROM a\n\nRUNN x\n").unwrap_err();
        assert_eq!(
            error,
            "Dockerfile:3:1: unknown instruction \"RUNN\"; did you mean RUN?\n    3 | RUNN x\n      | ^"
        );
        let error = parse("FROM a\nCOPY \\\n  --chown /x /y\n").unwrap_err();
        assert_eq!(
            error,
            "Dockerfile:3:3: COPY --chown needs a value\n    3 |   --chown /x /y\n      |   ^"
        );
        for (source, expected) in [
            ("", "there is no FROM"),
            ("RUN x", "1:1: RUN before the first FROM"),
            ("FROM", "1:5: FROM needs an argument"),
            ("FROM a b", "1:8: FROM takes"),
            ("FROM a AS 1x", "1:11: a stage's name"),
            ("FROM a AS b\nFROM c AS B", "2:11: there is a stage \"b\" already"),
            ("FROM --x=y a", "1:6: FROM has no flag --x"),
            ("FROM a\nCOPY x", "2:6: COPY needs a destination"),
            ("FROM a\nENV A", "2:5: ENV takes name=value"),
            ("FROM a\nENV A=1 =2", "2:9: ENV takes name=value; the name"),
            ("FROM a\nARG a-b", "2:5: ARG takes"),
            ("FROM a\nSHELL x", "2:7: SHELL needs a list"),
            ("FROM a\nRUN --mount=type=cache x", "2:13: a mount of type cache needs target="),
            ("FROM a\nRUN --mount x", "2:5: RUN --mount needs a value"),
            ("FROM a\nRUN --mount=type=sshd x", "2:13: no mount of type \"sshd\""),
            ("FROM a\nRUN --mount=type=secret x", "2:13: a mount of type secret needs id="),
            (
                "FROM a\nRUN --mount=target=/a,size=3 x",
                "2:23: a mount of type bind has no \"size\"",
            ),
            ("FROM a\nRUN --mount=dst=/a,target=/b x", "2:20: target is given twice"),
            ("FROM a\nRUN --mount=type=cache,target=/a,sharing=no x", "2:34: sharing is one of"),
            ("FROM a\nRUN --mount=target=/a,rw=no x", "2:23: rw is true or false"),
            (
                "FROM a\nRUN --network=bridge x",
                "2:15: --network must be one of default, none, host",
            ),
            ("FROM a\nRUN --security=root x", "2:16: --security must be one of sandbox, insecure"),
            ("FROM a\nRUN --net=host x", "2:5: RUN has no flag --net"),
            ("FROM a\nADD --from=x y /z", "2:5: ADD has no flag --from"),
            ("FROM a\nCOPY --checksum=x y /z", "2:6: COPY has no flag --checksum"),
            ("FROM a\nCOPY --parents=maybe y /z", "2:16: --parents must be true or false"),
            ("FROM a\nONBUILD ONBUILD RUN x", "2:9: ONBUILD takes no ONBUILD"),
            ("FROM a\nONBUILD from x", "2:9: ONBUILD takes no FROM"),
            ("FROM a\nONBUILD RUNN x", "2:9: unknown instruction \"RUNN\"; did you mean RUN?"),
            ("FROM a\nONBUILD RUN", "2:12: RUN needs an argument"),
            ("FROM a\nONBUILD COPY x", "2:14: COPY needs a destination"),
            ("FROM a\nCOPY --chown=1 --chown=2 a b", "2:16: --chown is given twice"),
            ("FROM --platform a", "1:6: FROM --platform needs a value"),
            ("FROM a\nVOLUME []", "2:8: VOLUME needs a path"),
            ("FROM a\nRUN []", "2:5: RUN needs a command"),
        ] {
            let error = parse(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}
