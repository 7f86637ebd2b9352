//! Reading a template: text and actions, then the words of each action.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::functions;

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
    Break,
    Continue,
    /// `template`: the name of a definition, and its dot.
    Call(String, Option<Pipe>),
}

/// What `define` and `block` have named.
pub(super) type Definitions = HashMap<String, Vec<Node>>;

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

/// The template's nodes, and what it defines.
pub(super) fn parse(text: &str) -> Result<(Vec<Node>, Definitions), String> {
    let pieces = split(text)?;
    let mut parser = Parser { pieces, at: 0, definitions: HashMap::new(), ranges: 0 };
    let (nodes, end) = parser.body(0)?;
    let defined = parser.definitions.values().chain([&nodes]);
    let (mut set, mut used) = (HashSet::from([""]), HashSet::new());
    defined.for_each(|nodes| variables(nodes, &mut set, &mut used));
    if let Some(unknown) = used.difference(&set).next() {
        return Err(format!("undefined variable ${unknown}"));
    }
    match end {
        None => Ok((nodes, parser.definitions)),
        Some(word) => Err(format!("unexpected {{{{{word}}}}}")),
    }
}

/// The variables that are set and used somewhere.
fn variables<'a>(nodes: &'a [Node], set: &mut HashSet<&'a str>, used: &mut HashSet<&'a str>) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue | Node::Call(_, None) => {}
            Node::Output(pipe) | Node::Call(_, Some(pipe)) => used_in(pipe, used),
            Node::Set(name, pipe) => {
                set.insert(name);
                used_in(pipe, used);
            }
            Node::If(branches, otherwise) => {
                for (pipe, body) in branches {
                    used_in(pipe, used);
                    variables(body, set, used);
                }
                variables(otherwise, set, used);
            }
            Node::With(pipe, body, otherwise) => {
                used_in(pipe, used);
                variables(body, set, used);
                variables(otherwise, set, used);
            }
            Node::Range { names, pipe, body, otherwise } => {
                set.extend(names.iter().map(String::as_str));
                used_in(pipe, used);
                variables(body, set, used);
                variables(otherwise, set, used);
            }
        }
    }
}

fn used_in<'a>(pipe: &'a Pipe, used: &mut HashSet<&'a str>) {
    for operand in pipe.iter().flatten() {
        match operand {
            Operand::Variable(name, _) => drop(used.insert(name)),
            Operand::Group(pipe, _) => used_in(pipe, used),
            Operand::Constant(_) | Operand::Function(_) | Operand::Field(_) => {}
        }
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
        let end = end_of_action(after).ok_or("unclosed \"{{\"")?;
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
            (Some('"' | '\''), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if character == open && !escaped => quote = None,
            (None, '"' | '`' | '\'') => quote = Some(character),
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

struct Parser<'a> {
    pieces: Vec<Piece<'a>>,
    at: usize,
    definitions: Definitions,
    /// How many `range` there are around.
    ranges: usize,
}

impl<'a> Parser<'a> {
    /// Up to the `end` or `else` that belongs to what is around it, which is given.
    fn body(&mut self, depth: usize) -> Result<(Vec<Node>, Option<&'a str>), String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} nested actions"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
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
                "if" => self.conditional(rest, depth)?,
                "with" => self.with(rest, depth)?,
                "range" => {
                    let (names, pipe) = names(rest)?;
                    let pipe = condition("range", pipe)?;
                    self.ranges += 1;
                    let (body, otherwise) = self.block("range", depth)?;
                    self.ranges -= 1;
                    Node::Range { names, pipe, body, otherwise }
                }
                "break" | "continue" if self.ranges == 0 => {
                    return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                "break" if rest.is_empty() => Node::Break,
                "continue" if rest.is_empty() => Node::Continue,
                "define" => {
                    let (name, rest) = quoted_name("define", rest)?;
                    if !rest.is_empty() {
                        return Err(format!("unexpected {rest:?} in {{{{define}}}}"));
                    }
                    self.define(name, depth)?;
                    continue;
                }
                "block" => {
                    let (name, rest) = quoted_name("block", rest)?;
                    let dot = condition("block", rest)?;
                    self.define(name.clone(), depth)?;
                    Node::Call(name, Some(dot))
                }
                "template" => {
                    let (name, rest) = quoted_name("template", rest)?;
                    let dot = (!rest.is_empty()).then(|| pipe_of(rest)).transpose()?;
                    Node::Call(name, dot)
                }
                _ => match names(action)? {
                    (names, rest) if names.len() == 1 => Node::Set(names.concat(), pipe_of(rest)?),
                    _ => Node::Output(pipe_of(action)?),
                },
            });
        }
        Ok((nodes, None))
    }

    fn define(&mut self, name: String, depth: usize) -> Result<(), String> {
        // A definition stands outside of the ranges around it.
        let ranges = std::mem::replace(&mut self.ranges, 0);
        let (body, end) = self.body(depth + 1)?;
        self.ranges = ranges;
        match end {
            Some("end") => drop(self.definitions.insert(name, body)),
            _ => return Err(missing_end("define")),
        }
        Ok(())
    }

    fn conditional(&mut self, first: &str, depth: usize) -> Result<Node, String> {
        let mut branches = Vec::new();
        let mut pipe = first.to_owned();
        loop {
            let parsed = condition("if", &pipe)?;
            let (nodes, end) = self.body(depth + 1)?;
            branches.push((parsed, nodes));
            match end.map(|end| end.strip_prefix("else").map(str::trim)) {
                None => return Err(missing_end("if")),
                Some(None) => return Ok(Node::If(branches, Vec::new())),
                Some(Some("")) => {
                    let (otherwise, end) = self.body(depth + 1)?;
                    return match end {
                        Some("end") => Ok(Node::If(branches, otherwise)),
                        _ => Err(missing_end("if")),
                    };
                }
                Some(Some(more)) => {
                    let again = more.strip_prefix("if ");
                    let unexpected = || format!("unexpected {{{{else {more}}}}} in {{{{if}}}}");
                    again.ok_or_else(unexpected)?.clone_into(&mut pipe);
                }
            }
        }
    }

    /// `with`, and each `else with`, which stands inside of the `else`.
    fn with(&mut self, pipe: &str, depth: usize) -> Result<Node, String> {
        let (names, pipe) = names(pipe)?;
        let pipe = condition("with", pipe)?;
        let (mut body, end) = self.body(depth + 1)?;
        if let [name] = names.as_slice() {
            let dot = vec![vec![Operand::Field(Vec::new())]];
            body.insert(0, Node::Set(name.clone(), dot));
        }
        match end {
            Some("end") => Ok(Node::With(pipe, body, Vec::new())),
            Some("else") => match self.body(depth + 1)? {
                (otherwise, Some("end")) => Ok(Node::With(pipe, body, otherwise)),
                _ => Err(missing_end("with")),
            },
            Some(more) => match more.strip_prefix("else with ") {
                Some(next) => Ok(Node::With(pipe, body, vec![self.with(next, depth + 1)?])),
                None => Err(format!("unexpected {{{{{more}}}}} in {{{{with}}}}")),
            },
            None => Err(missing_end("with")),
        }
    }

    /// A body, and what stands after its `else`.
    fn block(&mut self, word: &str, depth: usize) -> Result<(Vec<Node>, Vec<Node>), String> {
        let (nodes, end) = self.body(depth + 1)?;
        match end {
            Some("end") => Ok((nodes, Vec::new())),
            Some("else") => match self.body(depth + 1)? {
                (otherwise, Some("end")) => Ok((nodes, otherwise)),
                _ => Err(missing_end(word)),
            },
            _ => Err(missing_end(word)),
        }
    }
}

