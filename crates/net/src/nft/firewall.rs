//! Other firewalls on the host that would drop what containers send and get.
//!
//! Every base chain of a hook is asked, and one that drops is enough: accepting
//! a packet in `inet husk` does not help against a FORWARD chain whose policy is
//! drop, which is what Docker sets, and many a person. Where that chain is of the
//! tables that iptables-nft keeps, two rules let the bridge pass:
//!
//! ```text
//! -A FORWARD -i husk0 -j ACCEPT
//! -A FORWARD -o husk0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
//! ```
//!
//! They are the last of the chain, so that they replace its policy and nothing else:
//! whatever a rule of an administrator drops or rejects stays dropped, in FORWARD as in
//! DOCKER-USER or ufw's chains. A rule that is appended later comes before them once
//! [`crate::nft::watch`] has been told of it. Elsewhere it is only said what to do.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use crate::error::{Error, Result};
use crate::links::netlink::{Refusal, Socket, attribute, attributes, string};
use crate::networks::installation::DEFAULT_TABLE;
use crate::networks::network::Network;
use crate::nft::batch::{Attributes, Batch, Request, body};
use crate::nft::rule::{Rule, Verdict, link_name};

const HOOK_FORWARD: u32 = 2;
const POLICY_DROP: u32 = 0;
const NF_DROP: u32 = 0;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    /// Whether what the host forwards passes it.
    forwards: bool,
    /// Whether it drops what none of its rules decides.
    drops: bool,
}

fn failed(refusal: Refusal) -> Error {
    refusal.into_error("read or change", "the host's other packet filter rules (nf_tables)")
}

fn number(value: Option<&[u8]>) -> Option<u32> {
    value.and_then(|b| b.first_chunk().copied()).map(u32::from_be_bytes)
}

fn chains(socket: &mut Socket) -> Result<Vec<Chain>> {
    let request = body(0, &Attributes::default());
    let messages = socket.dump(Request::GetChain.kind(), &request).map_err(failed)?;
    let read = |message: &[u8]| {
        let attributes = message.get(4..)?;
        let hook = attribute(attributes, 4).and_then(|hook| number(attribute(hook, 1)));
        Some(Chain {
            family: *message.first()?,
            table: string(attribute(attributes, 1)?),
            name: string(attribute(attributes, 3)?),
            forwards: hook == Some(HOOK_FORWARD),
            drops: number(attribute(attributes, 5)) == Some(POLICY_DROP),
        })
    };
    Ok(messages.iter().filter_map(|(_, message)| read(message)).collect())
}

/// The rules of a chain, in order.
fn rules(socket: &mut Socket, chain: &Chain) -> Result<Vec<HostRule>> {
    let mut request = Attributes::default();
    request.text(1, &chain.table).text(2, &chain.name);
    let request = body(chain.family, &request);
    let mut rules = Vec::new();
    for (_, message) in socket.dump(Request::GetRule.kind(), &request).map_err(failed)? {
        let attributes = message.get(4..).unwrap_or_default();
        let here =
            |kind, name: &str| attribute(attributes, kind).map(string).as_deref() == Some(name);
        if message.first() != Some(&chain.family) || !here(1, &chain.table) || !here(2, &chain.name)
        {
            continue;
        }
        let value = |kind| attribute(attributes, kind).unwrap_or_default().to_vec();
        rules.push(HostRule { handle: value(3), expressions: value(4), userdata: value(7) });
    }
    Ok(rules)
}

fn is_iptables(chain: &Chain) -> bool {
    [NFPROTO_IPV4, NFPROTO_IPV6].contains(&chain.family)
        && chain.table == "filter"
        && chain.name == "FORWARD"
}

fn concerns(chain: &Chain, network: &Network) -> bool {
    match chain.family {
        NFPROTO_IPV4 => network.pool(false).is_some(),
        NFPROTO_IPV6 => network.pool(true).is_some(),
        family => family == NFPROTO_INET,
    }
}

