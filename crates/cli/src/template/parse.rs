//! Reading a template: text and actions, then the words of each action.

use serde_json::Value;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Output(Pipe),
    /// A variable's name without its `$`, and what it becomes.
    Set(String, Pipe),
    /// `if` and each `else if`, then `else`.
    If(Vec<(Pipe, Vec<Node>)>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range {
        /// Of the value, or of key and value.
        names: Vec<String>,
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, of which each gets what the one before it gave.
pub(super) type Pipe = Vec<Vec<Operand>>;

/// A part of a command; with the fields that follow it.
#[derive(Debug)]
pub(super) enum Operand {
    Constant(Value),
    Function(String),
    /// Of dot; dot itself where it is empty.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Group(Pipe, Vec<String>),
}

/// Actions and parentheses in each other; a person nests fewer.
const MAX_DEPTH: usize = 64;

enum Piece<'a> {
    Text(String),
    Action(&'a str),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let pieces = split(text)?;
    let mut at = 0;
    let (nodes, end) = body(&pieces, &mut at, 0)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(format!("{{{{{word}}}}} ends nothing")),
    }
}

/// Text and actions apart. A `-` inside the braces takes the blanks outside away.
fn split(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim) = (text, false);
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let before = if trim { before.trim_start() } else { before };
        let Some(after) = after else {
            pieces.push(Piece::Text(unescape(before)));
            return Ok(pieces);
        };
        let end = end_of_action(after).ok_or("{{ without }}")?;
        let (mut action, more) = (&after[..end], &after[end + 2..]);
        let opens = action.strip_prefix("- ").map(|shorter| action = shorter).is_some();
        pieces.push(Piece::Text(unescape(if opens { before.trim_end() } else { before })));
        trim = action.strip_suffix(" -").map(|shorter| action = shorter).is_some();
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action));
        }
        rest = more;
    }
}

/// Where the action's `}}` is, which may stand in a string, too.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if character == open && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

/// A shell's single quotes keep these from being what they stand for; Docker's listings help.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Up to the `end` or `else` that belongs to what is around it, which is given.
fn body<'a>(
    pieces: &[Piece<'a>],
    at: &mut usize,
    depth: usize,
) -> Result<(Vec<Node>, Option<&'a str>), String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} actions in each other"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.get(*at) {
        *at += 1;
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            Piece::Action(action) => *action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
        nodes.push(match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => conditional(rest, pieces, at, depth)?,
            "with" => {
                let (body, otherwise) = block(pieces, at, depth)?;
                Node::With(pipe_of(rest)?, body, otherwise)
            }
            "range" => {
                let (names, rest) = names(rest)?;
                let (body, otherwise) = block(pieces, at, depth)?;
                Node::Range { names, pipe: pipe_of(rest)?, body, otherwise }
            }
            "define" | "template" | "block" | "break" | "continue" => {
                return Err(format!("{{{{{word}}}}} is not built"));
            }
            _ => match names(action)? {
                (names, rest) if names.len() == 1 => Node::Set(names.concat(), pipe_of(rest)?),
                _ => Node::Output(pipe_of(action)?),
            },
        });
    }
    Ok((nodes, None))
}

fn conditional(
    condition: &str,
    pieces: &[Piece<'_>],
    at: &mut usize,
    depth: usize,
) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut condition = condition;
    loop {
        let (nodes, end) = body(pieces, at, depth + 1)?;
        branches.push((pipe_of(condition)?, nodes));
        match end.map(|end| end.strip_prefix("else").map(str::trim)) {
            None => return Err("{{if}} without {{end}}".to_owned()),
            Some(None) => return Ok(Node::If(branches, Vec::new())),
            Some(Some("")) => {
                let (otherwise, end) = body(pieces, at, depth + 1)?;
                return match end {
                    Some("end") => Ok(Node::If(branches, otherwise)),
                    _ => Err("{{else}} without {{end}}".to_owned()),
                };
            }
            Some(Some(more)) => {
                let again = more.strip_prefix("if ");
                condition = again.ok_or_else(|| format!("{{{{else {more}}}}} is not built"))?;
            }
        }
    }
}

