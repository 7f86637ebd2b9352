//! What an exit status says.

use super::Explanation;
use crate::container::Container;
use crate::container::state::State;
use crate::events::Event;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// What a program that could not be executed, and one that is not there, end with.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// A status in words: `exit status 3`, `signal 9 (KILL), exit status 137`.
pub(super) fn status(code: i32) -> String {
    match signal_of(code) {
        Some(signal) => format!("killed by {}, exit status {code}", named(signal)),
        None => format!("exit status {code}"),
    }
}

/// 128+N is what a signal N gives; a program may also exit with such a number itself.
fn signal_of(code: i32) -> Option<i32> {
    Some(code - 128).filter(|signal| (1..=64).contains(signal))
}

fn named(signal: i32) -> String {
    match husk_sys::signal_name::name(signal) {
        Some(name) => format!("signal {signal} (SIG{name})"),
        None => format!("signal {signal}"),
    }
}

/// Explains the end of a program.
pub(super) fn explain(
    container: &Container,
    state: &State,
    past: &[Event],
    found: &mut Explanation,
) {
    let code = state.exit_code;
    found.summary = format!("its program ended: {}", status(code));
    if !state.error.is_empty() {
        found.reasons.push(state.error.clone());
    }
    if state.oom_killed {
        out_of_memory(container, found);
        return;
    }
    match (code, signal_of(code)) {
        (0, _) => succeeded(container, found),
        (255, _) if !state.error.is_empty() => {
            found.reasons.push("how it ended was not seen, so 255 stands for it".to_owned());
        }
        (_, Some(signal)) => signalled(container, signal, past, found),
        (NOT_EXECUTABLE | NOT_FOUND, _) => missing_program(container, code, &state.error, found),
        _ => found.reasons.push(
            "the program chose this status itself: its log and its documentation say why"
                .to_owned(),
        ),
    }
}

fn succeeded(container: &Container, found: &mut Explanation) {
    found.reasons.push("the program did what it was to do, and ended without an error".to_owned());
    let shells = ["sh", "bash", "ash", "zsh"];
    let program = container.record.config.args.first().map_or("", String::as_str);
    let is_shell = shells.iter().any(|shell| program.rsplit('/').next() == Some(shell));
    if is_shell && container.record.config.args.len() == 1 && !container.record.config.interactive {
        found.reasons.push(format!(
            "{program} without standard input has nothing to read, and ends at once"
        ));
        found.remedies.push("run it with -it, or give it a command that goes on".to_owned());
    }
}

fn out_of_memory(container: &Container, found: &mut Explanation) {
    let limits = &container.record.config.limits;
    let limit = limits.memory.filter(|bytes| *bytes > 0);
    found.summary = match limit {
        Some(bytes) => format!(
            "the kernel killed it: its processes reached the limit of {} (--memory) and could not \
             be given more",
            binary(bytes)
        ),
        None => "the kernel killed it because the host, or the cgroup above it, was out of memory"
            .to_owned(),
    };
    match limit {
        Some(bytes) => {
            let more = binary(bytes.saturating_mul(2));
            found.remedies.push(format!(
                "husk update --memory {more} {} and start it again, or have the program use less",
                container.record.name
            ));
        }
        None => found.remedies.push(
            "limit the containers of this host with --memory, so that each pays for itself"
                .to_owned(),
        ),
    }
}

/// Bytes as `--memory` takes them.
fn binary(bytes: i64) -> String {
    let units = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
    let fits = units.iter().find(|(_, size)| bytes % size == 0);
    fits.map_or_else(|| format!("{bytes}b"), |(unit, size)| format!("{}{unit}", bytes / size))
}