/// Looks for chains that drop what is forwarded, and lets the bridges through
/// where that can be done; says what was done and what is left to do.
pub(crate) fn admit(
    socket: &mut Socket,
    networks: &[Network],
    notices: &mut Vec<String>,
) -> Result<()> {
    let chains = chains(socket)?;
    for network in networks.iter().filter(|network| !network.internal) {
        for chain in chains.iter().filter(|c| c.forwards && !is_husks(c) && concerns(c, network)) {
            admit_in(socket, chain, network, notices)?;
        }
        let bridge = &network.bridge;
        if let Some(chain) = chains.iter().find(|c| c.table == "firewalld")
            && !firewalld_knows(socket, chain, &chains, network)?
        {
            notices.push(format!(
                "firewalld may reject what containers on {bridge} send: firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            ));
        }
    }
    Ok(())
}

fn is_husks(chain: &Chain) -> bool {
    chain.table == DEFAULT_TABLE || chain.table.starts_with("husk-")
}

fn admit_in(
    socket: &mut Socket,
    chain: &Chain,
    network: &Network,
    notices: &mut Vec<String>,
) -> Result<()> {
    let (table, name, bridge) = (&chain.table, &chain.name, &network.bridge);
    let rules = rules(socket, chain)?;
    let others: Vec<&HostRule> = rules.iter().filter(|rule| !rule.is_husks()).collect();
    let own = |rule: &&HostRule| rule.is_about(bridge);
    let present: Vec<&HostRule> = rules.iter().filter(own).collect();
    let is_answered = others.iter().any(|rule| rule.may_accept(bridge));
    if let Some(verdict) = others.iter().find_map(|rule| rule.drops_everything()) {
        if !is_answered {
            notices.push(format!(
                "the host drops forwarded packets (rule \"{verdict}\" of nftables chain {table} {name}): containers on {bridge} reach nothing until a rule before it accepts that link"
            ));
        }
        // Appended since: at the end of the chain ours would be of no use any more.
        let mut batch = Batch::default();
        push_removal(&mut batch, chain, &present);
        return batch.send(socket).map_err(failed);
    }
    if !chain.drops {
        return Ok(());
    }
    if !is_iptables(chain) {
        if !is_answered {
            notices.push(format!(
                "the host drops forwarded packets (policy of nftables chain {table} {name}): containers reach nothing until that chain accepts iifname and oifname {bridge}"
            ));
        }
        return Ok(());
    }
    let after_last_other = rules.iter().rposition(|rule| !rule.is_husks()).map_or(0, |i| i + 1);
    let in_place = rules.iter().skip(after_last_other).filter(own).count();
    if in_place == 2 && present.len() == 2 {
        return Ok(());
    }
    let mut batch = Batch::default();
    push_removal(&mut batch, chain, &present);
    push_acceptance(&mut batch, chain, bridge);
    match batch.send(socket) {
        Ok(()) if present.is_empty() => notices.push(format!(
            "the host drops forwarded packets (policy of {table} {name}): accepted link {bridge} at the end of chain {name}"
        )),
        Ok(()) => {}
        // A host without xt_conntrack, which iptables itself would need.
        Err(Refusal { errno: rustix::io::Errno::NOENT | rustix::io::Errno::OPNOTSUPP, .. }) => {
            notices.push(format!(
                "the host drops forwarded packets (policy of {table} {name}), and the kernel has no xt_conntrack match: containers reach nothing until that chain accepts link {bridge}"
            ));
        }
        Err(refusal) => return Err(failed(refusal)),
    }
    Ok(())
}

/// Two rules after all others, in the form that iptables itself would write.
fn push_acceptance(batch: &mut Batch, chain: &Chain, bridge: &str) {
    let outgoing = Rule::new().iifname_as_iptables(bridge);
    let incoming = Rule::new().oifname_as_iptables(bridge).xt_conntrack_answered_or_published();
    for rule in [outgoing, incoming] {
        let rule = rule.counter().verdict(&Verdict::Accept);
        batch.push(Request::NewRule, NLM_F_CREATE | NLM_F_APPEND, chain.family, |a| {
            a.text(1, &chain.table).text(2, &chain.name).nest(4, |list| {
                list.append(rule.expressions());
            });
            a.bytes(7, &userdata(bridge));
        });
    }
}

fn push_removal(batch: &mut Batch, chain: &Chain, rules: &[&HostRule]) {
    for rule in rules {
        batch.push(Request::DeleteRule, 0, chain.family, |a| {
            a.text(1, &chain.table).text(2, &chain.name).bytes(3, &rule.handle);
        });
    }
}

fn firewalld_knows(
    socket: &mut Socket,
    firewalld: &Chain,
    chains: &[Chain],
    network: &Network,
) -> Result<bool> {
    let of_table =
        chains.iter().filter(|c| (c.family, &c.table) == (firewalld.family, &firewalld.table));
    for chain in of_table {
        if rules(socket, chain)?.iter().any(|rule| rule.names(&network.bridge)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes back what [`admit`] may have added, and no other rule about the bridge.
pub(crate) fn withdraw(socket: &mut Socket, network: &Network) -> Result<()> {
    let mut batch = Batch::default();
    for chain in chains(socket)?.iter().filter(|c| c.forwards && is_iptables(c)) {
        let rules = rules(socket, chain)?;
        let own: Vec<&HostRule> = rules.iter().filter(|r| r.is_about(&network.bridge)).collect();
        push_removal(&mut batch, chain, &own);
    }
    batch.send(socket).map_err(failed)
}

/// A rule of the host's.
struct HostRule {
    handle: Vec<u8>,
    expressions: Vec<u8>,
    userdata: Vec<u8>,
}

/// What iptables and nft show as a comment (`UDATA_TYPE_COMMENT`), and by which a rule
/// is known as this crate's.
const COMMENT: &str = "husk: containers on ";

fn userdata(bridge: &str) -> Vec<u8> {
    let text = format!("{COMMENT}{bridge}");
    [&[0, text.len() as u8 + 1][..], text.as_bytes(), &[0]].concat()
}

impl HostRule {
    fn is_husks(&self) -> bool {
        self.userdata.get(2..).is_some_and(|text| text.starts_with(COMMENT.as_bytes()))
    }

    fn is_about(&self, bridge: &str) -> bool {
        self.userdata == userdata(bridge)
    }

    /// iptables compares a name with its NUL, nft all sixteen bytes.
    fn names(&self, bridge: &str) -> bool {
        let padded = link_name(bridge);
        let name = padded.get(..=bridge.len()).unwrap_or(&padded);
        self.expressions.windows(name.len()).any(|window| window == name)
    }

    /// Whether it is an administrator's answer to the question of the bridge: a rule that
    /// names it, and does not drop.
    fn may_accept(&self, bridge: &str) -> bool {
        self.names(bridge) && self.steps().all(|step| !matches!(step, Step::Drop | Step::Reject))
    }

    /// Whether it drops or rejects whatever comes to it: no step is a condition.
    fn drops_everything(&self) -> Option<&'static str> {
        let mut end = None;
        for step in self.steps() {
            match step {
                Step::Drop => end = Some("drop"),
                Step::Reject => end = Some("reject"),
                Step::Passes => {}
                Step::Other => return None,
            }
        }
        end
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        attributes(&self.expressions).map(|(_, element)| {
            let data = attribute(element, 2).unwrap_or_default();
            match attribute(element, 1).map(string).as_deref() {
                Some("counter" | "log") => Step::Passes,
                Some("reject") => Step::Reject,
                Some("target") if attribute(data, 1).map(string).as_deref() == Some("REJECT") => {
                    Step::Reject
                }
                Some("immediate") => {
                    let verdict = attribute(data, 2).and_then(|data| attribute(data, 2));
                    let code = number(verdict.and_then(|verdict| attribute(verdict, 1)));
                    if code == Some(NF_DROP) { Step::Drop } else { Step::Other }
                }
                _ => Step::Other,
            }
        })
    }
}

/// An expression of a rule, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Drop,
    Reject,
    /// Lets every packet go on to the next expression.
    Passes,
    /// A condition, or another verdict.
    Other,
}