fn missing_end(word: &str) -> String {
    format!("{{{{{word}}}}} without {{{{end}}}}")
}

/// The pipe of an action that needs one.
fn condition(word: &str, text: &str) -> Result<Pipe, String> {
    match text.trim() {
        "" => Err(format!("missing value for {{{{{word}}}}}")),
        text => pipe_of(text),
    }
}

/// `"NAME"` and the rest.
fn quoted_name<'t>(word: &str, text: &'t str) -> Result<(String, &'t str), String> {
    let mut words = Words { rest: text.trim(), whole: text };
    match words.rest.chars().next() {
        Some(quote @ ('"' | '`')) => Ok((words.string(quote)?, words.rest.trim())),
        _ => Err(format!("{{{{{word}}}}} needs a name in quotes")),
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
        name.map(str::to_owned).ok_or_else(|| format!("{one:?} is not a variable"))
    };
    let names: Vec<String> = left.split(',').map(name).collect::<Result<_, _>>()?;
    match names.len() {
        1 | 2 => Ok((names, rest)),
        _ => Err(format!("{left:?}: too many variables")),
    }
}

fn pipe_of(text: &str) -> Result<Pipe, String> {
    let mut words = Words { rest: text.trim(), whole: text };
    let pipe = words.pipe(0)?;
    match words.rest {
        "" => Ok(pipe),
        rest => Err(format!("unexpected {rest:?} in {{{{{text}}}}}")),
    }
}

struct Words<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl Words<'_> {
    fn pipe(&mut self, depth: usize) -> Result<Pipe, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} nested parentheses"));
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
            true => Err(format!("missing value in {{{{{}}}}}", self.whole)),
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
                    after.ok_or_else(|| format!("unclosed \"(\" in {{{{{}}}}}", self.whole))?;
                Ok(Operand::Group(pipe, self.fields()?))
            }
            '"' | '`' => self.string(first).map(|text| Operand::Constant(Value::String(text))),
            '\'' => {
                let text = self.string(first)?;
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => Ok(Operand::Constant(u32::from(one).into())),
                    _ => Err(format!("'{text}' is not a character")),
                }
            }
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
                number_of(number)
                    .map(|number| Operand::Constant(Value::Number(number)))
                    .ok_or_else(|| format!("{number:?} is not a number"))
            }
            _ => match self.name() {
                "" => Err(format!("unexpected {:?} in {{{{{}}}}}", self.rest, self.whole)),
                "true" => Ok(Operand::Constant(Value::Bool(true))),
                "false" => Ok(Operand::Constant(Value::Bool(false))),
                "nil" => Ok(Operand::Constant(Value::Null)),
                name if functions::is_known(name) => Ok(Operand::Function(name.to_owned())),
                name => Err(functions::unknown(name)),
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
                    return Err(format!("missing field name in {{{{{}}}}}", self.whole));
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
                '\\' if quote != '`' => text.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, 'r')) => '\r',
                    Some((_, other @ ('"' | '\\' | '\''))) => other,
                    _ => return Err(format!("unknown escape in {{{{{}}}}}", self.whole)),
                }),
                other => text.push(other),
            }
        }
        Err(format!("unterminated string in {{{{{}}}}}", self.whole))
    }
}

/// Decimal, or with 0x, 0o, 0b; with `_` between digits.
fn number_of(text: &str) -> Option<serde_json::Number> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.as_str()),
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let number = i64::from_str_radix(digits, radix).ok()?;
            return number.checked_mul(sign).map(Into::into);
        }
    }
    serde_json::from_str(&plain).ok()
}
