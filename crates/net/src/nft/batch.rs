//! A batch: messages that the kernel applies all or none
//! (linux/netfilter/nfnetlink.h, nf_tables.h; numbers are big-endian).

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};

use crate::links::netlink::{Refusal, Socket, push_header};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NLA_F_NESTED: u16 = 0x8000;
/// `NFPROTO_INET`: both families in one table.
pub(crate) const INET: u8 = 1;

/// nf_tables' requests, as far as they are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    DeleteChain = 5,
    NewRule = 6,
    GetRule = 7,
    DeleteRule = 8,
    NewSet = 9,
    NewElements = 12,
    GetElements = 13,
    DeleteElements = 14,
}

impl Request {
    pub(crate) fn kind(self) -> u16 {
        NFNL_SUBSYS_NFTABLES << 8 | self as u16
    }
}

/// Attributes under construction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn nest(&mut self, kind: u16, build: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        build(&mut inner);
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    pub(crate) fn append(&mut self, other: &Self) -> &mut Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The body of a request: struct nfgenmsg, then attributes.
pub(crate) fn body(family: u8, attributes: &Attributes) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    body.extend_from_slice(attributes.as_bytes());
    body
}

/// Messages to be applied together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<(u16, u16, Vec<u8>)>,
}

impl Batch {
    pub(crate) fn push(
        &mut self,
        request: Request,
        flags: u16,
        family: u8,
        build: impl FnOnce(&mut Attributes),
    ) -> &mut Self {
        let mut attributes = Attributes::default();
        build(&mut attributes);
        self.messages.push((request.kind(), flags, body(family, &attributes)));
        self
    }

    /// Something that may be there already.
    pub(crate) fn create(
        &mut self,
        request: Request,
        build: impl FnOnce(&mut Attributes),
    ) -> &mut Self {
        self.push(request, NLM_F_CREATE, INET, build)
    }

    /// The batch as it goes over the wire, and the last message's number.
    pub(crate) fn encode(&self, first: u32) -> (Vec<u8>, u32) {
        // struct nfgenmsg of the frame: the subsystem stands where a resource id would.
        let frame = [0, 0, 0, NFNL_SUBSYS_NFTABLES as u8];
        let mut out = Vec::new();
        let mut sequence = first;
        let mut push = |kind, flags, body: &[u8]| {
            push_header(&mut out, 16 + body.len(), kind, flags | NLM_F_REQUEST, sequence);
            out.extend_from_slice(body);
            sequence += 1;
        };
        push(NFNL_MSG_BATCH_BEGIN, 0, &frame);
        for (i, (kind, flags, body)) in self.messages.iter().enumerate() {
            // Only the last is acknowledged: errors are reported for every message
            // anyway, and before Linux 6.10 the frame's end is never acknowledged.
            let ack = if i + 1 == self.messages.len() { NLM_F_ACK } else { 0 };
            push(*kind, flags | ack, body);
        }
        push(NFNL_MSG_BATCH_END, 0, &frame);
        (out, sequence - 2)
    }

    pub(crate) fn send(&self, socket: &mut Socket) -> Result<(), Refusal> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let first = socket.next_sequence();
        let (bytes, last) = self.encode(first);
        socket.send_batch(&bytes, first, last)
    }
}
