//! DNS messages, as far as a resolver's queries need them (RFC 1035 section 4).

use std::net::IpAddr;

const HEADER: usize = 12;
/// RFC 1035 section 2.3.4, in wire format.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// What a client takes by UDP that does not say more.
const MIN_UDP: usize = 512;
/// What this server says that it takes itself, and more than it ever sends by UDP.
const MAX_UDP: usize = 1232;
/// The answer's name is the question's, which begins after the header.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];

const IS_ANSWER: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const RCODE: u8 = 0x0f;

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const MX: u16 = 15;
pub(super) const AAAA: u16 = 28;
const OPT: u16 = 41;
pub(super) const ANY: u16 = 255;
const IN: u16 = 1;

/// Containers come and go, so clients are not to remember for long.
const TTL: u32 = 10;

/// What an answer says of itself (RFC 1035 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    Malformed = 1,
    ServerFailure = 2,
    NotImplemented = 4,
    Refused = 5,
}

/// A question, with what its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// The first two bytes.
    pub(super) id: [u8; 2],
    flags: u8,
    /// As it stands in the message: name, type and class.
    question: Vec<u8>,
    /// In lower case, parts joined by dots, without the last one; `None` if a part has
    /// bytes that no name of a container has.
    pub(super) name: Option<String>,
    pub(super) kind: u16,
    is_internet: bool,
    /// The most bytes of an answer by UDP.
    pub(super) udp_size: usize,
    has_opt: bool,
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    /// A name, of parts that fit.
    Pointer(String),
}

/// Cuts `length` bytes off.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).and_then(|bytes| bytes.first_chunk()).map(|bytes| u16::from_be_bytes(*bytes))
}

/// A name without compression, which questions have no use for.
fn name(rest: &mut &[u8]) -> Option<Option<String>> {
    let (mut text, mut length) = (Some(String::new()), 0);
    loop {
        let size = usize::from(*take(rest, 1)?.first()?);
        length += size + 1;
        if size > MAX_LABEL || length > MAX_NAME {
            return None;
        }
        if size == 0 {
            return Some(text);
        }
        let label = take(rest, size)?;
        let is_plain = label.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
        text = text.filter(|_| is_plain).map(|mut text| {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
            text
        });
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// The answer to what is none, or nothing where it would not be understood either: a
    /// message that is an answer itself, or that has no header.
    pub(super) fn read(message: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(None)?;
        if header[2] & IS_ANSWER != 0 {
            return Err(None);
        }
        let refuse = |code: Code| {
            let flags = IS_ANSWER | header[2] & (OPCODE | RECURSION_DESIRED);
            Some(vec![header[0], header[1], flags, code as u8, 0, 0, 0, 0, 0, 0, 0, 0])
        };
        if header[2] & OPCODE != 0 {
            return Err(refuse(Code::NotImplemented));
        }
        // One question, no answers and no authorities.
        if header[4..10] != [0, 1, 0, 0, 0, 0] {
            return Err(refuse(Code::Malformed));
        }
        Self::read_question(header, &message[HEADER..]).ok_or_else(|| refuse(Code::Malformed))
    }

    fn read_question(header: &[u8; HEADER], body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let name = name(&mut rest)?;
        let (kind, class) = (number(&mut rest)?, number(&mut rest)?);
        let question = body[..body.len() - rest.len()].to_vec();
        let opt = (header[10..] != [0, 0]).then(|| udp_size(rest)).flatten();
        Some(Self {
            id: [header[0], header[1]],
            flags: header[2] & RECURSION_DESIRED,
            question,
            name,
            kind,
            is_internet: class == IN,
            udp_size: opt.map_or(MIN_UDP, |size| size.clamp(MIN_UDP, MAX_UDP)),
            has_opt: opt.is_some(),
        })
    }

    /// Whether it asks for the internet's names at all.
    pub(super) fn is_internet(&self) -> bool {
        self.is_internet
    }

    /// An answer of at most `size` bytes: what does not fit is left out, and said.
    pub(super) fn answer(&self, code: Code, records: &[Record], size: usize) -> Vec<u8> {
        let mut answer = Vec::with_capacity(MIN_UDP);
        answer.extend_from_slice(&self.id);
        answer.extend_from_slice(&[IS_ANSWER | self.flags, RECURSION_AVAILABLE | code as u8]);
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(self.has_opt)]);
        answer.extend_from_slice(&self.question);
        // Root, type, size, code and version, no options.
        let opt = [0, 0, OPT as u8, (MAX_UDP >> 8) as u8, MAX_UDP as u8, 0, 0, 0, 0, 0, 0];
        let room = size.saturating_sub(if self.has_opt { opt.len() } else { 0 });
        let mut count: u16 = 0;
        for record in records {
            let Some(bytes) = record.bytes() else { continue };
            if answer.len() + bytes.len() > room || count == u16::MAX {
                answer[2] |= TRUNCATED;
                break;
            }
            answer.extend_from_slice(&bytes);
            count += 1;
        }
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        if self.has_opt {
            answer.extend_from_slice(&opt);
        }
        answer
    }

    /// Whether a message answers this question under an id, which a stranger would have to
    /// guess. Case counts: some servers answer in the case that they were asked in.
    pub(super) fn is_answered_by(&self, message: &[u8], id: [u8; 2]) -> bool {
        let end = HEADER + self.question.len();
        let question = message.get(HEADER..end).unwrap_or_default();
        message.first_chunk() == Some(&id)
            && message.get(2).is_some_and(|flags| flags & IS_ANSWER != 0)
            && question.eq_ignore_ascii_case(&self.question)
    }

    /// Cuts a forwarded answer down to what the client takes.
    pub(super) fn fit(&self, mut message: Vec<u8>, size: usize) -> Vec<u8> {
        if message.len() > size && message.len() >= HEADER {
            message.truncate(HEADER + self.question.len());
            message[2] |= TRUNCATED;
            message[6..HEADER].fill(0);
        }
        message
    }
}

