//! D-Bus messages as bytes: the few types that systemd's manager is spoken to
//! in (D-Bus Specification, "Message Protocol").

/// Largest message taken; systemd's answers have some hundred bytes.
const LARGEST: usize = 1 << 20;
/// Length of the fixed part of a header, up to the length of its fields.
pub(crate) const PREFIX: usize = 16;

#[cfg(target_endian = "little")]
const ENDIAN: u8 = b'l';
#[cfg(target_endian = "big")]
const ENDIAN: u8 = b'B';

/// Types of messages.
pub(super) const CALL: u8 = 1;
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// A value of a property, in a variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
    Pairs(Vec<(String, String)>),
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl Property {
    pub(crate) fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

/// The body of a message under construction.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    fn long(&mut self, value: [u8; 8]) {
        self.align(8);
        self.0.extend(value);
    }

    pub(super) fn truth(&mut self, value: bool) {
        self.number(value.into());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, signature: &str) {
        self.byte(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.byte(0);
    }

    /// An array whose length does not count the padding before its first element.
    fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |writer| {
            for property in properties {
                writer.align(8);
                writer.text(&property.name);
                writer.variant(&property.value);
            }
        });
    }

    /// An array of structures with nothing in it.
    pub(super) fn no_structures(&mut self) {
        self.array(8, |_| {});
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(match value {
            Value::Bool(_) => "b",
            Value::Byte(_) => "y",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Double(_) => "d",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
        });
        match value {
            Value::Bool(value) => self.truth(*value),
            Value::Byte(value) => self.byte(*value),
            Value::I16(value) => self.short(value.to_ne_bytes()),
            Value::U16(value) => self.short(value.to_ne_bytes()),
            Value::I32(value) => self.number(value.cast_unsigned()),
            Value::U32(value) => self.number(*value),
            Value::I64(value) => self.long(value.to_ne_bytes()),
            Value::U64(value) => self.long(value.to_ne_bytes()),
            Value::Double(value) => self.long(value.to_ne_bytes()),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => {
                self.array(4, |writer| texts.iter().for_each(|text| writer.text(text)));
            }
            Value::Numbers(numbers) => {
                self.array(4, |writer| numbers.iter().for_each(|value| writer.number(*value)));
            }
            Value::Bytes(bytes) => self.array(1, |writer| writer.0.extend(bytes)),
            Value::Pairs(pairs) => self.array(8, |writer| {
                for (first, second) in pairs {
                    writer.align(8);
                    writer.text(first);
                    writer.text(second);
                }
            }),
        }
    }

    fn short(&mut self, value: [u8; 2]) {
        self.align(2);
        self.0.extend(value);
    }
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A method call as bytes.
pub(super) fn call(serial: u32, target: Target, signature: &str, body: Writer) -> Vec<u8> {
    let mut message = Writer::default();
    for byte in [ENDIAN, CALL, 0, 1] {
        message.byte(byte);
    }
    message.number(body.0.len() as u32);
    message.number(serial);
    message.array(8, |writer| {
        let mut field = |code: u8, kind: &str, text: &str| {
            writer.align(8);
            writer.byte(code);
            writer.signature(kind);
            if kind == "g" { writer.signature(text) } else { writer.text(text) }
        };
        field(1, "o", target.path);
        field(2, "s", target.interface);
        field(3, "s", target.member);
        field(6, "s", target.destination);
        if !signature.is_empty() {
            field(8, "g", signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// A message that has come in, with what its readers here need.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(super) kind: u8,
    pub(super) reply_to: u32,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) error_name: String,
    /// Its unique name on the bus; a manager's own socket names none.
    pub(super) sender: String,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

/// The length of a message whose first [`PREFIX`] bytes are given.
pub(crate) fn length(prefix: &[u8]) -> Result<usize, &'static str> {
    let mut reader = Reader { bytes: prefix, at: 0 };
    if reader.byte()? != ENDIAN {
        return Err("not in this machine's byte order");
    }
    reader.at = 3;
    if reader.byte()? != 1 {
        return Err("not of protocol version 1");
    }
    let body = reader.number()? as usize;
    reader.number()?;
    let fields = reader.number()? as usize;
    if body > LARGEST || fields > LARGEST {
        return Err("longer than any answer is");
    }
    Ok((PREFIX + fields).next_multiple_of(8) + body)
}

/// Takes a whole message apart.
pub(crate) fn parse(bytes: &[u8]) -> Result<Message, &'static str> {
    let mut reader = Reader { bytes, at: 1 };
    let mut message = Message { kind: reader.byte()?, ..Message::default() };
    reader.at = 12;
    let fields = reader.number()? as usize;
    let end = PREFIX.checked_add(fields).filter(|end| *end <= bytes.len()).ok_or(SHORT)?;
    let mut header = Reader { bytes: &bytes[..end], at: PREFIX };
    while header.at < end {
        header.align(8)?;
        if header.at == end {
            break;
        }
        let code = header.byte()?;
        let kind = header.signature()?;
        match (code, kind.as_str()) {
            (2, "s") => message.interface = header.text()?,
            (3, "s") => message.member = header.text()?,
            (4, "s") => message.error_name = header.text()?,
            (7, "s") => message.sender = header.text()?,
            (5, "u") => message.reply_to = header.number()?,
            (8, "g") => message.signature = header.signature()?,
            (_, "s" | "o") => drop(header.text()?),
            (_, "u") => drop(header.number()?),
            (_, "g") => drop(header.signature()?),
            _ => return Err("a header field of an unknown type"),
        }
    }
    let start = end.next_multiple_of(8);
    message.body = bytes.get(start..).ok_or(SHORT)?.to_vec();
    Ok(message)
}

const SHORT: &str = "shorter than it says";

impl Message {
    /// The arguments as text, numbers written out; none but `s`, `o`, `u` and `v` of `s`.
    pub(crate) fn arguments(&self) -> Result<Vec<String>, &'static str> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut arguments = Vec::new();
        for kind in self.signature.chars() {
            arguments.push(match kind {
                's' | 'o' => reader.text()?,
                'u' => reader.number()?.to_string(),
                'v' => match reader.signature()?.as_str() {
                    "s" | "o" => reader.text()?,
                    "u" => reader.number()?.to_string(),
                    _ => return Err("a variant of another type than text"),
                },
                _ => return Err("arguments of another type than text"),
            });
        }
        Ok(arguments)
    }
}

/// Reads within bounds, whatever the bytes say.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Result<(), &'static str> {
        self.at = self.at.next_multiple_of(to);
        if self.at <= self.bytes.len() { Ok(()) } else { Err(SHORT) }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], &'static str> {
        let end = self.at.checked_add(length).ok_or(SHORT)?;
        let bytes = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| SHORT)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = self.number()? as usize;
        self.rest_of_text(length)
    }

    fn signature(&mut self) -> Result<String, &'static str> {
        let length = self.byte()?.into();
        self.rest_of_text(length)
    }

    fn rest_of_text(&mut self, length: usize) -> Result<String, &'static str> {
        let bytes = self.take(length)?.to_vec();
        if self.byte()? != 0 {
            return Err("text without its end");
        }
        String::from_utf8(bytes).map_err(|_| "text that is not UTF-8")
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
