//! What is planned for every controller on every layout, as text.
#![allow(clippy::unwrap_used, reason = "a test's failure")]

use std::collections::BTreeMap;

use husk_cgroup::{Delegated, Hierarchy, Layout, Manager, Request, Unified, plan};
use husk_spec::Resources;

const V1: [&str; 11] = [
    "cpuset",
    "cpu,cpuacct",
    "memory",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls,net_prio",
    "rdma",
    "devices",
    "freezer",
    "name=systemd",
];
const V2: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

fn v1() -> Layout {
    let hierarchy = |names: &&str| Hierarchy {
        own: None,
        controllers: names.split(',').map(str::to_owned).collect(),
        mount: format!("/cg/{}", names.trim_start_matches("name=")).into(),
        read_only: false,
    };
    Layout { v1: V1.iter().map(hierarchy).collect(), ..Layout::default() }
}

fn v2() -> Layout {
    let unified = Unified {
        mount: "/cg".into(),
        controllers: V2.map(str::to_owned).to_vec(),
        ..Unified::default()
    };
    Layout { v1: Vec::new(), v2: Some(unified) }
}

/// v1 controllers, and hugetlb left to v2.
fn hybrid() -> Layout {
    let mut layout = v1();
    layout.v1.retain(|hierarchy| hierarchy.controllers != ["hugetlb"]);
    let controllers = vec!["hugetlb".to_owned()];
    layout.v2 = Some(Unified { mount: "/cg/unified".into(), controllers, ..Unified::default() });
    layout
}

fn planned(layout: &Layout, resources: &str) -> Result<Vec<String>, String> {
    let resources: Resources = serde_json::from_str(resources).unwrap();
    let annotations = BTreeMap::new();
    let request = Request {
        manager: Manager::Cgroupfs,
        id: "c1",
        cgroups_path: Some("/pod/c1"),
        resources: Some(&resources),
        annotations: &annotations,
        rootless: false,
        intel_rdt: None,
    };
    let text = plan(&request, layout).map_err(|error| error.to_string())?.describe();
    Ok(text.lines().map(str::to_owned).collect())
}

/// The writes of a plan, devices left out.
fn writes(layout: &Layout, resources: &str) -> Vec<String> {
    let lines = planned(layout, resources).unwrap_or_else(|error| vec![format!("error {error}")]);
    let left_out = ["mkdir", "v1 devices.", "v2 device filter"];
    let other = |line: &String| !left_out.iter().any(|start| line.starts_with(start));
    lines.into_iter().filter(other).collect()
}