/// The size in the OPT record of a query, if that is what follows.
fn udp_size(mut rest: &[u8]) -> Option<usize> {
    let root = take(&mut rest, 1)?;
    let kind = number(&mut rest)?;
    let size = number(&mut rest)?;
    (root == [0] && kind == OPT).then_some(usize::from(size))
}

/// Whether another server should be asked after this answer.
pub(super) fn is_failure(message: &[u8]) -> bool {
    let code = message.get(3).map_or(Code::ServerFailure as u8, |flags| flags & RCODE);
    [Code::ServerFailure as u8, Code::Refused as u8].contains(&code)
}

impl Record {
    fn bytes(&self) -> Option<Vec<u8>> {
        let (kind, data) = match self {
            Self::Address(IpAddr::V4(v4)) => (A, v4.octets().to_vec()),
            Self::Address(IpAddr::V6(v6)) => (AAAA, v6.octets().to_vec()),
            Self::Pointer(name) => (PTR, wire_name(name)?),
        };
        let mut bytes = POINTER_TO_QUESTION.to_vec();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&IN.to_be_bytes());
        bytes.extend_from_slice(&TTL.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(&data);
        Some(bytes)
    }
}

fn wire_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..=MAX_LABEL).contains(&label.len()) {
            return None;
        }
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= MAX_NAME).then_some(bytes)
}

/// A query, as a resolver would send it; for tests.
#[cfg(test)]
pub(super) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(wire_name(name).unwrap());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_answers() {
        let query = Query::read(&query(7, "Web.App", A)).unwrap();
        assert_eq!(query.name.as_deref(), Some("web.app"));
        assert_eq!((query.kind, query.udp_size), (A, 512));
        let address = Record::Address("10.9.0.2".parse().unwrap());
        let answer = query.answer(Code::NoError, std::slice::from_ref(&address), 512);
        let expected = b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03Web\x03App\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x0a\x00\x04\x0a\x09\x00\x02";
        assert_eq!(answer, expected);
        assert!(query.is_answered_by(&answer, [0, 7]));
        assert!(!query.is_answered_by(&answer, [0, 8]));
        // Forty addresses do not fit.
        let many = query.answer(Code::NoError, &vec![address; 40], 512);
        assert!(many.len() <= 512 && many[2] & TRUNCATED != 0);
        let pointer = query.answer(Code::NoError, &[Record::Pointer("web.app".to_owned())], 512);
        assert!(pointer.ends_with(b"\x03web\x03app\x00"));
    }

    #[test]
    fn larger_answers_are_asked_for() {
        let mut message = query(7, "web", AAAA);
        message[11] = 1;
        message.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let query = Query::read(&message).unwrap();
        assert_eq!(query.udp_size, MAX_UDP);
        let answer = query.answer(Code::NoError, &[], 512);
        assert_eq!(answer[11], 1);
        assert!(answer.ends_with(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]));
        let fitted = query.fit(vec![0xff; 2000], 512);
        assert_eq!((fitted.len(), fitted[6]), (12 + 9, 0));
    }

    #[test]
    fn refuses_what_is_no_query() {
        assert_eq!(Query::read(b"short"), Err(None));
        let mut answer = query(7, "web", A);
        answer[2] |= IS_ANSWER;
        assert_eq!(Query::read(&answer), Err(None));
        let mut update = query(7, "web", A);
        update[2] = 5 << 3;
        let refused = Query::read(&update).unwrap_err().unwrap();
        assert_eq!(refused[3], Code::NotImplemented as u8);
        let mut two = query(7, "web", A);
        two[5] = 2;
        assert_eq!(Query::read(&two).unwrap_err().unwrap()[3], Code::Malformed as u8);
        // A name that points at itself.
        let mut pointer = query(7, "web", A);
        pointer.splice(12..17, [0xc0, 12]);
        assert_eq!(Query::read(&pointer).unwrap_err().unwrap()[3], Code::Malformed as u8);
        let odd = Query::read(&query(7, "a\u{1}b", A)).unwrap();
        assert_eq!(odd.name, None);
    }

    /// Every prefix and every changed byte of a query, and noise.
    #[test]
    fn damage_never_panics() {
        let mut whole = query(7, "web.app", A);
        whole[11] = 1;
        whole.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let address = Record::Address("10.9.0.2".parse().unwrap());
        let check = |message: &[u8]| {
            if let Ok(query) = Query::read(message) {
                let answer = query.answer(Code::NoError, std::slice::from_ref(&address), 512);
                assert!(answer.len() <= 512 && query.is_answered_by(&answer, query.id));
                let _ = query.fit(message.to_vec(), 20);
            }
        };
        for end in 0..=whole.len() {
            check(&whole[..end]);
        }
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = value;
                check(&changed);
            }
        }
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for length in 0..4000 {
            let noise: Vec<u8> = (0..length % 700)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            check(&noise);
        }
    }
}
