//! Golden bytes, and bytes that lie.

use super::*;

/// A message as a server sends it.
pub(in crate::systemd) fn message(
    kind: u8,
    reply_to: u32,
    names: (&str, &str),
    signature: &str,
    body: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    message_from("", kind, reply_to, names, signature, body)
}

/// As it comes over a bus, which adds the sender's name.
pub(in crate::systemd) fn message_from(
    sender: &str,
    kind: u8,
    reply_to: u32,
    names: (&str, &str),
    signature: &str,
    body: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut content = Writer::default();
    body(&mut content);
    let mut message = Writer::default();
    [ENDIAN, kind, 1, 1].into_iter().for_each(|byte| message.byte(byte));
    message.number(content.0.len() as u32);
    message.number(77);
    message.array(8, |writer| {
        let (interface, member) = names;
        let member_code = if kind == ERROR { 4 } else { 3 };
        for (code, text) in [(2, interface), (member_code, member), (7, sender)] {
            if !text.is_empty() {
                writer.align(8);
                writer.byte(code);
                writer.signature("s");
                writer.text(text);
            }
        }
        if reply_to != 0 {
            writer.align(8);
            writer.byte(5);
            writer.signature("u");
            writer.number(reply_to);
        }
        writer.align(8);
        writer.byte(8);
        writer.signature("g");
        writer.signature(signature);
    });
    message.align(8);
    message.0.extend(content.0);
    message.0
}

#[test]
#[cfg(target_endian = "little")]
fn a_call_is_these_bytes() {
    let mut body = Writer::default();
    body.text("a");
    body.properties(&[
        Property::new("P", Value::Bool(true)),
        Property::new("Q", Value::U64(5)),
        Property::new("R", Value::Numbers(vec![7])),
    ]);
    let target = Target { destination: "d.d", path: "/p", interface: "i.i", member: "M" };
    let bytes = call(3, target, "sa(sv)", body);
    let expected: &[&[u8]] = &[
        b"l\x01\x00\x01",
        b"\x4c\x00\x00\x00",
        b"\x03\x00\x00\x00",
        b"\x4c\x00\x00\x00",
        b"\x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00",
        b"\x02\x01s\x00\x03\x00\x00\x00i.i\x00\x00\x00\x00\x00",
        b"\x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00",
        b"\x06\x01s\x00\x03\x00\x00\x00d.d\x00\x00\x00\x00\x00",
        b"\x08\x01g\x00\x06sa(sv)\x00\x00\x00\x00\x00",
        // Body: "a", then the array of properties.
        b"\x01\x00\x00\x00a\x00\x00\x00",
        b"\x3c\x00\x00\x00\x00\x00\x00\x00",
    ];
    let expected = expected.concat();
    assert_eq!(bytes[..expected.len()], expected, "{:02x?}", &bytes[..expected.len()]);
    let properties: &[&[u8]] = &[
        b"\x01\x00\x00\x00P\x00\x01b\x00\x00\x00\x00\x01\x00\x00\x00",
        b"\x01\x00\x00\x00Q\x00\x01t\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x05\x00\x00\x00\x00\x00\x00\x00",
    ];
    let properties = properties.concat();
    let from = expected.len();
    assert_eq!(bytes[from..from + properties.len()], properties);
    assert_eq!(length(&bytes).unwrap(), bytes.len());
}

#[test]
fn what_a_server_sends_is_read() {
    let bytes = message(SIGNAL, 0, ("i.Manager", "JobRemoved"), "uoss", |body| {
        body.number(9);
        body.text("/job/9");
        body.text("x.scope");
        body.text("done");
    });
    assert_eq!(length(&bytes[..PREFIX]).unwrap(), bytes.len());
    let message = parse(&bytes).unwrap();
    assert_eq!((message.kind, message.member.as_str()), (SIGNAL, "JobRemoved"));
    assert_eq!(message.arguments().unwrap(), ["9", "/job/9", "x.scope", "done"]);
}

#[test]
fn no_bytes_make_it_read_beyond_its_bounds() {
    let good = message(RETURN, 4, ("", ""), "ov", |body| {
        body.text("/job/9");
        body.variant(&Value::Text("text".into()));
    });
    assert_eq!(parse(&good).unwrap().arguments().unwrap(), ["/job/9", "text"]);
    // Cut anywhere, and with any byte turned: an error or another message, no panic.
    for at in 0..good.len() {
        let _ = length(&good[..at]);
        if let Ok(message) = parse(&good[..at]) {
            let _ = message.arguments();
        }
        for value in [0, 1, 0x7f, 0xff, good[at] ^ 1] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = length(&bad);
            if let Ok(message) = parse(&bad) {
                let _ = message.arguments();
            }
        }
    }
    let mut large = good.clone();
    large[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(length(&large), Err("longer than any answer is"));
    let mut other = good;
    other[0] = if ENDIAN == b'l' { b'B' } else { b'l' };
    assert!(length(&other).is_err());
}
