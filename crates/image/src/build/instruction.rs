//! One logical line of a Dockerfile into its instruction.

use super::dockerfile::{
    Argument, Command, Copy, Dockerfile, Instruction, Run, Stage, Step, StepNetwork, Trigger, Word,
};
use super::expand::words;
use super::lines::Line;

const KNOWN: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "WORKDIR",
    "USER",
    "ENTRYPOINT",
    "CMD",
    "EXPOSE",
    "VOLUME",
    "LABEL",
    "SHELL",
    "STOPSIGNAL",
    "MAINTAINER",
    "HEALTHCHECK",
    "ONBUILD",
];

/// A byte offset in the line, and what is wrong there.
pub(super) type Problem = (usize, String);

pub(super) struct LineParser<'a> {
    pub(super) line: &'a Line,
    pub(super) escape: char,
}

pub(super) fn problem<T>(offset: usize, message: impl Into<String>) -> Result<T, Problem> {
    Err((offset, message.into()))
}

impl LineParser<'_> {
    pub(super) fn parse(&self, dockerfile: &mut Dockerfile) -> Result<(), Problem> {
        let text = self.line.text.as_str();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let keyword = text.get(..end).unwrap_or(text).to_ascii_uppercase();
        let rest = text.get(end..).unwrap_or_default();
        let start = end + (rest.len() - rest.trim_start().len());
        let rest = rest.trim();
        if !KNOWN.contains(&keyword.as_str()) {
            return problem(0, unknown(&keyword));
        }
        if rest.is_empty() {
            return problem(end, format!("{keyword} needs an argument"));
        }
        if keyword == "FROM" {
            let stage = self.from(rest, start, dockerfile)?;
            dockerfile.stages.push(stage);
            return Ok(());
        }
        if keyword == "ARG" && dockerfile.stages.is_empty() {
            dockerfile.global_args.extend(self.arguments(rest, start)?);
            return Ok(());
        }
        let instruction = self.instruction(&keyword, rest, start)?;
        let step = Step { instruction, position: self.line.place(0), text: text.trim().to_owned() };
        match dockerfile.stages.last_mut() {
            Some(stage) => stage.steps.push(step),
            None => return problem(0, format!("{keyword} before the first FROM")),
        }
        Ok(())
    }

    pub(super) fn word(&self, offset: usize, text: &str) -> Word {
        Word { text: text.to_owned(), position: self.line.place(offset) }
    }

    fn words(&self, text: &str, start: usize) -> Vec<(usize, Word)> {
        let split = words(text, self.escape).into_iter();
        split.map(|(at, word)| (start + at, self.word(start + at, word))).collect()
    }

    fn instruction(&self, keyword: &str, rest: &str, start: usize) -> Result<Instruction, Problem> {
        let single = || self.word(start, rest);
        Ok(match keyword {
            "RUN" => Instruction::Run(self.run(rest, start)?),
            "COPY" | "ADD" => Instruction::Copy(self.copy(keyword == "ADD", rest, start)?),
            "ENV" => Instruction::Env(self.pairs(keyword, rest, start)?),
            "LABEL" => Instruction::Label(self.pairs(keyword, rest, start)?),
            "ARG" => Instruction::Arg(self.arguments(rest, start)?),
            "WORKDIR" => Instruction::Workdir(single()),
            "USER" => Instruction::User(single()),
            "STOPSIGNAL" => Instruction::StopSignal(single()),
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(rest, start)?),
            "ONBUILD" => Instruction::OnBuild(self.trigger(rest, start)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(rest, start)?),
            "CMD" => Instruction::Cmd(self.command(rest, start)?),
            "EXPOSE" => {
                Instruction::Expose(self.words(rest, start).into_iter().map(|(_, w)| w).collect())
            }
            "VOLUME" => Instruction::Volume(match json_list(rest) {
                Some(list) if list.is_empty() => return problem(start, "VOLUME needs a path"),
                Some(list) => list.iter().map(|text| self.word(start, text)).collect(),
                None => self.words(rest, start).into_iter().map(|(_, word)| word).collect(),
            }),
            "SHELL" => match json_list(rest) {
                Some(list) if !list.is_empty() => Instruction::Shell(list),
                _ => return problem(start, "SHELL needs a list, as in [\"/bin/sh\", \"-c\"]"),
            },
            "MAINTAINER" => Instruction::Maintainer(rest.to_owned()),
            other => return problem(0, unknown(other)),
        })
    }

    /// ONBUILD's instruction: its text is what the image's config records.
    fn trigger(&self, rest: &str, start: usize) -> Result<Trigger, Problem> {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let keyword = rest.get(..end).unwrap_or(rest).to_ascii_uppercase();
        let arguments = rest.get(end..).unwrap_or_default();
        let at = start + end + (arguments.len() - arguments.trim_start().len());
        match keyword.as_str() {
            "ONBUILD" | "FROM" | "MAINTAINER" => {
                problem(start, format!("ONBUILD takes no {keyword}"))
            }
            known if !KNOWN.contains(&known) => problem(start, unknown(known)),
            known if arguments.trim().is_empty() => {
                problem(start + end, format!("{known} needs an argument"))
            }
            known => {
                // Whether it can be read is seen now, not in somebody's build next year.
                self.instruction(known, arguments.trim(), at)?;
                Ok(Trigger { text: rest.to_owned(), position: self.line.place(start) })
            }
        }
    }

    /// The one instruction of this line, which ONBUILD of an image has recorded.
    pub(super) fn triggered(&self) -> Result<Instruction, Problem> {
        let text = self.line.text.as_str();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let keyword = text.get(..end).unwrap_or(text).to_ascii_uppercase();
        // As strict as when it is recorded: another engine may have done that.
        self.trigger(text, 0)?;
        self.instruction(&keyword, text.get(end..).unwrap_or_default().trim(), end)
    }

    fn from(&self, rest: &str, start: usize, known: &Dockerfile) -> Result<Stage, Problem> {
        let (flags, rest, start) = self.flags(rest, start)?;
        let mut platform = None;
        for (offset, name, value) in flags {
            match (name.as_str(), value) {
                ("platform", Some(value)) => platform = Some(value),
                ("platform", None) => return problem(offset, "FROM --platform needs a value"),
                _ => return problem(offset, format!("FROM has no flag --{name}")),
            }
        }
        let words = self.words(rest, start);
        let (base, name) = match words.as_slice() {
            [(_, base)] => (base.clone(), None),
            [(_, base), (_, keyword), (offset, name)]
                if keyword.text.eq_ignore_ascii_case("as") =>
            {
                let text = name.text.to_ascii_lowercase();
                let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                if !first || !text.bytes().all(plain) {
                    return problem(
                        *offset,
                        "a stage's name is a letter and then letters, digits, - _ .",
                    );
                }
                if known.stages.iter().any(|stage| stage.name.as_ref() == Some(&text)) {
                    return problem(*offset, format!("there is a stage {text:?} already"));
                }
                (base.clone(), Some(text))
            }
            [] => return problem(start, "FROM needs an image"),
            [_, (offset, _), ..] => return problem(*offset, "FROM takes: image [AS name]"),
        };
        Ok(Stage { base, name, platform, steps: Vec::new() })
    }

    /// Leading `--name[=value]` words.
    #[allow(clippy::type_complexity, reason = "one tuple, taken apart by each caller at once")]
    pub(super) fn flags<'t>(
        &self,
        text: &'t str,
        start: usize,
    ) -> Result<(Vec<(usize, String, Option<Word>)>, &'t str, usize), Problem> {
        let mut flags = Vec::new();
        let mut at = 0;
        for (offset, word) in words(text, self.escape) {
            let Some(flag) = word.strip_prefix("--") else {
                return Ok((flags, text.get(offset..).unwrap_or_default(), start + offset));
            };
            at = offset + word.len();
            if flag.is_empty() {
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => {
                    let place = start + offset + 3 + name.len();
                    (name, Some(self.word(place, value)))
                }
                None => (flag, None),
            };
            if !["mount", "exclude"].contains(&name)
                && flags.iter().any(|(_, known, _)| known == name)
            {
                return problem(start + offset, format!("--{name} is given twice"));
            }
            flags.push((start + offset, name.to_owned(), value));
        }
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        Ok((flags, rest.trim_start(), start + at + blank))
    }

    fn run(&self, rest: &str, start: usize) -> Result<Run, Problem> {
        let (flags, rest, start) = self.flags(rest, start)?;
        let mut run = Run::of(Command::Exec(Vec::new()));
        for (offset, name, value) in flags {
            let text = value.as_ref().map(|value| value.text.as_str());
            let at = offset + name.len() + 3;
            match (name.as_str(), text) {
                ("mount", text) => run.mounts.push(self.mount(offset, text)?),
                ("network", Some("default")) => run.network = StepNetwork::Default,
                ("network", Some("none")) => run.network = StepNetwork::None,
                ("network", Some("host")) => run.network = StepNetwork::Host,
                ("network", _) => {
                    return problem(at, "--network must be one of default, none, host");
                }
                ("security", Some("sandbox")) => run.insecure = false,
                ("security", Some("insecure")) => run.insecure = true,
                ("security", _) => {
                    return problem(at, "--security must be one of sandbox, insecure");
                }
                _ => return problem(offset, format!("RUN has no flag --{name}")),
            }
        }
        if let ([heredoc], true) =
            (self.line.heredocs.as_slice(), words(rest, self.escape).len() == 1)
            && heredoc.content.starts_with("#!")
        {
            run.script = Some(heredoc.clone());
        } else {
            run.command = self.run_command(rest, start)?;
        }
        Ok(run)
    }

    fn run_command(&self, rest: &str, start: usize) -> Result<Command, Problem> {
        if rest.is_empty() {
            return problem(start, "RUN needs a command");
        }
        if self.line.heredocs.is_empty() {
            return match self.command(rest, start)? {
                Command::Exec(words) if words.is_empty() => problem(start, "RUN needs a command"),
                command => Ok(command),
            };
        }
        let words = words(rest, self.escape);
        if let ([heredoc], [_]) = (self.line.heredocs.as_slice(), words.as_slice()) {
            return Ok(Command::Shell(heredoc.content.clone()));
        }
        // The shell has here-documents itself.
        let mut script = format!("{rest}\n");
        for heredoc in &self.line.heredocs {
            script.push_str(&heredoc.content);
            script.push_str(&heredoc.name);
            script.push('\n');
        }
        Ok(Command::Shell(script))
    }

    pub(super) fn command(&self, rest: &str, start: usize) -> Result<Command, Problem> {
        match json_list(rest) {
            Some(list) if list.iter().any(|word| word.contains('\0')) => {
                problem(start, "a word contains a NUL")
            }
            Some(list) => Ok(Command::Exec(list)),
            None if rest.contains('\0') => problem(start, "the command contains a NUL"),
            None => Ok(Command::Shell(rest.to_owned())),
        }
    }

    fn copy(&self, add: bool, rest: &str, start: usize) -> Result<Copy, Problem> {
        let keyword = if add { "ADD" } else { "COPY" };
        let (flags, rest, start) = self.flags(rest, start)?;
        let mut copy = Copy {
            add,
            sources: Vec::new(),
            inline: self.line.heredocs.clone(),
            destination: self.word(start, ""),
            from: None,
            chown: None,
            chmod: None,
            parents: false,
            exclude: Vec::new(),
            checksum: None,
            keep_git_dir: false,
            unpack: None,
        };
        for (offset, name, value) in flags {
            match name.as_str() {
                "link" => drop(boolean(offset, &name, value.as_ref())?),
                "parents" if !add => copy.parents = boolean(offset, &name, value.as_ref())?,
                "keep-git-dir" if add => {
                    copy.keep_git_dir = boolean(offset, &name, value.as_ref())?;
                }
                "unpack" if add => copy.unpack = Some(boolean(offset, &name, value.as_ref())?),
                _ => {
                    let known = match name.as_str() {
                        "from" => !add,
                        "checksum" => add,
                        name => ["chown", "chmod", "exclude"].contains(&name),
                    };
                    if !known {
                        return problem(offset, format!("{keyword} has no flag --{name}"));
                    }
                    let Some(value) = value.filter(|value| !value.text.is_empty()) else {
                        return problem(offset, format!("{keyword} --{name} needs a value"));
                    };
                    match name.as_str() {
                        "from" => copy.from = Some(value),
                        "chown" => copy.chown = Some(value),
                        "chmod" => copy.chmod = Some(value),
                        "checksum" => copy.checksum = Some(value),
                        _ => copy.exclude.push(value),
                    }
                }
            }
        }
        let mut all: Vec<(usize, Word)> = match json_list(rest) {
            Some(list) => list.iter().map(|text| (start, self.word(start, text))).collect(),
            None => self.words(rest, start),
        };
        all.retain(|(_, word)| !word.text.starts_with("<<") || self.line.heredocs.is_empty());
        let Some((offset, destination)) = all.pop() else {
            return problem(start, format!("{keyword} needs sources and a destination"));
        };
        if all.is_empty() && copy.inline.is_empty() {
            return problem(offset, format!("{keyword} needs a destination after its sources"));
        }
        copy.destination = destination;
        copy.sources = all.into_iter().map(|(_, word)| word).collect();
        Ok(copy)
    }

    fn pairs(&self, keyword: &str, rest: &str, start: usize) -> Result<Vec<(Word, Word)>, Problem> {
        let words = self.words(rest, start);
        let mut pairs = Vec::new();
        for (index, (offset, word)) in words.iter().enumerate() {
            let Some((name, value)) = word.text.split_once('=') else {
                // The old form: a name and the rest of the line.
                if index == 0 && words.len() > 1 {
                    let value = rest.get(word.text.len()..).unwrap_or_default();
                    let blank = value.len() - value.trim_start().len();
                    let place = start + word.text.len() + blank;
                    return Ok(vec![(word.clone(), self.word(place, value.trim_start()))]);
                }
                return problem(*offset, format!("{keyword} takes name=value"));
            };
            if name.is_empty() {
                return problem(
                    *offset,
                    format!("{keyword} takes name=value; the name is missing"),
                );
            }
            let value = self.word(offset + name.len() + 1, value);
            pairs.push((self.word(*offset, name), value));
        }
        Ok(pairs)
    }

    fn arguments(&self, rest: &str, start: usize) -> Result<Vec<Argument>, Problem> {
        let mut arguments = Vec::new();
        for (offset, word) in self.words(rest, start) {
            let (name, default) = match word.text.split_once('=') {
                Some((name, value)) => {
                    (name.to_owned(), Some(self.word(offset + name.len() + 1, value)))
                }
                None => (word.text, None),
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.is_empty() || !name.bytes().all(plain) {
                return problem(offset, "ARG takes name or name=default");
            }
            arguments.push(Argument { name: self.word(offset, &name), default });
        }
        Ok(arguments)
    }
}

/// The value of a flag that may stand alone.
fn boolean(offset: usize, name: &str, value: Option<&Word>) -> Result<bool, Problem> {
    match value.map(|value| value.text.to_ascii_lowercase()).as_deref() {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(_) => problem(offset + name.len() + 3, format!("--{name} must be true or false")),
    }
}

/// A JSON list of texts; anything else is a shell form, as with Docker.
fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn unknown(keyword: &str) -> String {
    let near = KNOWN.iter().min_by_key(|known| distance(known, keyword));
    match near.filter(|known| distance(known, keyword) <= 2) {
        Some(near) => format!("unknown instruction {keyword:?}; did you mean {near}?"),
        None => format!("unknown instruction {:?}", crate::digest::clip(keyword)),
    }
}

/// Levenshtein's distance, of words of one line.
fn distance(a: &str, b: &str) -> usize {
    if b.len() > 40 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let cell = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            if let Some(slot) = row.get_mut(j) {
                *slot = left;
            }
            left = cell;
        }
        if let Some(slot) = row.last_mut() {
            *slot = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
