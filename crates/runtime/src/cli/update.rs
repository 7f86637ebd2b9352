//! `update`: other limits for a container that exists.

use husk_spec::{BlockIo, Memory, Pids, Resources};

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::report::{self, Code, Error, Result};
use crate::state::lifecycle;

pub(super) const COMMAND: Command = Command {
    name: "update",
    usage: "update [FLAGS] CONTAINER",
    about: "Change the limits of a container",
    flags: &[
        ("-r, --resources FILE", "limits as JSON, like linux.resources; - for standard input"),
        ("--memory BYTES", "memory limit; k, m, g are understood, -1 is none"),
        ("--memory-reservation BYTES", "soft limit of memory"),
        ("--memory-swap BYTES", "limit of memory and swap together"),
        ("--cpu-share N", "share of CPU time against others"),
        ("--cpu-quota USEC", "CPU time a period"),
        ("--cpu-period USEC", "length of the period"),
        ("--cpu-burst USEC", "unused time that may be saved up"),
        ("--cpu-idle N", "1 to run only when nothing else does"),
        ("--cpu-rt-period USEC", "period of real-time scheduling"),
        ("--cpu-rt-runtime USEC", "real-time CPU time a period"),
        ("--cpuset-cpus LIST", "CPUs to run on"),
        ("--cpuset-mems LIST", "memory nodes to use"),
        ("--pids-limit N", "most processes; -1 for no limit"),
        ("--blkio-weight N", "share of block I/O against others"),
        ("--kernel-memory BYTES", "kernel memory (cgroup v1; a newer kernel has no such limit)"),
        ("--kernel-memory-tcp BYTES", "memory of TCP buffers (cgroup v1)"),
        ("--l3-cache-schema TEXT", "Intel RDT: L3 cache"),
        ("--mem-bw-schema TEXT", "Intel RDT: memory bandwidth"),
    ],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let mut resources = Resources::default();
    let (mut id, mut schemata) = (None, Vec::new());
    while let Some(argument) = arguments.next()? {
        let flag = match argument {
            Argument::Value(value) if id.is_none() => {
                id = Some(value);
                continue;
            }
            Argument::Flag(flag) => flag,
            other => return Err(other.unexpected()),
        };
        match flag.as_str() {
            "r" | "resources" => resources = read(&arguments.value()?)?,
            "l3-cache-schema" | "mem-bw-schema" => schemata.push(arguments.value()?),
            _ => set(&mut resources, &flag, &mut arguments)?,
        }
    }
    let id = id.ok_or_else(missing_id)?;
    if resources == Resources::default() && schemata.is_empty() {
        return Err(Error::new(Code::Usage, "update", "nothing to change")
            .hint("husk-oci update --help lists what can be"));
    }
    for warning in lifecycle::update(&global.store()?, &id, &resources, &schemata)? {
        report::warning(warning);
    }
    Ok(0)
}

fn set(resources: &mut Resources, flag: &str, arguments: &mut Arguments) -> Result<()> {
    let memory = |resources: &mut Resources, bytes, field: fn(&mut Memory) -> &mut Option<i64>| {
        *field(resources.memory.get_or_insert_default()) = Some(bytes);
    };
    match flag {
        "memory" => memory(resources, bytes(flag, arguments)?, |m| &mut m.limit),
        "memory-reservation" => memory(resources, bytes(flag, arguments)?, |m| &mut m.reservation),
        "memory-swap" => memory(resources, bytes(flag, arguments)?, |m| &mut m.swap),
        "kernel-memory" => memory(resources, bytes(flag, arguments)?, |m| &mut m.kernel),
        "kernel-memory-tcp" => memory(resources, bytes(flag, arguments)?, |m| &mut m.kernel_tcp),
        "pids-limit" => {
            resources.pids = Some(Pids { limit: Some(number(flag, arguments)?) });
        }
        "blkio-weight" => {
            let weight = Some(number(flag, arguments)?);
            resources.block_io.get_or_insert_with(BlockIo::default).weight = weight;
        }
        _ => set_cpu(resources, flag, arguments)?,
    }
    Ok(())
}

fn set_cpu(resources: &mut Resources, flag: &str, arguments: &mut Arguments) -> Result<()> {
    let mut cpu = resources.cpu.take().unwrap_or_default();
    match flag {
        "cpu-share" => cpu.shares = Some(number(flag, arguments)?),
        "cpu-quota" => cpu.quota = Some(number(flag, arguments)?),
        "cpu-period" => cpu.period = Some(number(flag, arguments)?),
        "cpu-burst" => cpu.burst = Some(number(flag, arguments)?),
        "cpu-idle" => cpu.idle = Some(number(flag, arguments)?),
        "cpu-rt-period" => cpu.realtime_period = Some(number(flag, arguments)?),
        "cpu-rt-runtime" => cpu.realtime_runtime = Some(number(flag, arguments)?),
        "cpuset-cpus" => cpu.cpus = Some(arguments.value()?),
        "cpuset-mems" => cpu.mems = Some(arguments.value()?),
        other => return Err(Argument::Flag(other.to_owned()).unexpected()),
    }
    resources.cpu = Some(cpu);
    Ok(())
}

fn number<T: std::str::FromStr>(flag: &str, arguments: &mut Arguments) -> Result<T> {
    let value = arguments.value()?;
    value.parse().map_err(|_| {
        Error::new(Code::Usage, format_args!("--{flag} ({value})"), "not a number in range")
    })
}

fn bytes(flag: &str, arguments: &mut Arguments) -> Result<i64> {
    let value = arguments.value()?;
    parse_bytes(&value).ok_or_else(|| {
        Error::new(Code::Usage, format_args!("--{flag} ({value})"), "not a size such as 512m")
    })
}

/// `-1`, `1048576`, `512m`, `1GiB`: powers of 1024, as runc reads them.
fn parse_bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let number: i64 = digits.parse().ok()?;
    if number < 0 { None } else { number.checked_mul(1 << shift) }
}

fn read(path: &str) -> Result<Resources> {
    let failed =
        |error: husk_spec::LoadError| Error::document(format_args!("--resources ({path})"), error);
    let bytes = match path {
        "-" => husk_spec::read_bounded(std::io::stdin()),
        path => std::fs::File::open(path)
            .map_err(husk_spec::LoadError::from)
            .and_then(husk_spec::read_bounded),
    };
    husk_spec::parse(&bytes.map_err(failed)?).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("-1"), Some(-1));
        assert_eq!(parse_bytes("0"), Some(0));
        assert_eq!(parse_bytes("512m"), Some(512 << 20));
        assert_eq!(parse_bytes("1GiB"), Some(1 << 30));
        for bad in ["", "m", "-2", "1x", "1.5g", "9999999999t", "12 m"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
