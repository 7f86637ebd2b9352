//! The fuzz target `config`, bounded and repeatable.

#[path = "../../../fuzz/src/config.rs"]
mod config;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;

const SEED: &str = r#"{"ociVersion":"1.2.0","root":{"path":"rootfs","readonly":true},
"process":{"terminal":true,"consoleSize":{"height":25,"width":80},"user":{"uid":1,"gid":1,
"additionalGids":[5,6]},"args":["sh"],"env":["PATH=/bin"],"cwd":"/","noNewPrivileges":true,
"rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],
"capabilities":{"bounding":["CAP_KILL"],"ambient":[]}},"hostname":"h",
"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]}],
"hooks":{"prestart":[{"path":"/bin/true","args":["true"],"timeout":1}]},
"annotations":{"a":"b"},"linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],
"sysctl":{"net.ipv4.ip_forward":"1"},"cgroupsPath":"/a","resources":{"memory":{"limit":-1},
"pids":{"limit":5},"cpu":{"shares":10,"cpus":"0-1"},"devices":[{"allow":false,"access":"rwm"}]},
"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"}],
"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"},"maskedPaths":["/proc/kcore"]}}"#;

const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1e9",
    "4294967296",
    "18446744073709551616",
    "9223372036854775808",
    "null",
    "true",
    "\"x\"",
    "[]",
    "{}",
    "[[[[[[[[",
    "\\u0000",
    "\\ud800",
    "resources",
    "\"annotations\":{},",
];

#[test]
fn any_config_reads_the_same_once_written() {
    let mut state = 7_u64;
    let mut random = || {
        // Xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let count = 10_000;
    let mutations = (0..count).map(|_| mutate::mutate(SEED, &WORDS, &mut random));
    let parsed = mutations.filter(|bytes| config::check(bytes)).count();
    println!("{parsed} of {count} mutations parse");
    assert!(parsed > count / 100 && parsed < count);
}
