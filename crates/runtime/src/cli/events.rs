//! `events`: what a container uses, and when the kernel kills in it.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use husk_cgroup::Stats;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::host::cgroup_error;
use crate::report::{Code, Error, Result};
use crate::state::record::Record;

pub(super) const COMMAND: Command = Command {
    name: "events",
    usage: "events [FLAGS] CONTAINER",
    about: "Print what a container uses, and OOM kills, as JSON lines",
    flags: &[
        ("--interval TIME", "how often, such as 500ms, 5s, 1m (5s)"),
        ("--stats", "print what it uses once, and end"),
    ],
    run,
    enters: false,
};

/// One line, in runc's shape.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let (mut interval, mut once, mut id) = (Duration::from_secs(5), false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if flag == "interval" => {
                let value = arguments.value()?;
                interval = duration(&value).ok_or_else(|| {
                    Error::new(
                        Code::Usage,
                        format_args!("--interval ({value})"),
                        "not a time above zero, such as 5s",
                    )
                })?;
            }
            Argument::Flag(flag) if flag == "stats" => once = arguments.switch(&flag)?,
            Argument::Value(value) if id.is_none() => id = Some(value),
            other => return Err(other.unexpected()),
        }
    }
    let id = id.ok_or_else(missing_id)?;
    let record = global.store()?.open(&id)?.record()?;
    if record.process()?.is_none() {
        return Err(Error::new(
            Code::WrongState,
            format_args!("container {id}"),
            "container not running",
        ));
    }
    if once {
        print_stats(&record)?;
        return Ok(0);
    }
    watch(&record, interval)
}

fn print_line(event: &Event<'_>) -> Result<bool> {
    let line = serde_json::to_string(event).map_err(|error| Error::invalid("output", error))?;
    // False once nobody reads any more.
    Ok(std::io::stdout().write_all((line + "\n").as_bytes()).is_ok())
}

fn print_stats(record: &Record) -> Result<bool> {
    let stats = record.cgroup.stats().map_err(cgroup_error)?;
    print_line(&Event { kind: "stats", id: &record.id, data: Some(&stats) })
}

/// Until the container's process ends.
fn watch(record: &Record, interval: Duration) -> Exit {
    let Some(process) = record.process()? else { return Ok(0) };
    let mut oom = record.cgroup.oom_watch().map_err(cgroup_error)?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = vec![PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        if let Some(oom) = &oom {
            fds.push(PollFd::from_borrowed_fd(oom.as_fd(), oom.interest()));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("events", "poll", errno)),
        }
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        if let Some(oom) = &mut oom {
            for _ in 0..oom.kills().map_err(cgroup_error)? {
                if !print_line(&Event { kind: "oom", id: &record.id, data: None })? {
                    return Ok(0);
                }
            }
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            if !print_stats(record)? {
                return Ok(0);
            }
            next = Instant::now() + interval;
        }
    }
}

/// A number with ns, us, ms, s, m or h; seconds without.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let duration = match &text[digits.len()..] {
        "ns" => Duration::from_nanos(number),
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    };
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2"), Some(Duration::from_secs(2)));
        for bad in ["", "0s", "s", "5x", "-1s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
