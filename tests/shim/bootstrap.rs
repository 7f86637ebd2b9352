//! `start`, `-info` and `-v` for every version of containerd.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use husk_shim::message::bootstrap::{BootstrapParams, RuntimeInfo};
use husk_tests::case::Case;
use husk_tests::event::Process;
use prost::Message;

use crate::daemon::*;

#[test]
fn each_version_gets_its_form_of_answer() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "true");
    let old = call_start(&case, &bundle, &events).arg("start").ok();
    let address = old.text().strip_prefix("unix:///").expect("a bare address").to_owned();
    assert_eq!(address.rsplit('/').next().unwrap().len(), 64);
    let path = std::path::PathBuf::from(format!("/{address}"));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = std::fs::read_to_string(bundle.dir().join("address")).unwrap();
    assert_eq!(written, format!("unix:///{address}"));
    // The same group finds the same shim.
    let params = BootstrapParams {
        instance_id: bundle.id().to_owned(),
        namespace: "test".to_owned(),
        ..BootstrapParams::default()
    };
    let input = case.path("params");
    std::fs::write(&input, params.encode_to_vec()).unwrap();
    let new = call_start(&case, &bundle, &events)
        .arg("start")
        .stdin(std::fs::File::open(&input).unwrap())
        .ok();
    let answer: serde_json::Value = serde_json::from_str(&new.stdout).unwrap();
    assert_eq!(answer["version"], 3);
    assert_eq!(answer["address"], format!("unix:///{address}"));
    Shim::connect(&path).shut_down();
}

#[test]
fn containers_of_a_pod_share_a_shim() {
    let case = Case::new();
    let events = Events::new(&case);
    let mut bundles = [bundle(&case, "read x < /never"), bundle(&case, "exit 2")];
    for bundle in &mut bundles {
        bundle.set("/annotations/io.kubernetes.cri.sandbox-id", case.marker());
    }
    let shims = bundles.each_ref().map(|bundle| Shim::start(&case, bundle, &events));
    assert_eq!(shims[0].pid, shims[1].pid);
    let [shim, other] = shims;
    drop(other);
    for bundle in &bundles {
        shim.create(bundle, "").unwrap();
        shim.begin(bundle.id(), "").unwrap();
    }
    assert_eq!(shim.wait(bundles[1].id(), ""), 2);
    shim.delete(bundles[1].id(), "").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid)).unwrap();
    assert!(status.contains("Threads:\t1\n"), "{status}");
    shim.kill(bundles[0].id(), "", 9).unwrap();
    shim.wait(bundles[0].id(), "");
    shim.delete(bundles[0].id(), "").unwrap();
    shim.shut_down();
}

#[test]
fn a_dead_shims_socket_is_taken_over() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "true");
    let dead = Shim::start(&case, &bundle, &events);
    let process = Process::open(dead.pid);
    let pid = rustix::process::Pid::from_raw(dead.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    process.wait();
    assert!(dead.address.exists());
    let shim = Shim::start(&case, &bundle, &events);
    assert_eq!(shim.address, dead.address);
    assert_ne!(shim.pid, dead.pid);
    shim.shut_down();
}

#[test]
fn what_cannot_start_leaves_no_shim() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "true");
    let options = case.path("options");
    std::fs::write(&options, [0xff; 9]).unwrap();
    call_start(&case, &bundle, &events)
        .arg("start")
        .stdin(std::fs::File::open(&options).unwrap())
        .output()
        .refused_in_one_line(&["standard input"]);
    let start = call_start(&case, &bundle, &events);
    std::fs::remove_file(bundle.dir().join("config.json")).unwrap();
    start.arg("start").output().refused_in_one_line(&["config.json"]);
    case.program(&program().display().to_string())
        .args(["-nonsense", "start"])
        .output()
        .refused_in_one_line(&["unknown flag -nonsense"]);
    case.program(&program().display().to_string())
        .output()
        .refused_in_one_line(&["not a listening socket"]);
}

#[test]
fn information_names_the_features() {
    let case = Case::new();
    let output =
        std::process::Command::new(program()).arg("-info").stdin(Stdio::null()).output().unwrap();
    let info = RuntimeInfo::decode(output.stdout.as_slice()).unwrap();
    assert_eq!(info.name, "io.containerd.husk.v2");
    let features: serde_json::Value =
        serde_json::from_slice(&info.features.unwrap().value).unwrap();
    assert!(features["ociVersionMax"].is_string(), "{features}");
    let version = case.program(&program().display().to_string()).arg("-v").ok();
    assert!(version.text().starts_with("containerd-shim-husk-v2 "));
}
