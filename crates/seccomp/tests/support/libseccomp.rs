//! libseccomp in a process of its own: a small C program, compiled by the test.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};

use super::Instruction;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libseccomp.c");
static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Libseccomp {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    binary: PathBuf,
}

/// Rule, name within it, and condition within it if each is a rule of its own.
pub(crate) type Part = (usize, usize, usize);

/// The sets of conditions that runc and crun hand over one by one.
pub(crate) fn parts(rule: &SeccompSyscall) -> Vec<&[SeccompArg]> {
    let repeats = (0..6).any(|n| rule.args.iter().filter(|arg| arg.index == n).count() > 1);
    if repeats { rule.args.chunks(1).collect() } else { vec![&rule.args] }
}

/// libseccomp's answer to a profile.
pub(crate) struct Answer {
    /// Rule, name and part, of those that are split, with the errno.
    pub(crate) refused: Vec<(Part, i32)>,
    pub(crate) program: Vec<Instruction>,
}

impl Libseccomp {
    /// `None`, with the reason printed, where there is no compiler or library.
    pub(crate) fn start() -> Option<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let binary =
            std::env::temp_dir().join(format!("husk-libseccomp-{}-{number}", std::process::id()));
        let built = Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&binary)
            .args([SOURCE, "-lseccomp"])
            .stderr(Stdio::null())
            .status();
        if !built.is_ok_and(|status| status.success()) {
            // Past the test harness, which keeps what it captures of tests that pass.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no cc, or no libseccomp to link (Debian: gcc, libseccomp-dev)"
            );
            return None;
        }
        let mut child = Command::new(&binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program just built");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output, binary })
    }

    fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("open until dropped");
        input.write_all(text.as_bytes()).expect("write to libseccomp's process");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from libseccomp's process");
        assert!(!line.is_empty() && !line.starts_with("error"), "libseccomp: {line:?}");
        line.trim_end().to_owned()
    }

    /// Number of a call; below 0 for one that is multiplexed only, or lacking.
    pub(crate) fn number(&mut self, arch: SeccompArch, name: &str) -> Option<i32> {
        self.send(&format!("number {} {name}\n", arch_name(arch)));
        self.line().parse().ok()
    }

    /// Compiles for `native` and the profile's architectures, with the rules
    /// runc would hand over.
    pub(crate) fn compile(
        &mut self,
        profile: &Seccomp,
        native: SeccompArch,
        optimize: u32,
        big_endian: bool,
    ) -> Answer {
        let keep = std::iter::once(&native)
            .chain(&profile.architectures)
            .any(|arch| *arch == SeccompArch::X86_64);
        let default = ret(profile.default_action, profile.default_errno_ret);
        let mut text =
            format!("profile {default} {optimize} {} {}", u8::from(keep), arch_name(native));
        for arch in &profile.architectures {
            text += &format!(" {}", arch_name(*arch));
        }
        text += "\n";
        let mut sent = Vec::new();
        for (index, rule) in profile.syscalls.iter().enumerate() {
            let action = ret(rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            let sets = parts(rule);
            for (position, name) in rule.names.iter().enumerate() {
                for (part, set) in sets.iter().enumerate() {
                    text += &format!("rule {action} {name} {}", set.len());
                    for arg in *set {
                        let op = operator(arg.op);
                        text += &format!(" {} {op} {} {}", arg.index, arg.value, arg.value_two);
                    }
                    text += "\n";
                    sent.push((index, position, part));
                }
            }
        }
        // The process answers refusals at once: do not fill both pipes.
        let (mut refused, mut lines) = (Vec::new(), text + "end\n");
        std::thread::scope(|scope| {
            let mut input = self.input.take().expect("open until dropped");
            let writer = scope.spawn(move || {
                input.write_all(lines.as_bytes()).expect("write to libseccomp's process");
                lines.clear();
                input
            });
            loop {
                let line = self.line();
                let mut words = line.split(' ');
                match words.next() {
                    Some("refused") => {
                        let mut next = || words.next().expect("two numbers");
                        let rule: usize = next().parse().expect("a number");
                        refused.push((sent[rule], next().parse().expect("a number")));
                    }
                    Some("bpf") => {
                        self.input = Some(writer.join().expect("the writer"));
                        let hex = words.next().unwrap_or_default();
                        return Answer { refused, program: decode_hex(hex, big_endian) };
                    }
                    other => panic!("libseccomp: {other:?}"),
                }
            }
        })
    }
}

impl Drop for Libseccomp {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.binary);
    }
}

/// libseccomp writes in the byte order of the architecture, but for the values
/// of returns, of which 2.5.4 leaves some in that of the machine it runs on.
fn decode_hex(hex: &str, big_endian: bool) -> Vec<Instruction> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let bytes: Vec<u8> = (0..hex.len() / 2).map(|index| byte(2 * index)).collect();
    let decode = |i: &[u8]| {
        let (code, k) = ([i[0], i[1]], [i[4], i[5], i[6], i[7]]);
        let (code, k) = match big_endian {
            true if i[1] == 0x06 && !is_action(u32::from_be_bytes(k)) => {
                (u16::from_be_bytes(code), u32::from_le_bytes(k))
            }
            true => (u16::from_be_bytes(code), u32::from_be_bytes(k)),
            false => (u16::from_le_bytes(code), u32::from_le_bytes(k)),
        };
        Instruction { code, jt: i[2], jf: i[3], k }
    };
    bytes.chunks_exact(8).map(decode).collect()
}

fn is_action(k: u32) -> bool {
    k == 0 || matches!(k >> 16, 0x8000 | 3 | 5 | 0x7fc0 | 0x7ff0 | 0x7ffc | 0x7fff)
}

/// libseccomp's name of an architecture, if it knows it by one.
pub(crate) fn arch_name(arch: SeccompArch) -> String {
    arch.name().trim_start_matches("SCMP_ARCH_").to_lowercase()
}

/// SCMP_ACT_*, which are the kernel's values.
pub(crate) fn ret(action: SeccompAction, errno: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        SeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}

/// enum scmp_compare, seccomp.h.
fn operator(op: SeccompOp) -> u32 {
    match op {
        SeccompOp::Ne => 1,
        SeccompOp::Lt => 2,
        SeccompOp::Le => 3,
        SeccompOp::Eq => 4,
        SeccompOp::Ge => 5,
        SeccompOp::Gt => 6,
        SeccompOp::MaskedEq => 7,
    }
}
