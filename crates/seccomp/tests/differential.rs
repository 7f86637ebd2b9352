//! Our programs beside libseccomp's, run over the whole space of calls.
//!
//! Equal answers are asked for, but for what docs/seccomp.md lists as differences:
//! those are modelled here, each with a check of its own.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::collections::{BTreeSet, HashMap};

use husk_seccomp::{Call, CompileError, audit_arch, compile, explain, syscall_number};
use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};
use support::engine::{DOCKER, Engine, PODMAN};
use support::libseccomp::{Libseccomp, Part, arch_name, parts, ret};
use support::random::{self, Random, VALUES};
use support::{Data, Instruction, check, decode, run};

use SeccompArch as A;

/// Sets of interfaces that libseccomp 2.5 compiles together; the first is native.
const SETS: [&[SeccompArch]; 14] = [
    &[A::X86_64, A::X86, A::X32],
    &[A::X86_64],
    &[A::X86_64, A::X86],
    &[A::X86_64, A::X32],
    &[A::X86],
    &[A::Aarch64, A::Arm],
    &[A::Riscv64],
    &[A::Ppc64le],
    &[A::S390x, A::S390],
    &[A::Mips64, A::Mips, A::Mips64n32],
    &[A::Mipsel64, A::Mipsel, A::Mipsel64n32],
    &[A::Parisc64, A::Parisc],
    &[A::Ppc64, A::Ppc],
    &[A::X86_64, A::X86, A::X32, A::Aarch64, A::Arm, A::Riscv64, A::Ppc64le, A::Mipsel64],
];

fn big_endian(arch: SeccompArch) -> bool {
    audit_arch(arch) & 0x4000_0000 == 0
}

fn wide(arch: SeccompArch) -> bool {
    audit_arch(arch) & 0x8000_0000 != 0 && !matches!(arch, A::X32 | A::Mips64n32 | A::Mipsel64n32)
}

/// Numbers of one interface worth asking for.
fn numbers(arch: SeccompArch) -> Vec<u32> {
    let base = match arch {
        A::X32 => 0x4000_0000,
        A::Mips | A::Mipsel => 4000,
        A::Mips64 | A::Mipsel64 => 5000,
        A::Mips64n32 | A::Mipsel64n32 => 6000,
        _ => 0,
    };
    let mut all: Vec<u32> = (base..base + 600).collect();
    all.extend([1023, 1024, 3999, 4999, 0x000e_ffff, 0x3fff_ffff, 0x4000_0000, 0x4000_0258]);
    all.extend([0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, 0xffff_ffff]);
    if arch == A::Arm {
        all.extend(0x000f_0000..0x000f_0012);
    }
    all
}

/// Calls with their rules, and the newest call.
type Named = (HashMap<u32, Vec<usize>>, Option<u32>);

/// What the profile's own words say of one call: an evaluation without any of
/// the compiler's structures.
struct Reading<'a> {
    profile: &'a Seccomp,
    default: u32,
    sets: &'a [SeccompArch],
    named: HashMap<SeccompArch, Named>,
}

impl<'a> Reading<'a> {
    fn of(profile: &'a Seccomp, sets: &'a [SeccompArch]) -> Self {
        let mut named = HashMap::new();
        for arch in sets {
            let mut calls: HashMap<u32, Vec<usize>> = HashMap::new();
            for (index, rule) in profile.syscalls.iter().enumerate() {
                for name in &rule.names {
                    if let Some(nr) = syscall_number(*arch, name) {
                        calls.entry(nr).or_default().push(index);
                    }
                }
            }
            let known = calls.keys().filter(|nr| *arch != A::Arm || **nr < 0xf0000);
            let newest = known.max().copied();
            named.insert(*arch, (calls, newest));
        }
        let default = ret(profile.default_action, profile.default_errno_ret);
        Self { profile, default, sets, named }
    }

    fn rules(&self, arch: SeccompArch, nr: u32) -> impl Iterator<Item = &SeccompSyscall> {
        let calls = self.named.get(&arch).and_then(|(calls, _)| calls.get(&nr));
        calls.into_iter().flatten().map(|index| &self.profile.syscalls[*index])
    }

