//! YAML 1.2 into nodes: anchors, merge keys, `!reset` and `!override`.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::node::{Map, Node, Tag, Value};
use crate::source::{Diagnostic, Place};

/// How deep values may be nested.
const DEPTH: usize = 100;
/// How many values a file may have after its aliases are resolved: a few lines of aliases
/// of aliases would otherwise fill the memory.
const NODES: usize = 200_000;

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    file: u32,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    mistakes: Vec<Diagnostic>,
}

/// Reads the documents of a file; most have one. An empty document is a null.
///
/// # Errors
/// Where the text is not YAML, or is too large.
pub(crate) fn parse(text: &str, file: u32) -> Result<Vec<Node>, Vec<Diagnostic>> {
    if let Some(found) = find_tab(text, file) {
        return Err(vec![found]);
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file,
        anchors: HashMap::new(),
        nodes: 0,
        mistakes: Vec::new(),
    };
    let documents = reader.documents().map_err(|one| vec![one])?;
    match reader.mistakes.is_empty() {
        true => Ok(documents),
        false => Err(reader.mistakes),
    }
}

/// A tab that indents a line: the most common mistake, and parsers say it badly.
fn find_tab(text: &str, file: u32) -> Option<Diagnostic> {
    let mut flow = 0_i64;
    let mut block: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let rest = line.trim();
        if let Some(outer) = block {
            if rest.is_empty() || indent > outer {
                continue;
            }
            block = None;
        }
        let tab = line[..indent].find('\t');
        if let Some(column) = tab
            && flow == 0
            && !rest.is_empty()
            && !rest.starts_with('#')
        {
            let place = Place {
                file,
                line: u32::try_from(index + 1).unwrap_or(u32::MAX),
                column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            };
            let message = "a tab indents this line: YAML allows only spaces there";
            return Some(Diagnostic::new(place, "", message));
        }
        let quoted = rest.contains(['"', '\'']);
        if quoted || rest.contains('#') {
            // Not worth reading quotes for: from here on the parser's own message has to do.
            if rest.matches('"').count() % 2 == 1 || rest.matches('\'').count() % 2 == 1 {
                return None;
            }
        } else {
            flow += i64::try_from(rest.matches(['[', '{']).count()).unwrap_or(0);
            flow -= i64::try_from(rest.matches([']', '}']).count()).unwrap_or(0);
        }
        let ends = rest.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
        if ends.ends_with(": |")
            || ends.ends_with(": >")
            || ends.ends_with("- |")
            || ends.ends_with("- >")
        {
            block = Some(indent);
        }
    }
    None
}

