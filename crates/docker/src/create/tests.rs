use husk_engine::container::request::{MountSource, PullPolicy};
use serde_json::{Value, json};

use super::*;

fn read(body: &Value) -> Result<ContainerRequest> {
    container_request(body)
}

fn refused(body: &Value) -> String {
    read(body).unwrap_err().to_string()
}

/// What `docker run alpine true` of docker 28 sends.
fn of_the_command_line() -> Value {
    let mut body = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": true,
        "AttachStderr": true, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null,
        "Cmd": ["true"], "Image": "alpine", "Volumes": {}, "WorkingDir": "", "Entrypoint": null,
        "OnBuild": null, "Labels": {},
        "NetworkingConfig": { "EndpointsConfig": { "default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "",
            "DriverOpts": null, "GwPriority": 0, "NetworkID": "", "EndpointID": "", "Gateway": "",
            "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "DNSNames": null,
        } } },
    });
    let host_config = r#"{
        "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "", "Config": {} },
        "NetworkMode": "default", "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "AutoRemove": false,
        "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [],
        "ExtraHosts": null, "GroupAdd": null, "IpcMode": "", "Cgroup": "", "Links": null,
        "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
        "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0,
        "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
        "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
        "CpusetCpus": "", "CpusetMems": "", "Devices": [], "DeviceCgroupRules": null,
        "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
        "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
        "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null
    }"#;
    body["HostConfig"] = serde_json::from_str(host_config).unwrap();
    body
}

#[test]
fn what_the_command_line_sends_asks_for_nothing_more() {
    let request = read(&of_the_command_line()).unwrap();
    assert_eq!(
        (request.image.as_str(), request.cmd.as_slice()),
        ("alpine", &["true".to_owned()][..])
    );
    assert_eq!(request.entrypoint, None);
    assert!(request.networks.is_empty(), "{:?}", request.networks);
    let limits = request.host_config.limits.checked().unwrap();
    assert_eq!(limits, husk_engine::container::config::Limits::default());
    assert_eq!(request.pull, PullPolicy::Missing, "that is not the body's to say");
}

#[test]
fn fields_of_both_parts() {
    let request = read(&json!({
        "Image": "a", "Cmd": "one word", "Entrypoint": [""], "Env": ["A=1", "B"],
        "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} }, "User": "1:2",
        "StopTimeout": 3,
        "HostConfig": {
            "Memory": 8_388_608, "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": -1 }],
            "Mounts": [
                { "Type": "bind", "Source": "/s", "Target": "/t", "ReadOnly": true,
                  "BindOptions": { "NonRecursive": true } },
                { "Type": "tmpfs", "Target": "/m",
                  "TmpfsOptions": { "SizeBytes": 4096, "Mode": 0o1777 } },
            ],
            "PortBindings": { "80/tcp": [
                { "HostIp": "", "HostPort": "8080" }, { "HostIp": "::1", "HostPort": "" },
            ] },
            "MaskedPaths": [], "ReadonlyPaths": [], "NetworkMode": "app", "Dns": ["1.1.1.1"],
        },
        "NetworkingConfig": { "EndpointsConfig": {
            "aaa": null,
            "app": { "Aliases": ["db"], "IPAMConfig": { "IPv4Address": "10.9.0.7" } },
        } },
    }));
    let request = request.unwrap();
    assert_eq!(request.entrypoint, Some(Vec::new()));
    assert_eq!(request.cmd, ["one word"]);
    assert_eq!((request.volumes, request.stop_timeout), (vec!["/data".to_owned()], Some(3)));
    let networks: Vec<&str> = request.networks.iter().map(|one| one.network.as_str()).collect();
    assert_eq!(networks, ["app", "aaa"]);
    assert_eq!(request.networks[0].aliases, ["db"]);
    assert_eq!(request.networks[0].addresses, ["10.9.0.7".parse::<std::net::IpAddr>().unwrap()]);
    let host = request.host_config;
    assert_eq!((host.ulimits[0].soft, host.ulimits[0].hard), (1, u64::MAX));
    let ports: Vec<String> = host.port_bindings.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["8080:80/tcp", "[::1]::80/tcp"]);
    assert_eq!(host.security_opt, ["systempaths=unconfined"]);
    let options = Vec::new();
    let tmpfs = MountSource::Tmpfs { size: Some(4096), mode: Some("1777".to_owned()), options };
    assert_eq!(host.mounts[1].source, tmpfs);
}

#[test]
fn default_and_bridge_are_one_network() {
    for (mode, key) in [("default", "bridge"), ("bridge", "default"), ("", "bridge")] {
        let body = json!({
            "HostConfig": { "NetworkMode": mode },
            "NetworkingConfig": { "EndpointsConfig": { key: {} } },
        });
        assert!(read(&body).unwrap().networks.is_empty(), "{body}");
    }
    let host = read(&json!({ "HostConfig": { "NetworkMode": "host" } })).unwrap();
    assert_eq!(host.networks[0].network, "host");
}

#[test]
fn what_is_not_understood_is_refused_by_its_path() {
    let cases = [
        (json!({ "Env": ["A=1", 2] }), "Env[1]: must be a string"),
        (json!({ "Tty": "yes" }), "Tty: must be true or false"),
        (json!({ "HostConfig": { "CpuCount": 2 } }), "HostConfig.CpuCount: is not supported"),
        (
            json!({ "HostConfig": { "DeviceRequests": [{ "Driver": "nvidia" }] } }),
            "HostConfig.DeviceRequests: is not supported",
        ),
        (
            json!({ "HostConfig": { "Mounts": [
                { "Type": "volume", "Target": "/x", "VolumeOptions": { "Subpath": "a" } },
            ] } }),
            "HostConfig.Mounts[0].VolumeOptions.Subpath: is not supported",
        ),
        (
            json!({ "HostConfig": { "Mounts": [{ "Type": "npipe" }] } }),
            "HostConfig.Mounts[0].Type: invalid type \"npipe\": must be bind, volume or tmpfs",
        ),
        (
            json!({ "NetworkingConfig": { "EndpointsConfig": { "app": { "Links": ["a:b"] } } } }),
            "NetworkingConfig.EndpointsConfig.app.Links: is not supported",
        ),
        (
            json!({ "HostConfig": { "Dns": ["here"] } }),
            "HostConfig.Dns[0]: \"here\" is not an IP address",
        ),
        (json!({ "HostConfig": { "ShmSize": -1 } }), "HostConfig.ShmSize: must not be negative"),
    ];
    for (body, expected) in cases {
        assert_eq!(refused(&body), expected, "{body}");
    }
    let bad = container_request(&json!([])).unwrap_err().to_string();
    assert_eq!(bad, "body: must be a JSON object");
    let port = refused(&json!({ "HostConfig": { "PortBindings": { "0/tcp": [] } } }));
    assert!(port.starts_with("HostConfig.PortBindings.0/tcp: "), "{port}");
}