    fn holds(arch: SeccompArch, arg: &SeccompArg, args: &[u64; 6]) -> bool {
        let width = if wide(arch) { u64::MAX } else { 0xffff_ffff };
        let (value, datum) = (args[arg.index as usize] & width, arg.value & width);
        match arg.op {
            SeccompOp::Ne => value != datum,
            SeccompOp::Lt => value < datum,
            SeccompOp::Le => value <= datum,
            SeccompOp::Eq => value == datum,
            SeccompOp::Ge => value >= datum,
            SeccompOp::Gt => value > datum,
            SeccompOp::MaskedEq => value & arg.value == arg.value_two & arg.value & width,
        }
    }

    /// Actions of the rules for this number that hold, or those of the first
    /// rule without conditions.
    fn actions(&self, arch: SeccompArch, nr: u32, args: &[u64; 6]) -> BTreeSet<u32> {
        let mut holding = BTreeSet::new();
        for rule in self.rules(arch, nr) {
            let action = ret(rule.action, rule.errno_ret);
            if action == self.default {
                continue;
            }
            let width = if wide(arch) { u64::MAX } else { 0xffff_ffff };
            let empty = |arg: &SeccompArg| arg.op == SeccompOp::MaskedEq && arg.value & width == 0;
            let repeats = (0..6).any(|n| rule.args.iter().filter(|a| a.index == n).count() > 1);
            let tests = |arg: &SeccompArg| Self::holds(arch, arg, args);
            let (always, holds) = match repeats {
                true => (rule.args.iter().any(empty), rule.args.iter().any(tests)),
                false => (rule.args.iter().all(empty), rule.args.iter().all(tests)),
            };
            if always {
                return BTreeSet::from([action]);
            }
            if holds {
                holding.insert(action);
            }
        }
        holding
    }

    /// Difference 1: calls newer than the profile are not implemented.
    fn newer(&self, arch: SeccompArch, nr: u32) -> Option<u32> {
        use SeccompAction::{Allow, Log, Trace};
        if matches!(self.profile.default_action, Allow | Log | Trace) {
            return None;
        }
        let newest = self.named.get(&arch)?.1?;
        if newest == 0 {
            return None;
        }
        let range = 0xf0000..0xf0010;
        let named = |nr: u32| {
            self.rules(arch, nr).any(|rule| ret(rule.action, rule.errno_ret) != self.default)
        };
        let private = arch == A::Arm && range.contains(&nr) && range.clone().any(named);
        let zero = nr == 0 && matches!(arch, A::S390 | A::S390x);
        let errno = match audit_arch(arch) & 0xffff {
            8 => 89,
            15 => 251,
            _ => 38,
        };
        ((nr > newest && !private) || zero).then_some(0x0005_0000 | errno)
    }

    /// The interface a number belongs to: x86_64 has two.
    fn interface(&self, arch: SeccompArch, nr: u32) -> Option<SeccompArch> {
        if audit_arch(arch) != audit_arch(A::X86_64) {
            return Some(arch);
        }
        let by = if nr >= 0x4000_0000 { A::X32 } else { A::X86_64 };
        self.sets.contains(&by).then_some(by)
    }

    /// The action of the first rule without conditions for a multiplexed call,
    /// where the profile says nothing of the multiplexer.
    fn multiplexed_plain(&self, arch: SeccompArch, data: &Data) -> Option<u32> {
        let socketcall = syscall_number(arch, "socketcall") == Some(data.nr);
        let multiplexer = if socketcall { "socketcall" } else { "ipc" };
        let name = match socketcall {
            true => *SOCKETCALL.get(usize::try_from(data.args[0].checked_sub(1)?).ok()?)?,
            false => IPC.iter().find(|(code, _)| *code == data.args[0])?.1,
        };
        let named = |rule: &SeccompSyscall, name: &str| rule.names.iter().any(|one| one == name);
        if self.profile.syscalls.iter().any(|rule| named(rule, multiplexer)) {
            return None;
        }
        let plain = |rule: &&SeccompSyscall| named(rule, name) && rule.args.is_empty();
        let action = |rule: &SeccompSyscall| ret(rule.action, rule.errno_ret);
        let mut actions = self.profile.syscalls.iter().filter(plain).map(action);
        actions.find(|action| *action != self.default)
    }

    /// Whether a rule says something of a call that socketcall or ipc make too.
    fn multiplexes(&self, arch: SeccompArch, nr: u32) -> bool {
        ["socketcall", "ipc"].iter().any(|name| syscall_number(arch, name) == Some(nr))
            && !self.rules(arch, nr).any(|rule| {
                rule.args.is_empty() && ret(rule.action, rule.errno_ret) != self.default
            })
    }
}