impl<'a> Reader<'a> {
    fn place(&self, span: Span) -> Place {
        Place {
            file: self.file,
            line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
            column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Place), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let place = self.place(span);
                Ok((event, place))
            }
            Some(Err(error)) => {
                let marker = error.marker();
                let place = self.place(Span::empty(*marker));
                let message = format!("not valid YAML: {}", error.info());
                Err(Diagnostic::new(place, "", message))
            }
            None => Ok((Event::StreamEnd, Place { file: self.file, ..Place::default() })),
        }
    }

    fn documents(&mut self) -> Result<Vec<Node>, Diagnostic> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(documents),
                (Event::DocumentStart(_), _) => {
                    self.anchors.clear();
                    let (event, place) = self.next()?;
                    documents.push(self.node(event, place, DEPTH)?);
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, place: Place, nodes: usize) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        match self.nodes > NODES {
            true => Err(Diagnostic::new(
                place,
                "",
                format_args!("the file has more than {NODES} values once its aliases are resolved"),
            )),
            false => Ok(()),
        }
    }

    fn keep(&mut self, anchor: usize, node: &Node, from: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - from + 1));
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Diagnostic> {
        let Some(depth) = depth.checked_sub(1) else {
            let message = format_args!("values are nested more than {DEPTH} deep");
            return Err(Diagnostic::new(place, "", message));
        };
        let from = self.nodes;
        self.count(place, 1)?;
        match event {
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Diagnostic::new(place, "", "an alias that contains itself"));
                };
                self.count(place, size)?;
                Ok(node)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let mut node = self.scalar(&text, plain, tag.as_deref(), place)?;
                node.tag = merge_tag(tag.as_deref());
                self.keep(anchor, &node, from);
                Ok(node)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, place) => list.push(self.node(event, place, depth)?),
                    }
                }
                let mut node = Node::list(list, place);
                node.tag = self.collection_tag(tag.as_deref(), place);
                self.keep(anchor, &node, from);
                Ok(node)
            }
            Event::MappingStart(anchor, tag) => {
                let map = self.mapping(depth)?;
                let mut node = Node::map(map, place);
                node.tag = self.collection_tag(tag.as_deref(), place);
                self.keep(anchor, &node, from);
                Ok(node)
            }
            _ => Ok(Node::new(Value::Null, place)),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Map, Diagnostic> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event, place, depth)?;
            let (event, value_place) = self.next()?;
            let mut value = self.node(event, value_place, depth)?;
            if merge {
                merged.push(value);
                continue;
            }
            let Value::Text(text) = key.value else {
                let hint =
                    key.scalar_text().map_or(String::new(), |text| format!(": write \"{text}\""));
                let message =
                    format!("a key must be a string, but this one is {}{hint}", key.describe());
                self.mistakes.push(Diagnostic::new(place, "", message));
                continue;
            };
            value.key = place;
            if let Some(first) = map.get(&text) {
                let line = first.key.line;
                let message =
                    format!("the key {text:?} is given twice: it stands in line {line} already");
                self.mistakes.push(Diagnostic::new(place, "", message));
            }
            map.insert(text, value);
        }
        for node in merged {
            self.merge_key(&mut map, node);
        }
        Ok(map)
    }

    /// `<<`: the keys of a mapping, or of several, that the mapping itself does not have.
    fn merge_key(&mut self, map: &mut Map, node: Node) {
        let place = node.place;
        match node.value {
            Value::Map(other) => {
                for (key, value) in other {
                    map.entry(key).or_insert(value);
                }
            }
            Value::List(list) if list.iter().all(|one| one.as_map().is_some()) => {
                for one in list {
                    self.merge_key(map, one);
                }
            }
            Value::Null => {}
            _ => self.mistakes.push(Diagnostic::new(
                place,
                "",
                "\"<<\" takes a mapping, or a list of mappings, as *ANCHOR",
            )),
        }
    }

    fn collection_tag(&mut self, tag: Option<&saphyr_parser::Tag>, place: Place) -> Tag {
        let merge = merge_tag(tag);
        if let Some(tag) = tag
            && merge == Tag::Merge
            && !tag.is_yaml_core_schema()
            && !tag.suffix.is_empty()
        {
            self.mistakes.push(unknown_tag(tag, place));
        }
        merge
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        tag: Option<&saphyr_parser::Tag>,
        place: Place,
    ) -> Result<Node, Diagnostic> {
        let value = match tag {
            Some(tag) if tag.is_yaml_core_schema() => match (tag.suffix.as_str(), resolve(text)) {
                ("str" | "binary", _) => Value::Text(text.to_owned()),
                ("null", _) => Value::Null,
                ("float", Value::Int(value)) => Value::Float(value as f64),
                ("int", value @ Value::Int(_))
                | ("bool", value @ Value::Bool(_))
                | ("float", value @ Value::Float(_)) => value,
                (suffix, _) => {
                    let message = format!("{text:?} is not a value of !!{suffix}");
                    self.mistakes.push(Diagnostic::new(place, "", message));
                    Value::Text(text.to_owned())
                }
            },
            Some(tag) if merge_tag(Some(tag)) == Tag::Merge && !tag.suffix.is_empty() => {
                self.mistakes.push(unknown_tag(tag, place));
                Value::Null
            }
            _ if plain => resolve(text),
            _ => Value::Text(text.to_owned()),
        };
        Ok(Node::new(value, place))
    }
}

fn unknown_tag(tag: &saphyr_parser::Tag, place: Place) -> Diagnostic {
    let message = format!("unknown tag {tag}: compose files have !reset and !override");
    Diagnostic::new(place, "", message)
}

fn merge_tag(tag: Option<&saphyr_parser::Tag>) -> Tag {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Tag::Reset,
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Tag::Override,
        _ => Tag::Merge,
    }
}

/// What a plain scalar is: the core schema of YAML 1.2, and 1.1's octal numbers, as docker
/// compose's reader has them.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !first.is_ascii_digit() && !matches!(first, b'+' | b'-' | b'.') {
        return Value::Text(text.to_owned());
    }
    integer(text).or_else(|| float(text)).unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let plain = digits.replace('_', "");
    let (digits, radix) = if let Some(rest) = plain.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = plain.strip_prefix("0o") {
        (rest, 8)
    } else if let Some(rest) = plain.strip_prefix("0b") {
        (rest, 2)
    } else if plain.len() > 1 && plain.starts_with('0') {
        (&plain[1..], 8)
    } else {
        (plain.as_str(), 10)
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(Value::Int(if negative { value.checked_neg()? } else { value }))
}

fn float(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let valid =
        plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let digits = plain.bytes().any(|b| b.is_ascii_digit());
    if !valid || !digits {
        return None;
    }
    plain.parse().ok().map(Value::Float)
}
