//! The fuzz target `seccomp`, bounded and repeatable.

mod support;

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/seccomp.rs"]
mod seccomp;

use support::machine;
use support::random::Random;

const SEED: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"flags":[],
"listenerPath":"/run/agent","syscalls":[
{"names":["read","write","socketcall","ipc"],"action":"SCMP_ACT_ALLOW"},
{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,
 "args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":2,"value":9,"op":"SCMP_CMP_NE"}]},
{"names":["personality","shmget"],"action":"SCMP_ACT_LOG",
 "args":[{"index":0,"value":4294967296,"op":"SCMP_CMP_GE"}]},
{"names":["personality","clone"],"action":"SCMP_ACT_ALLOW",
 "args":[{"index":0,"value":2114060288,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;

const WORDS: [&str; 38] = [
    "0",
    "1",
    "5",
    "6",
    "255",
    "4096",
    "2147483648",
    "4294967295",
    "4294967297",
    "18446744073709551615",
    "-1",
    "1.5",
    "null",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_ALLOW",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_GT",
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_X32",
    "set_tls",
    "socketcall",
    "socket",
    "restart_syscall",
    "execve",
    "mseal",
    "ptrace",
    "\"read\",",
    "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_TRAP\"},",
];

#[test]
fn any_profile_gives_a_sound_program_or_an_error() {
    let mut random = Random(4);
    let count = 4000;
    let compiled =
        (0..count).filter(|_| seccomp::check(&mutate::mutate(SEED, &WORDS, || random.next())));
    let compiled = compiled.count();
    println!("{compiled} of {count} mutations compile");
    assert!(compiled > count / 10 && compiled < count);
}
