//! Other firewalls on the host that would drop what containers send and get.
//!
//! Every base chain of a hook is asked, and one that drops is enough: accepting
//! a packet in `inet husk` does not help against a FORWARD chain whose policy is
//! drop, which is what Docker sets, and many a person. Where that chain is of the
//! tables that iptables-nft keeps, two rules let the bridge pass, in the chain
//! that is made for such rules, or at the top. Elsewhere it is only said what to do.

use netlink_packet_core::NLM_F_CREATE;

use crate::error::{Error, Result};
use crate::netlink::{Refusal, Socket, attribute, string};
use crate::network::Network;
use crate::nft::batch::{Attributes, Batch, Request, body};
use crate::nft::rule::{Rule, Verdict, link_name};
use crate::nft::table::TABLE;

const HOOK_FORWARD: u32 = 2;
const POLICY_DROP: u32 = 0;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Docker asks for people's own rules to be put there, and never flushes it.
const USERS_CHAIN: &str = "DOCKER-USER";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    drops_forwarded: bool,
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
            drops_forwarded: hook == Some(HOOK_FORWARD)
                && number(attribute(attributes, 5)) == Some(POLICY_DROP),
        })
    };
    Ok(messages.iter().filter_map(|(_, message)| read(message)).collect())
}

/// Rules of a chain that name the bridge: their handles.
fn rules_about(socket: &mut Socket, chain: &Chain, network: &Network) -> Result<Vec<Vec<u8>>> {
    let mut request = Attributes::default();
    request.text(1, &chain.table).text(2, &chain.name);
    let request = body(chain.family, &request);
    let wanted = link_name(&network.bridge);
    let mut handles = Vec::new();
    for (_, message) in socket.dump(Request::GetRule.kind(), &request).map_err(failed)? {
        let attributes = message.get(4..).unwrap_or_default();
        let here =
            |kind, name: &str| attribute(attributes, kind).map(string).as_deref() == Some(name);
        if message.first() != Some(&chain.family) || !here(1, &chain.table) || !here(2, &chain.name)
        {
            continue;
        }
        // iptables compares a name with its NUL, nft all sixteen bytes.
        let name = &wanted[..=network.bridge.len()];
        let expressions = attribute(attributes, 4).unwrap_or_default();
        let names_it = expressions.windows(name.len()).any(|window| window == name);
        handles.extend(attribute(attributes, 3).filter(|_| names_it).map(<[u8]>::to_vec));
    }
    Ok(handles)
}

/// The chain of an iptables-nft table where accepting rules go.
fn place<'a>(chains: &'a [Chain], dropping: &'a Chain) -> &'a Chain {
    chains
        .iter()
        .find(|c| {
            (c.family, &c.table, c.name.as_str()) == (dropping.family, &dropping.table, USERS_CHAIN)
        })
        .unwrap_or(dropping)
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

/// Looks for chains that drop what is forwarded, and lets the bridge through
/// where that can be done; says what was done and what is left to do.
pub(crate) fn admit(
    socket: &mut Socket,
    network: &Network,
    notices: &mut Vec<String>,
) -> Result<()> {
    if network.internal {
        return Ok(());
    }
    let bridge = &network.bridge;
    let chains = chains(socket)?;
    for dropping in chains.iter().filter(|c| c.drops_forwarded && c.table != TABLE) {
        if !concerns(dropping, network) {
            continue;
        }
        let chain = place(&chains, dropping);
        let (table, name) = (&chain.table, &chain.name);
        if !rules_about(socket, chain, network)?.is_empty() {
            continue;
        }
        if is_iptables(dropping) {
            insert(socket, chain, network).map_err(failed)?;
            notices.push(format!(
                "the host drops forwarded packets (policy of {table} {}): accepted link {bridge} in chain {name}",
                dropping.name
            ));
        } else {
            notices.push(format!(
                "the host drops forwarded packets (policy of nftables chain {table} {name}): containers reach nothing until that chain accepts iifname and oifname {bridge}"
            ));
        }
    }
    if let Some(chain) = chains.iter().find(|c| c.table == "firewalld")
        && !firewalld_knows(socket, chain, &chains, network)?
    {
        notices.push(format!(
            "firewalld may reject what containers on {bridge} send: firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
        ));
    }
    Ok(())
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
        if !rules_about(socket, chain, network)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Two rules before all others, in the form that iptables itself would write.
fn insert(
    socket: &mut Socket,
    chain: &Chain,
    network: &Network,
) -> std::result::Result<(), Refusal> {
    let mut batch = Batch::default();
    let bridge = &network.bridge;
    for rule in [Rule::new().iifname(bridge), Rule::new().oifname(bridge)] {
        let rule = rule.counter().verdict(&Verdict::Accept);
        // Without NLM_F_APPEND a rule goes to the top.
        batch.push(Request::NewRule, NLM_F_CREATE, chain.family, |a| {
            a.text(1, &chain.table).text(2, &chain.name).nest(4, |list| {
                list.append(rule.expressions());
            });
        });
    }
    batch.send(socket)
}

/// Takes back what [`admit`] may have inserted.
pub(crate) fn withdraw(socket: &mut Socket, network: &Network) -> Result<()> {
    let chains = chains(socket)?;
    let mut batch = Batch::default();
    for dropping in chains.iter().filter(|c| is_iptables(c)) {
        let chain = place(&chains, dropping);
        for handle in rules_about(socket, chain, network)? {
            batch.push(Request::DeleteRule, 0, chain.family, |a| {
                a.text(1, &chain.table).text(2, &chain.name).bytes(3, &handle);
            });
        }
    }
    batch.send(socket).map_err(failed)
}