fn signalled(container: &Container, signal: i32, past: &[Event], found: &mut Explanation) {
    let sent = sent_before_end(past);
    let name = &container.record.name;
    match (signal, sent.as_slice()) {
        (SIGKILL, [.., first, SIGKILL]) => {
            found.reasons.push(format!(
                "it was asked to stop by {}, did not end in time, and was killed",
                named(*first)
            ));
            found.remedies.push(format!(
                "have its program end on {}: as process 1 it must handle the signal itself, which \
                 --init does for one that does not; or give it longer with husk stop --time",
                named(*first)
            ));
        }
        (_, [.., last]) if *last == signal => {
            found.reasons.push("the signal was sent by husk stop, kill, restart or rm".to_owned());
        }
        (SIGKILL, _) => {
            found.reasons.push(
                "nobody used husk for that, and the kernel counted no kill for want of memory in \
                 its cgroup"
                    .to_owned(),
            );
            found.remedies.push(
                "look for who sent it: a program in the container, an administrator, or the \
                 kernel on a host out of memory (dmesg)"
                    .to_owned(),
            );
        }
        (SIGTERM, _) => found.reasons.push("somebody asked the program to end".to_owned()),
        _ => found.reasons.push(of_fault(signal).to_owned()),
    }
    if signal == libc_sys() {
        found.remedies.push(format!(
            "husk-oci exec --seccomp-explain tells the call; compare with husk run --security-opt \
             seccomp=unconfined --rm (container {name})"
        ));
    }
}

fn libc_sys() -> i32 {
    husk_sys::signal_name::number("SYS").unwrap_or(31)
}

/// What a signal says that the kernel sends to a program for a fault of its own.
fn of_fault(signal: i32) -> &'static str {
    match husk_sys::signal_name::name(signal) {
        Some("SEGV") => {
            "the program used memory that is not its own: a fault in it or in a library"
        }
        Some("ABRT") => "the program gave up by abort(3); it usually says why in its log",
        Some("ILL") => {
            "the program has an instruction that this processor does not have: it may be built \
             for a newer one, or for another architecture"
        }
        Some("BUS") => {
            "the program used memory that is not there: a file that was cut short, or a full \
             /dev/shm (--shm-size)"
        }
        Some("FPE") => "the program divided by zero, or the like",
        Some("SYS") => "a system call was refused by a seccomp filter that kills for it",
        Some("PIPE") => "it wrote to a pipe or socket whose reader had gone",
        Some("INT") => "it was interrupted, as by Ctrl-C",
        Some("HUP") => "its terminal was closed, or it was told to reload and did not handle that",
        _ => "the program does not handle this signal",
    }
}

/// Signals that husk sent to the program since its last start, in order.
fn sent_before_end(past: &[Event]) -> Vec<i32> {
    let start = past.iter().rposition(|event| event.action == "start").unwrap_or_default();
    let run = past.get(start..).unwrap_or_default();
    let end = run.iter().position(|event| event.action == "die").unwrap_or(run.len());
    let kills = run.iter().take(end).filter(|event| event.action == "kill");
    kills.filter_map(|event| event.attribute("signal").parse().ok()).collect()
}

/// What 126 and 127 say: the container's own program could not be executed, or a shell in it did
/// not find or could not execute another.
pub(super) fn missing_program(
    container: &Container,
    code: i32,
    error: &str,
    found: &mut Explanation,
) {
    let args = &container.record.config.args;
    let program = args.first().map_or("its program", String::as_str);
    let image = &container.record.image;
    match code {
        NOT_FOUND if error.is_empty() => found.reasons.push(format!(
            "127 is what a shell gives for a command that it does not find; the shell is {program}"
        )),
        NOT_EXECUTABLE if error.is_empty() => found.reasons.push(format!(
            "126 is what a shell gives for a file that cannot be executed; the shell is {program}"
        )),
        NOT_FOUND => found.remedies.push(format!(
            "see what the image has: husk run --rm -it --entrypoint sh {image}, or husk debug \
             {image} where it has no shell"
        )),
        NOT_EXECUTABLE => found.remedies.push(format!(
            "check that {program} has the executable bit and is of this machine's architecture \
             (husk image inspect {image})"
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_in_words() {
        assert_eq!(status(0), "exit status 0");
        assert_eq!(status(3), "exit status 3");
        assert_eq!(status(137), "killed by signal 9 (SIGKILL), exit status 137");
        assert_eq!(status(143), "killed by signal 15 (SIGTERM), exit status 143");
        assert_eq!(status(255), "exit status 255");
        assert_eq!(binary(20 << 20), "20m");
        assert_eq!(binary(1 << 30), "1g");
        assert_eq!(binary(1000), "1000b");
    }
}
