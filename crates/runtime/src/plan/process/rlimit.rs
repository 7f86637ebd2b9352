//! `process.rlimits`, getrlimit(2).

use rustix::process::{Resource, Rlimit};

use crate::report::{Error, Result};

const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

pub(super) fn plan(
    rlimits: &[husk_spec::Rlimit],
    property: &str,
) -> Result<Vec<(usize, Resource, Rlimit)>> {
    let mut planned: Vec<(usize, Resource, Rlimit)> = Vec::with_capacity(rlimits.len());
    for (index, rlimit) in rlimits.iter().enumerate() {
        let property = format!("{property}.rlimits[{index}]");
        let Some((_, resource)) = RESOURCES.iter().find(|(name, _)| *name == rlimit.typ) else {
            return Err(Error::invalid(
                format_args!("{property}.type ({})", rlimit.typ),
                "unknown resource",
            ));
        };
        if planned.iter().any(|(_, other, _)| *other as u8 == *resource as u8) {
            return Err(Error::invalid(
                format_args!("{property}.type ({})", rlimit.typ),
                "named twice",
            ));
        }
        if rlimit.soft > rlimit.hard {
            return Err(Error::invalid(
                format_args!("{property}.soft ({}: {})", rlimit.typ, rlimit.soft),
                format_args!("above the hard limit, {}", rlimit.hard),
            ));
        }
        let limit = |value: u64| (value != u64::MAX).then_some(value);
        planned.push((
            index,
            *resource,
            Rlimit { current: limit(rlimit.soft), maximum: limit(rlimit.hard) },
        ));
    }
    Ok(planned)
}