const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

const IPC: [(u64, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// The kernel's order, strictest first.
fn rank(ret: u32) -> i32 {
    (ret & 0xffff_0000).cast_signed()
}

#[derive(Default, Debug)]
struct Counts {
    profiles: usize,
    calls: usize,
    equal: usize,
    /// Difference 1.
    newer: usize,
    /// Difference 2: equal all the same, and stricter.
    multiplexed_equal: usize,
    multiplexed_stricter: usize,
    /// Difference 3: several rules with different actions hold.
    overlapping_equal: usize,
    overlapping_other: usize,
    /// Difference 4: libseccomp compares what an earlier test left in the accumulator.
    stale: usize,
    /// Rules libseccomp does not take.
    refused: usize,
    longest: usize,
}

/// Values for the arguments of a call that has conditions, else a few.
fn arguments(
    reading: &Reading<'_>,
    arch: SeccompArch,
    nr: u32,
    random: &mut Random,
) -> Vec<[u64; 6]> {
    let mut pool: Vec<Vec<u64>> = vec![vec![0]; 6];
    let mut conditional = false;
    for rule in reading.rules(arch, nr) {
        for arg in &rule.args {
            conditional = true;
            let of = &mut pool[arg.index as usize];
            for value in [arg.value, arg.value_two] {
                let high = value ^ 0x1_0000_0000;
                of.extend([value, value.wrapping_add(1), value.wrapping_sub(1), high]);
                of.extend([value & 0xffff_ffff, value | 0xffff_ffff_0000_0000, !value]);
            }
        }
    }
    let multiplexed = ["socketcall", "ipc"].iter().any(|n| syscall_number(arch, n) == Some(nr));
    if multiplexed {
        pool[0].extend(0..26);
        pool[0].extend([0x1_0000, 0x1_0001, 0x1_0015, 0x1_0000_0001]);
    }
    let tries = if conditional || multiplexed { 24 } else { 1 };
    let width = if wide(arch) { u64::MAX } else { 0xffff_ffff };
    let mut pick = |index: usize| match random.below(6) {
        0 => *random.pick(&VALUES) & width,
        _ => *random.pick(&pool[index]) & width,
    };
    (0..tries).map(|_| std::array::from_fn(&mut pick)).collect()
}

/// The profile less what libseccomp does not take.
fn without(profile: &Seccomp, refused: &BTreeSet<Part>) -> Seccomp {
    let mut left = Seccomp { syscalls: Vec::new(), ..profile.clone() };
    for (index, rule) in profile.syscalls.iter().enumerate() {
        if refused.range((index, 0, 0)..(index + 1, 0, 0)).next().is_none() {
            left.syscalls.push(rule.clone());
            continue;
        }
        for (position, name) in rule.names.iter().enumerate() {
            for (part, args) in parts(rule).into_iter().enumerate() {
                if !refused.contains(&(index, position, part)) {
                    let (names, args) = (vec![name.clone()], args.to_vec());
                    left.syscalls.push(SeccompSyscall { names, args, ..rule.clone() });
                }
            }
        }
    }
    left
}

/// One profile: libseccomp's program and ours, call by call.
fn compare(
    lib: &mut Libseccomp,
    profile: &Seccomp,
    arches: &[SeccompArch],
    random: &mut Random,
    counts: &mut Counts,
    context: &str,
) {
    let optimize = if profile.syscalls.len() > 2 { 1 + random.below(2) as u32 } else { 1 };
    let answer = lib.compile(profile, arches[0], optimize, big_endian(arches[0]));
    for (part, errno) in &answer.refused {
        assert_eq!(*errno, 17, "{context}: libseccomp refuses {part:?}");
    }
    counts.refused += answer.refused.len();
    let refused: BTreeSet<Part> = answer.refused.iter().map(|(part, _)| *part).collect();
    let profile = without(profile, &refused);
    let ours = compile(&profile, arches[0]).unwrap_or_else(|error| panic!("{context}: {error}"));
    let ours = decode(&ours.instructions);
    check(&ours).unwrap_or_else(|error| panic!("{context}: {error}"));
    counts.longest = counts.longest.max(ours.len());
    counts.profiles += 1;
    let reading = Reading::of(&profile, arches);
    let foreign = if big_endian(arches[0]) { A::M68k } else { A::Loongarch64 };
    for arch in arches.iter().copied().chain([foreign]) {
        for nr in numbers(arch) {
            for args in arguments(&reading, arch, nr, random) {
                let data = Data { arch: audit_arch(arch), nr, args, big_endian: big_endian(arch) };
                let call = format!("{context}: {} {nr:#x} {args:x?}", arch.name());
                let listed = arches.contains(&arch);
                one(&reading, &answer.program, &ours, &data, listed.then_some(arch), counts, &call);
            }
        }
    }
    for _ in 0..40 {
        let arch = *random.pick(arches);
        let nr = *random.pick(&numbers(arch));
        for args in arguments(&reading, arch, nr, random).into_iter().take(3) {
            let call = Call { arch: audit_arch(arch), number: nr, arguments: args };
            let data = Data { arch: call.arch, nr, args, big_endian: big_endian(arch) };
            let said = explain(&profile, arches[0], &call).expect("compiled before").ret;
            assert_eq!(said, run(&ours, &data).0, "{context}: explain {call:x?}");
        }
    }
}

fn one(
    reading: &Reading<'_>,
    theirs: &[Instruction],
    ours: &[Instruction],
    data: &Data,
    arch: Option<SeccompArch>,
    counts: &mut Counts,
    call: &str,
) {
    counts.calls += 1;
    let (lib, ours) = (run(theirs, data).0, run(ours, data).0);
    let Some(arch) = arch.and_then(|arch| reading.interface(arch, data.nr)) else {
        assert_eq!(ours, lib, "{call}");
        counts.equal += 1;
        return;
    };
    if let Some(newer) = reading.newer(arch, data.nr) {
        assert_eq!(ours, newer, "{call}: newer than the profile");
        counts.newer += 1;
        return;
    }
    if reading.multiplexes(arch, data.nr) {
        if let Some(plain) = reading.multiplexed_plain(arch, data) {
            assert_eq!(ours, plain, "{call}: the call's rule without conditions");
            if lib == ours {
                counts.multiplexed_equal += 1;
            } else {
                counts.stale += 1;
            }
            return;
        }
        let several = reading.rules(arch, data.nr).count() > 1;
        let holding = reading.actions(arch, data.nr, &data.args);
        // Where argument 0 names no call of the profile's, nothing is derived.
        let code = data.args[0] & 0xffff;
        let call_name = match syscall_number(arch, "ipc") == Some(data.nr) {
            true => IPC.iter().find(|(of, _)| *of == code).map(|(_, name)| *name),
            false => SOCKETCALL.get((code as usize).wrapping_sub(1)).copied(),
        };
        let named = call_name.is_some_and(|name| {
            let mut names = reading.profile.syscalls.iter().flat_map(|rule| &rule.names);
            names.any(|one| one == name)
        });
        let nothing = holding.is_empty() && !named && ours == reading.default;
        if rank(ours) > rank(lib) && several && (holding.contains(&ours) || nothing) {
            counts.stale += 1;
            return;
        }
        assert!(rank(ours) <= rank(lib), "{call}: {ours:x} is weaker than {lib:x}");
        if ours == lib {
            counts.multiplexed_equal += 1;
        } else {
            counts.multiplexed_stricter += 1;
        }
        return;
    }
    let holding = reading.actions(arch, data.nr, &data.args);
    if holding.len() > 1 {
        assert!(holding.contains(&ours), "{call}: {ours:x} is of no rule that holds");
        if ours == lib {
            counts.overlapping_equal += 1;
        } else {
            counts.overlapping_other += 1;
        }
        return;
    }
    let said = holding.first().copied().unwrap_or(reading.default);
    assert_eq!(ours, said, "{call}: the profile says {said:x}");
    if ours != lib && reading.rules(arch, data.nr).any(|rule| !rule.args.is_empty()) {
        counts.stale += 1;
        return;
    }
    let rules: Vec<_> = reading.rules(arch, data.nr).map(|r| (r.action, &r.args)).collect();
    assert_eq!(ours, lib, "{call}: libseccomp says {lib:x} of {rules:?}");
    counts.equal += 1;
}

/// Names whose numbers libseccomp has as we do on all of `arches`.
fn agreed(
    lib: &mut Libseccomp,
    arches: &[SeccompArch],
    names: &[&'static str],
) -> Vec<&'static str> {
    let mut same = |name: &&&str| {
        arches.iter().all(|arch| match (lib.number(*arch, name), syscall_number(*arch, name)) {
            (Some(theirs), ours) if theirs >= 0 => ours == Some(theirs.cast_unsigned()),
            // Multiplexed there; tables.rs compares the direct numbers.
            (Some(theirs), ours) => ours.is_none() || theirs > -300,
            (None, _) => false,
        })
    };
    names.iter().filter(&mut same).copied().collect()
}

fn lib_names(
    lib: &mut Libseccomp,
    arches: &[SeccompArch],
    profile: &Seccomp,
) -> BTreeSet<&'static str> {
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    let known = |name: &String| {
        let named = |arch: &SeccompArch| {
            let nr = syscall_number(*arch, name)?;
            husk_seccomp::syscall_name(*arch, nr)
        };
        SeccompArch::ALL.iter().find_map(named)
    };
    let names: Vec<&'static str> = names.filter_map(known).collect();
    agreed(lib, arches, &names).into_iter().collect()
}

#[test]
fn dockers_default_profile() {
    default_profile(&DOCKER);
}

#[test]
fn podmans_default_profile() {
    default_profile(&PODMAN);
}

fn default_profile(engine: &Engine) {
    let Some(source) = engine.source() else { return };
    let Some(mut lib) = Libseccomp::start() else { return };
    let mut random = Random(1);
    for arches in [SETS[0], SETS[5], SETS[6], SETS[7], SETS[8]] {
        for (variant, mut profile) in support::engine::profiles(&source, arches[0]) {
            let mut counts = Counts::default();
            // Docker's has no map for riscv64 and the like.
            if profile.architectures.len() == 1 {
                profile.architectures = arches.to_vec();
            }
            let arches = profile.architectures.clone();
            let known: BTreeSet<&str> = lib_names(&mut lib, &arches, &profile);
            let mut left_out = BTreeSet::new();
            for rule in &mut profile.syscalls {
                rule.names.retain(|name| {
                    let keep = known.contains(name.as_str());
                    if !keep {
                        left_out.insert(name.clone());
                    }
                    keep
                });
            }
            profile.syscalls.retain(|rule| !rule.names.is_empty());
            let context = format!("{}{variant} on {}", engine.name, arch_name(arches[0]));
            compare(&mut lib, &profile, &arches, &mut random, &mut counts, &context);
            println!("{context}: {counts:?}; libseccomp knows otherwise {left_out:?}");
            assert!(counts.equal > 1000);
        }
    }
}

#[test]
fn random_profiles() {
    let Some(mut lib) = Libseccomp::start() else { return };
    let per_set: u64 = match std::env::var("HUSK_SECCOMP_PROFILES") {
        Ok(count) => count.parse().expect("HUSK_SECCOMP_PROFILES: a number"),
        Err(_) => 72,
    };
    let mut counts = Counts::default();
    for (index, arches) in SETS.iter().enumerate() {
        let names = agreed(&mut lib, arches, &support::NAMES);
        assert!(names.len() > 60, "{}: {} names", arches[0].name(), names.len());
        for seed in 0..per_set {
            let mut random = Random(seed << 8 | index as u64);
            let profile = random::profile(&mut random, arches, &names);
            let context = format!("set {index} seed {seed}");
            compare(&mut lib, &profile, arches, &mut random, &mut counts, &context);
        }
        println!("set {index}: {} profiles and {} calls so far", counts.profiles, counts.calls);
    }
    println!("random profiles: {counts:?}");
    assert!(counts.equal > counts.calls / 4 && counts.overlapping_equal > 0);
    assert!(counts.stale < counts.equal / 100);
}

#[test]
fn contradiction_is_refused_as_by_libseccomp() {
    let Some(mut lib) = Libseccomp::start() else { return };
    let profile: Seccomp = serde_json::from_str(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
            {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
    )
    .expect("a profile");
    let answer = lib.compile(&profile, A::X86_64, 1, false);
    assert_eq!(answer.refused, [((1, 0, 0), 17)]);
    let error = compile(&profile, A::X86_64).expect_err("contradictory");
    assert!(matches!(error, CompileError::Contradiction { rule: 1, first: 0, .. }), "{error}");
}