#[test]
fn directories() {
    let only = |layout: &Layout| -> Vec<String> {
        let lines = planned(layout, r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#);
        lines.unwrap().into_iter().filter(|line| line.starts_with("mkdir")).collect()
    };
    let all: Vec<String> = V1
        .iter()
        .map(|names| format!("mkdir /cg/{}/pod/c1", names.trim_start_matches("name=")))
        .collect();
    assert_eq!(only(&v1()), all);
    let enable = r#"["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"]"#;
    assert_eq!(only(&v2()), [format!("mkdir /cg/pod/c1 enable {enable}")]);
    let hybrid = only(&hybrid());
    assert_eq!(hybrid.last().unwrap(), r#"mkdir /cg/unified/pod/c1 enable ["hugetlb"]"#);
    assert_eq!(hybrid.len(), V1.len());
}

#[test]
fn memory() {
    let json = r#"{"memory":{"limit":200,"swap":300,"reservation":100,"swappiness":60}}"#;
    assert_eq!(
        writes(&v1(), json),
        [
            "v1 memory.limit_in_bytes=200",
            "v1 memory.memsw.limit_in_bytes=300",
            "v1 memory.soft_limit_in_bytes=100",
            "v1 memory.swappiness=60",
        ]
    );
    assert_eq!(
        writes(&v2(), json),
        [
            "v2 memory.max=200",
            "v2 memory.swap.max=100",
            "v2 memory.low=100",
            "warning linux.resources.memory.swappiness: 60: has no effect on cgroup v2",
        ]
    );
    let none = r#"{"memory":{"limit":-1}}"#;
    assert_eq!(
        writes(&v1(), none),
        ["v1 memory.limit_in_bytes=-1", "v1 memory.memsw.limit_in_bytes=-1"]
    );
    assert_eq!(writes(&v2(), none), ["v2 memory.max=max", "v2 memory.swap.max=max"]);
    assert_eq!(
        writes(
            &v2(),
            r#"{"memory":{"kernel":5,"kernelTCP":6,"disableOOMKiller":true,
            "useHierarchy":true}}"#
        ),
        [
            "warning linux.resources.memory.kernel: 5: has no effect on cgroup v2",
            "warning linux.resources.memory.kernelTCP: 6: has no effect on cgroup v2",
            "warning linux.resources.memory.disableOOMKiller: true: has no effect on cgroup v2",
        ]
    );
    for layout in [v1(), v2()] {
        assert_eq!(
            writes(&layout, r#"{"memory":{"limit":200,"swap":100}}"#),
            ["error linux.resources.memory.swap: 100: is memory and swap together, less than \
              the memory limit of 200"]
        );
        assert_eq!(
            writes(&layout, r#"{"memory":{"limit":-2}}"#),
            ["error linux.resources.memory.limit: -2: must be -1 (no limit) or not negative"]
        );
        let swappiness = writes(&layout, r#"{"memory":{"swappiness":101}}"#);
        assert_eq!(swappiness, ["error linux.resources.memory.swappiness: 101: must be 0 to 100"]);
    }
}

#[test]
fn cpu_and_cpuset() {
    let json = r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"burst":1000,
        "cpus":"0-1","mems":"0"}}"#;
    assert_eq!(
        writes(&v1(), json),
        [
            "v1 cpuset.cpus=0-1",
            "v1 cpuset.mems=0",
            "v1 cpu.shares=1024",
            "v1 cpu.cfs_period_us=100000",
            "v1 cpu.cfs_quota_us=50000",
            "v1 cpu.cfs_burst_us=1000",
        ]
    );
    assert_eq!(
        writes(&v2(), json),
        [
            "v2 cpuset.cpus=0-1",
            "v2 cpuset.mems=0",
            "v2 cpu.weight=100",
            "v2 cpu.max=50000 100000",
            "v2 cpu.max.burst=1000",
        ]
    );
    assert_eq!(writes(&v2(), r#"{"cpu":{"quota":-1}}"#), ["v2 cpu.max=max"]);
    assert_eq!(writes(&v2(), r#"{"cpu":{"period":7}}"#), ["v2 cpu.max=max 7"]);
    let realtime = r#"{"cpu":{"realtimeRuntime":950,"realtimePeriod":1000,"idle":0}}"#;
    assert_eq!(
        writes(&v1(), realtime),
        ["v1 cpu.idle=0", "v1 cpu.rt_period_us=1000", "v1 cpu.rt_runtime_us=950"]
    );
    assert_eq!(
        writes(&v2(), realtime),
        ["error linux.resources.cpu.realtimePeriod: 1000: needs cpu.rt_period_us of the cpu \
          controller: cgroup v2 has no realtime shares"]
    );
    assert_eq!(
        writes(&v1(), r#"{"cpu":{"shares":1}}"#),
        ["error linux.resources.cpu.shares: 1: must be 2 to 262144"]
    );
    assert_eq!(
        writes(&v2(), r#"{"cpu":{"idle":2}}"#),
        ["error linux.resources.cpu.idle: 2: must be 0 or 1"]
    );
}

#[test]
fn pids() {
    for layout in [v1(), v2(), hybrid()] {
        let version = if layout.v1.is_empty() { "v2" } else { "v1" };
        for (limit, value) in [("5", "5"), ("0", "1"), ("-1", "max")] {
            let json = format!(r#"{{"pids":{{"limit":{limit}}}}}"#);
            assert_eq!(writes(&layout, &json), [format!("{version} pids.max={value}")]);
        }
        let error = writes(&layout, r#"{"pids":{"limit":-7}}"#);
        assert!(error[0].starts_with("error linux.resources.pids.limit: -7: "), "{error:?}");
    }
}

#[test]
fn block_io() {
    let json = r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":1000}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#;
    assert_eq!(
        writes(&v1(), json),
        [
            "v1 blkio.bfq.weight=500",
            "v1   else blkio.weight=500",
            "v1 blkio.bfq.weight_device=8:0 1000",
            "v1   else blkio.weight_device=8:0 1000",
            "v1 blkio.throttle.read_bps_device=8:0 7",
            "v1 blkio.throttle.write_iops_device=8:16 0",
        ]
        .map(str::to_owned)
    );
    assert_eq!(
        writes(&v2(), json),
        [
            "v2 io.bfq.weight=500",
            "v2   else io.weight=4950",
            "v2 io.bfq.weight=8:0 1000",
            "v2   else io.weight=8:0 10000",
            "v2 io.max=8:0 rbps=7",
            "v2 io.max=8:16 wiops=max",
        ]
    );
    let leaf = r#"{"blockIO":{"leafWeight":10}}"#;
    assert_eq!(writes(&v1(), leaf), ["v1 blkio.leaf_weight=10"]);
    assert!(writes(&v2(), leaf)[0].starts_with("error linux.resources.blockIO.leafWeight: 10"));
    for json in [
        r#"{"blockIO":{"weight":9}}"#,
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":7}]}}"#,
    ] {
        assert!(writes(&v1(), json)[0].starts_with("error linux.resources.blockIO."));
    }
}

#[test]
fn huge_pages() {
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":9}]}"#;
    assert_eq!(
        writes(&v1(), json),
        ["v1 hugetlb.2MB.limit_in_bytes=9", "v1 hugetlb.2MB.rsvd.limit_in_bytes=9"]
    );
    let unified = ["v2 hugetlb.2MB.max=9", "v2 hugetlb.2MB.rsvd.max=9"];
    assert_eq!(writes(&v2(), json), unified);
    assert_eq!(writes(&hybrid(), json), unified);
    for size in ["2M", "MB", "../2MB", "02MB", "2.MB"] {
        let json = format!(r#"{{"hugepageLimits":[{{"pageSize":"{size}","limit":9}}]}}"#);
        assert!(writes(&v2(), &json)[0].contains("pageSize"), "{size}");
    }
}

#[test]
fn network_and_rdma() {
    let json = r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]}}"#;
    assert_eq!(writes(&v1(), json), ["v1 net_cls.classid=1048577", "v1 net_prio.ifpriomap=eth0 5"]);
    assert_eq!(
        writes(&v2(), json),
        ["error linux.resources.network.classID: 1048577: needs net_cls.classid of the net_cls \
          controller: no v1 hierarchy has it, and cgroup v2 has no such controller"]
    );
    let json = r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#;
    for (layout, version) in [(v1(), "v1"), (v2(), "v2")] {
        let expected = format!("{version} rdma.max=mlx5_1 hca_handle=3 hca_object=10000");
        assert_eq!(writes(&layout, json), [expected]);
        assert!(writes(&layout, r#"{"rdma":{"a b":{"hcaHandles":3}}}"#)[0].starts_with("error"));
    }
}

#[test]
fn unified() {
    let json = r#"{"unified":{"memory.high":"7","io.max":"8:0 rbps=1\n8:16 wbps=2",
        "misc.max":"res_a 1","cgroup.max.depth":"3"}}"#;
    assert_eq!(
        writes(&v2(), json),
        [
            "v2 cgroup.max.depth=3",
            "v2 io.max=8:0 rbps=1",
            "v2 io.max=8:16 wbps=2",
            "v2 memory.high=7",
            "v2 misc.max=res_a 1",
        ]
    );
    for (layout, key) in [
        (v2(), "../memory.high"),
        (v2(), "memory"),
        (v2(), "cgroup.procs"),
        (v2(), "nothing.max"),
        (v1(), "memory.high"),
        (hybrid(), "memory.high"),
    ] {
        let json = format!(r#"{{"unified":{{"{key}":"1"}}}}"#);
        let error = writes(&layout, &json);
        let start = format!("error linux.resources.unified.{key}: ");
        assert!(error[0].starts_with(&start), "{error:?}");
    }
}

#[test]
fn devices() {
    let lines = planned(&v1(), r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
    let writes: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("v1 devices.")).collect();
    assert_eq!(
        writes,
        [
            "deny=a",
            "allow=c *:* m",
            "allow=b *:* m",
            "allow=c 1:3 rwm",
            "allow=c 1:5 rwm",
            "allow=c 1:7 rwm",
            "allow=c 1:8 rwm",
            "allow=c 1:9 rwm",
            "allow=c 5:0 rwm",
            "allow=c 5:2 rwm",
            "allow=c 136:* rwm",
            "allow=c 10:200 rwm",
        ]
    );
    let lines = planned(&v1(), r#"{"devices":[{"allow":true}]}"#).unwrap();
    assert!(lines.contains(&"v1 devices.allow=a".to_owned()));
    let lines = planned(&v2(), "{}").unwrap();
    assert!(lines.last().unwrap().starts_with("v2 device filter of "), "{lines:?}");
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let mut layout = v2();
    layout.v2.as_mut().unwrap().controllers.retain(|name| name != "memory");
    assert_eq!(
        planned(&layout, r#"{"memory":{"limit":1}}"#).unwrap_err(),
        "linux.resources.memory: set: needs memory.max of the memory controller: no hierarchy \
         has it here (cgroup v2, v2: cpuset cpu io hugetlb pids rdma misc)"
    );
    let unified = layout.v2.as_mut().unwrap();
    unified.delegated =
        Some(Delegated { base: Some("/user".into()), missing: vec!["memory".into()] });
    let error = planned(&layout, r#"{"memory":{"limit":1}}"#).unwrap_err();
    for part in ["not delegated to this user: memory", "user@.service.d", "Delegate=cpu"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn no_hierarchy() {
    let annotations = BTreeMap::new();
    let resources: Resources = serde_json::from_str(r#"{"pids":{"limit":1}}"#).unwrap();
    let mut request = Request {
        manager: Manager::Cgroupfs,
        id: "c1",
        cgroups_path: None,
        resources: None,
        annotations: &annotations,
        rootless: true,
        intel_rdt: None,
    };
    let plan_of = |request: &Request| plan(request, &Layout::default());
    assert!(plan_of(&request).unwrap().warnings()[0].starts_with("no cgroup is made: "));
    request.resources = Some(&resources);
    assert!(plan_of(&request).is_err());
    request.manager = Manager::Disabled;
    assert_eq!(
        plan_of(&request).unwrap_err().to_string(),
        "linux.resources: --cgroup-manager disabled: limits cannot be kept without a cgroup"
    );
    request.resources = None;
    request.rootless = false;
    assert!(plan_of(&request).is_ok());
    request.manager = Manager::Cgroupfs;
    assert!(plan_of(&request).is_err());
}
