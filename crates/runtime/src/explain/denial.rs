//! One refused call, who made it, and how that is told.

use std::fmt::Write;

use husk_seccomp::{Call, Decision, Reason};
use husk_spec::{Seccomp as Profile, SeccompAction};
use rustix::io::Errno;

use super::{ACTION, DATA, ERRNO, capability, source};
use crate::report::errno_text;

/// The caller, proc_pid_status(5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Task {
    /// Its thread group, as this process numbers it.
    pub(super) process: i32,
    name: String,
    /// Its number in its own pid namespace.
    inner: i32,
    nested: bool,
    /// Signals that are blocked, ignored or caught.
    handled: u64,
}

impl Task {
    pub(super) fn of(thread: u32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut task = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key {
                "Name" => value.clone_into(&mut task.name),
                "Tgid" => task.process = value.parse().unwrap_or_default(),
                "NStgid" => {
                    let numbers: Vec<&str> = value.split_whitespace().collect();
                    task.nested = numbers.len() > 1;
                    task.inner = numbers.last().and_then(|n| n.parse().ok()).unwrap_or_default();
                }
                "SigBlk" | "SigIgn" | "SigCgt" => {
                    task.handled |= u64::from_str_radix(value, 16).unwrap_or(u64::MAX);
                }
                _ => {}
            }
        }
        task
    }

    /// Whether a signal has its default effect. The init of a pid namespace is
    /// not killed by a signal that it does not handle, pid_namespaces(7).
    pub(super) fn dies_of(&self, signal: i32) -> bool {
        let init = self.nested && self.inner == 1;
        !init && self.handled & 1 << (signal - 1) == 0
    }
}

/// A call that was refused.
#[derive(Debug)]
pub(super) struct Denial {
    call: Call,
    decision: Decision,
    task: Task,
    pub(super) count: u64,
}

impl Denial {
    pub(super) fn new(call: Call, decision: Decision, task: Task) -> Self {
        Self { call, decision, task, count: 1 }
    }

    /// Whether it differs in arguments and process only.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.decision == other.decision
            && (self.call.arch, self.call.number) == (other.call.arch, other.call.number)
            && self.task.name == other.task.name
    }

    /// `seccomp: mount(0x1, ...) by sh (pid 1): Operation not permitted, by
    /// linux.seccomp.defaultAction; ... would allow it`.
    pub(super) fn describe(&self, profile: &Profile) -> String {
        let Self { call, decision, task, count } = self;
        let mut text = String::from("seccomp: ");
        match decision.syscall {
            Some(name) => text += name,
            None => {
                let _ =
                    write!(text, "system call {} of architecture {:#x}", call.number, call.arch);
            }
        }
        let arguments: Vec<String> = call.arguments.iter().map(|a| format!("{a:#x}")).collect();
        let (name, pid) = (task.name.as_str(), task.inner);
        let _ = write!(text, "({}) by {name} (pid {pid}): ", arguments.join(", "));
        text += &outcome(decision.ret);
        let _ = write!(text, ", by {}", source(decision.reason));
        let _ = write!(text, "; {}", self.remedy(profile));
        if *count > 1 {
            let _ = write!(text, " ({count} times)");
        }
        text
    }

    fn remedy(&self, profile: &Profile) -> String {
        let Some(name) = self.decision.syscall else {
            return "a profile that knows it would have to allow it".to_owned();
        };
        let allowed = profile.syscalls.iter().position(|rule| {
            matches!(rule.action, SeccompAction::Allow | SeccompAction::Log)
                && !rule.args.is_empty()
                && rule.names.iter().any(|other| other == name)
        });
        let rule = match (self.decision.reason, allowed) {
            (Reason::Architecture, _) => {
                "its architecture in linux.seccomp.architectures".to_owned()
            }
            (_, Some(index)) => format!(
                "linux.seccomp.syscalls[{index}] allows it with other arguments; a rule for {name} without args"
            ),
            (Reason::Rule(index), None) => {
                format!("SCMP_ACT_ALLOW for {name} in place of linux.seccomp.syscalls[{index}]")
            }
            _ => format!("a rule with SCMP_ACT_ALLOW for {name}"),
        };
        match capability::that_allows(name) {
            Some(capability) => {
                format!("{rule}, or with an engine's default profile {capability}, would allow it")
            }
            None => format!("{rule} would allow it"),
        }
    }
}

fn outcome(ret: u32) -> String {
    match ret & ACTION {
        ERRNO => match (ret & DATA).cast_signed() {
            0 => "skipped".to_owned(),
            errno => errno_text(Errno::from_raw_os_error(errno)),
        },
        _ => "killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(ret: u32, reason: Reason, syscall: Option<&'static str>) -> Denial {
        let call = Call { arch: 0xc000_003e, number: 165, arguments: [1, 2, 0, 0, 0, 0] };
        let task = Task::parse("Name:\tsh\nTgid:\t77\nNStgid:\t77\t1\nSigCgt:\t0000000000000000\n");
        Denial::new(call, Decision { ret, reason, syscall }, task)
    }

    #[test]
    fn a_refusal_in_words() {
        let profile: Profile = husk_spec::parse(
            br#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            denial(ERRNO | 1, Reason::Default, Some("mount")).describe(&profile),
            "seccomp: mount(0x1, 0x2, 0x0, 0x0, 0x0, 0x0) by sh (pid 1): Operation not permitted, \
             by linux.seccomp.defaultAction; a rule with SCMP_ACT_ALLOW for mount, or with an \
             engine's default profile CAP_SYS_ADMIN, would allow it"
        );
        let said = denial(0, Reason::Rule(3), Some("getpid")).describe(&profile);
        assert!(
            said.contains("killed, by linux.seccomp.syscalls[3]; SCMP_ACT_ALLOW for"),
            "{said}"
        );
        let said = denial(ERRNO | 1, Reason::Default, Some("personality")).describe(&profile);
        assert!(said.contains("syscalls[0] allows it with other arguments"), "{said}");
        let said = denial(ERRNO | 38, Reason::NewerThanProfile, None).describe(&profile);
        assert!(said.contains("system call 165 of architecture 0xc000003e"), "{said}");
        assert!(said.contains("Function not implemented"), "{said}");
    }

    #[test]
    fn who_dies_of_a_signal() {
        let status =
            |ns: &str, mask: &str| Task::parse(&format!("NStgid:\t{ns}\nSigIgn:\t{mask}\n"));
        assert!(status("77", "0").dies_of(31));
        assert!(status("1", "0").dies_of(31));
        assert!(status("77\t5", "0").dies_of(31));
        assert!(!status("77\t1", "0").dies_of(31));
        assert!(!status("77\t5", "0000000040000000").dies_of(31));
        assert!(!status("77\t5", "banana").dies_of(31));
    }
}