/// A body, and what stands after its `else`.
fn block(
    pieces: &[Piece<'_>],
    at: &mut usize,
    depth: usize,
) -> Result<(Vec<Node>, Vec<Node>), String> {
    let (nodes, end) = body(pieces, at, depth + 1)?;
    match end {
        Some("end") => Ok((nodes, Vec::new())),
        Some("else") => match body(pieces, at, depth + 1)? {
            (otherwise, Some("end")) => Ok((nodes, otherwise)),
            _ => Err("{{else}} without {{end}}".to_owned()),
        },
        _ => Err("a block without {{end}}".to_owned()),
    }
}

/// `$a, $b :=` and the rest; no names where there is no such beginning.
fn names(text: &str) -> Result<(Vec<String>, &str), String> {
    let assigned = text.split_once(":=").or_else(|| text.split_once(" = "));
    let Some((left, rest)) = assigned.filter(|_| text.starts_with('$')) else {
        return Ok((Vec::new(), text));
    };
    let name = |one: &str| {
        let name = one.trim().strip_prefix('$').filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        name.map(str::to_owned).ok_or_else(|| format!("{one:?} is no variable"))
    };
    let names: Vec<String> = left.split(',').map(name).collect::<Result<_, _>>()?;
    match names.len() {
        1 | 2 => Ok((names, rest)),
        _ => Err(format!("{left:?}: a range has one or two variables")),
    }
}

fn pipe_of(text: &str) -> Result<Pipe, String> {
    let mut words = Words { rest: text.trim(), whole: text };
    let pipe = words.pipe(0)?;
    match words.rest {
        "" => Ok(pipe),
        rest => Err(format!("{rest:?} is too much in {{{{{text}}}}}")),
    }
}

struct Words<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl Words<'_> {
    fn pipe(&mut self, depth: usize) -> Result<Pipe, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} parentheses in each other"));
        }
        let mut pipe = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            let Some(first) = self.rest.chars().next() else { break };
            match first {
                ')' => break,
                '|' => {
                    self.rest = &self.rest[1..];
                    pipe.push(Vec::new());
                }
                _ => {
                    let operand = self.operand(first, depth)?;
                    if let Some(command) = pipe.last_mut() {
                        command.push(operand);
                    }
                }
            }
        }
        match pipe.iter().any(Vec::is_empty) {
            true => Err(format!("a command is missing in {{{{{}}}}}", self.whole)),
            false => Ok(pipe),
        }
    }

    fn operand(&mut self, first: char, depth: usize) -> Result<Operand, String> {
        match first {
            '(' => {
                self.rest = &self.rest[1..];
                let pipe = self.pipe(depth + 1)?;
                let after = self.rest.strip_prefix(')');
                self.rest =
                    after.ok_or_else(|| format!("( without ) in {{{{{}}}}}", self.whole))?;
                Ok(Operand::Group(pipe, self.fields()?))
            }
            '"' | '`' => self.string(first).map(|text| Operand::Constant(Value::String(text))),
            '.' => self.fields().map(Operand::Field),
            '$' => {
                self.rest = &self.rest[1..];
                let name = self.name().to_owned();
                Ok(Operand::Variable(name, self.fields()?))
            }
            '-' | '0'..='9' => {
                let end = self.rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
                let (number, rest) = self.rest.split_at(end.map_or(self.rest.len(), |end| end + 1));
                self.rest = rest;
                let parsed: Option<serde_json::Number> = serde_json::from_str(number).ok();
                let parsed = parsed.ok_or_else(|| format!("{number:?} is no number"))?;
                Ok(Operand::Constant(Value::Number(parsed)))
            }
            _ => match self.name() {
                "" => Err(format!("{:?} is not understood in {{{{{}}}}}", self.rest, self.whole)),
                "true" => Ok(Operand::Constant(Value::Bool(true))),
                "false" => Ok(Operand::Constant(Value::Bool(false))),
                "nil" => Ok(Operand::Constant(Value::Null)),
                name => Ok(Operand::Function(name.to_owned())),
            },
        }
    }

    fn name(&mut self) -> &str {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    /// `.A.B`, or a dot alone.
    fn fields(&mut self) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        while let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            let name = self.name().to_owned();
            match (name.is_empty(), path.is_empty()) {
                (false, _) => path.push(name),
                (true, true) => break,
                (true, false) => {
                    return Err(format!("a field is missing in {{{{{}}}}}", self.whole));
                }
            }
        }
        Ok(path)
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' if quote == '"' => text.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, other @ ('"' | '\\' | '\''))) => other,
                    _ => {
                        return Err(format!(
                            "{}: only \\n, \\t, \\\" and \\\\ are built",
                            self.whole
                        ));
                    }
                }),
                other => text.push(other),
            }
        }
        Err(format!("a string does not end in {{{{{}}}}}", self.whole))
    }
}
