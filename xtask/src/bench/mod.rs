//! `cargo xtask bench`: husk-oci beside its peers and the floor, in one run.

mod alive;
mod containerd;
mod engine;
mod floor;
mod footprint;
mod measure;
mod options;
mod peer;
mod plot;
mod pull;
mod results;
mod rounds;
mod site;
mod statistics;
mod table;
mod throughput;
mod waterfall;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::process::Words;
use crate::{debian, interrupt, process, release};
use footprint::Instruments;
use measure::{MEASURES, Measure};
use options::Options;
use peer::Peer;
use results::{Count, Found, Rate, Results, Row, Throughput, Timing};
use site::{Kind, Site};
use statistics::Summary;

/// Runs the command.
///
/// # Errors
/// A program that is needed is missing, the build fails, or we are interrupted.
pub(crate) fn command(arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::HELP);
        return Ok(ExitCode::SUCCESS);
    };
    if !process::is_root() {
        bail!("the benchmark makes containers as root: sudo -E cargo xtask bench");
    }
    if options.is_engine() {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        return match options.inside {
            true => engine::measure(options.rounds).map(|()| ExitCode::SUCCESS),
            false => Err(engine::enter(&arguments)),
        };
    }
    if options.is_pull() {
        return pull::measure(options.rounds).map(|()| ExitCode::SUCCESS);
    }
    if !options.inside {
        debian::provide(debian::BENCH);
        if options.subject.is_none() {
            // Built out here, so that a build that fails says so before anything is mounted.
            release::program("husk-runtime", "husk-oci")?;
        }
        let arguments: Vec<_> = std::env::args_os().skip(2).collect();
        return Err(site::enter_namespace(&arguments));
    }
    interrupt::note()?;
    let mut site = Site::prepare(options.host_cgroups)?;
    let mut peers = assemble(&options, &site)?;
    let subject = peers
        .iter()
        .find(|peer| !peer.floor)
        .map(|peer| (peer.name.clone(), peer.path.clone()))
        .context("no runtime")?;
    site.make_bundles(&subject.1)?;
    if options.host_cgroups {
        peers = able(&site, peers)?;
    } else {
        site.plain = needs_plain(&site, &peers)?;
    }
    let results = measure_all(&options, &site, &peers)?;
    let waterfall = match options.wants("waterfall") {
        true => Some(waterfall(&site, &peers)),
        false => None,
    };
    drop(site);
    let table = table::render(&results, &subject.0);
    println!("{table}");
    write(&options.results, &results, &table, &subject.0)?;
    match waterfall {
        None => {}
        Some(Ok(svg)) => fs::write(options.results.join("waterfall.svg"), svg)?,
        // Another runtime has no such flag.
        Some(Err(error)) => eprintln!("xtask: no waterfall: {error:#}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn waterfall(site: &Site, peers: &[Peer]) -> anyhow::Result<String> {
    let subject = peers.iter().find(|peer| !peer.floor).context("no runtime")?;
    waterfall::draw(site, subject)
}

/// The floor, the subject, and the peers that can be found.
fn assemble(options: &Options, site: &Site) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    // It writes to a cgroup of v2.
    if !options.host_cgroups {
        peers.push(Peer::floor(floor::compile("floor", &site.work)?));
    }
    let subject = match &options.subject {
        Some(path) => path.clone(),
        None => release::program("husk-runtime", "husk-oci")?.0,
    };
    let name = subject.file_name().unwrap_or_default().to_string_lossy().into_owned();
    peers.push(Peer::runtime(&name, &subject).context("the runtime under test")?);
    let mut named = options.peers.clone();
    if options.search {
        for name in ["crun", "runc", "youki"] {
            if let Some(path) = process::find(name)
                && !named.iter().any(|(other, _)| other == name)
            {
                named.push((name.to_owned(), path));
            }
        }
    }
    named.retain(|(other, _)| *other != name);
    for (name, path) in named {
        match Peer::runtime(&name, &path) {
            Ok(peer) => peers.push(peer),
            Err(error) => eprintln!("xtask: {name} takes no part: {error:#}"),
        }
    }
    Ok(peers)
}

/// The peers that run the default bundle at all; crun refuses a host with both versions.
fn able(site: &Site, peers: Vec<Peer>) -> anyhow::Result<Vec<Peer>> {
    let mut words = Words::new()?;
    let mut able = Vec::new();
    for peer in peers {
        interrupt::check()?;
        let id = format!("{}p", site.prefix);
        match peer::succeed(&mut peer.run(site, Kind::Default, &id), &mut words) {
            Ok(_) => able.push(peer),
            Err(error) => {
                eprintln!("xtask: {} takes no part: {error:#}", peer.name);
                let _ = peer.delete(site, &id);
            }
        }
    }
    Ok(able)
}

