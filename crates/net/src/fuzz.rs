//! What must hold of any bytes that a netlink socket gives: the fuzz target (fuzz/), and its
//! bounded form as a test.

use crate::links::link;
use crate::links::netlink::{attribute, attributes, messages, refusal, string};
use crate::ports::conntrack::Tuple;

/// Whether the bytes have a message. Every reader of an answer is given each body.
#[must_use]
pub fn netlink(bytes: &[u8]) -> bool {
    let mut any = false;
    let mut total = 0;
    for message in messages(bytes) {
        any = true;
        total += message.body.len();
        if let Err(refusal) = refusal(&message) {
            assert!(!refusal.to_string().is_empty());
        }
        let found = link::read(message.body);
        assert!(found.is_none_or(|link| link.name.len() <= 3 * message.body.len()));
        for start in [0, 4, 8, 12, 16] {
            let rest = message.body.get(start..).unwrap_or_default();
            for (kind, value) in attributes(rest) {
                assert!(value.len() + 4 <= rest.len());
                assert!(attribute(rest, kind).is_some() && string(value).len() <= 3 * value.len());
            }
            for (which, ipv6) in [(1, false), (1, true), (2, false), (2, true)] {
                let _ = Tuple::read(rest, which, ipv6);
            }
        }
    }
    assert!(total <= bytes.len(), "more than was received");
    any
}