/// Whether a peer runs the bundle without device rules but not the one with them.
fn needs_plain(site: &Site, peers: &[Peer]) -> anyhow::Result<bool> {
    let mut words = Words::new()?;
    let mut plain = false;
    for peer in peers {
        for kind in [Kind::Default, Kind::Plain] {
            interrupt::check()?;
            let id = format!("{}p{kind:?}", site.prefix);
            let result = peer::succeed(&mut peer.run(site, kind, &id), &mut words);
            let Err(error) = result else {
                plain |= kind == Kind::Plain;
                break;
            };
            eprintln!("xtask: {} cannot run the {kind:?} bundle: {error:#}", peer.name);
            if !peer.floor {
                let _ = peer.delete(site, &id);
            }
        }
    }
    Ok(plain)
}

fn measure_all(options: &Options, site: &Site, peers: &[Peer]) -> anyhow::Result<Results> {
    let mut results = Results::new(peers, options, site.plain);
    for (name, measure, title) in MEASURES {
        if options.wants(name) {
            results.timings.push(timing(options, site, peers, (name, measure, title))?);
        }
    }
    let kind = if site.plain { Kind::Plain } else { Kind::Default };
    if options.wants("throughput") {
        for width in throughput::WIDTHS {
            eprintln!("==> run, {width} at a time");
            let bursts = throughput::measure(site, peers, kind, width, options.runs)?;
            results.throughput.push(Throughput { width, rows: rates(bursts) });
        }
    }
    if options.wants("alive") {
        for peer in peers.iter().filter(|peer| !peer.floor) {
            eprintln!("==> {} containers alive: {}", options.alive, peer.name);
            let crowd = alive::measure(site, peer, options.alive);
            interrupt::check()?;
            results.alive.push(Row { peer: peer.name.clone(), found: crowd.into() });
        }
    }
    if options.wants("counts") {
        results.counts = counts(options, site, peers, kind)?;
    }
    Ok(results)
}

fn timing(
    options: &Options,
    site: &Site,
    peers: &[Peer],
    (name, measure, title): (&str, Measure, &str),
) -> anyhow::Result<Timing> {
    eprintln!("==> {title}");
    let rows = rounds::measure(site, peers, measure, options.rounds)?
        .into_iter()
        .map(|samples| Row {
            peer: samples.peer,
            found: match samples.result.map(|times| Summary::of(&times)) {
                Ok(Some(summary)) => Found::Value(summary),
                Ok(None) => Found::Failed("no samples".to_owned()),
                Err(message) => Found::Failed(message),
            },
        })
        .collect();
    Ok(Timing { name: name.to_owned(), title: title.to_owned(), rows })
}

fn rates(bursts: Vec<throughput::Burst>) -> Vec<Row<Rate>> {
    bursts
        .into_iter()
        .map(|burst| Row {
            peer: burst.peer,
            found: match burst.result.map(|(time, times)| (time, times.len(), Summary::of(&times)))
            {
                Ok((time, count, Some(each))) => {
                    Found::Value(Rate { per_second: count as f64 / time.as_secs_f64(), each })
                }
                Ok(_) => Found::Failed("no samples".to_owned()),
                Err(message) => Found::Failed(message),
            },
        })
        .collect()
}

fn counts(
    options: &Options,
    site: &Site,
    peers: &[Peer],
    kind: Kind,
) -> anyhow::Result<Vec<Count>> {
    type Counter<'a> = Box<dyn Fn(&Peer) -> anyhow::Result<u64> + 'a>;
    let instruments = Instruments::build(site)?;
    let counters: [(&str, &str, bool, Counter<'_>); 5] = [
        (
            "peak",
            "peak resident memory of a run, the greatest process",
            true,
            Box::new(|peer| instruments.peak_memory(site, peer, kind)),
        ),
        (
            "calls",
            "system calls of a run, its container's included",
            false,
            Box::new(|peer| footprint::system_calls(site, peer, kind)),
        ),
        (
            "instructions",
            "instructions in user space of a run, its container's included",
            false,
            Box::new(|peer| instruments.instructions(site, peer, kind, options.patience)),
        ),
        (
            "size",
            "the executable",
            true,
            Box::new(|peer| footprint::size(&peer.path).map(|(bytes, _)| bytes)),
        ),
        (
            "libraries",
            "shared libraries that the executable loads",
            false,
            Box::new(|peer| footprint::size(&peer.path).map(|(_, libraries)| libraries)),
        ),
    ];
    let mut counts = Vec::new();
    for (name, title, bytes, counter) in counters {
        eprintln!("==> {title}");
        let mut rows = Vec::new();
        for peer in peers {
            interrupt::check()?;
            rows.push(Row { peer: peer.name.clone(), found: counter(peer).into() });
        }
        counts.push(Count { name: name.to_owned(), title: title.to_owned(), bytes, rows });
    }
    Ok(counts)
}

fn write(directory: &Path, results: &Results, table: &str, subject: &str) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    fs::create_dir_all(directory).with_context(|| format!("mkdir {}", directory.display()))?;
    put("results.json", &serde_json::to_string_pretty(results)?)?;
    put("table.md", table)?;
    for timing in &results.timings {
        if let Some(svg) = plot::bars(timing, subject) {
            put(&format!("{}.svg", timing.name), &svg)?;
        }
    }
    eprintln!("==> written to {}", directory.display());
    Ok(())
}
