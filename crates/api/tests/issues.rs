//! What others' servers of this API got wrong, each named after the issue that told of it: what
//! containers, networks and images look like to their clients. Streams are in issues_streams.rs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use serde_json::{Value, json};
use support::{networked, server};

const NONE: Value = Value::Null;

fn encode(value: &Value) -> String {
    value.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Needs API 1.44 (Docker's command 29.0).
#[test]
fn podman_27890_the_newest_command_connects() {
    let server = server!();
    let ping = server.request("HEAD", "/_ping", "");
    let version: Vec<u32> =
        ping.header("api-version").split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version.as_slice() >= [1, 44].as_slice(), "{version:?}");
    // bollard pins 1.53.
    assert_eq!(server.get("/v1.53/info").status, 200);
}

#[test]
fn podman_26505_start_interval_is_kept_and_honoured() {
    let server = server!();
    let second = 1_000_000_000_u64;
    let body = json!({
        "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": "none" },
        "Healthcheck": {
            "Test": ["CMD", "true"], "Interval": 3600 * second, "StartPeriod": 600 * second,
            "StartInterval": second / 5,
        },
    });
    server.create("web", &body);
    let shown = server.get("/containers/web/json").json();
    assert_eq!(shown["Config"]["Healthcheck"]["StartInterval"], second / 5);
    server.start("web");
    // By the interval alone it would be an hour.
    server.until("/containers/web/json", |web| web["State"]["Health"]["Status"] == "healthy");
}

#[test]
fn podman_7682_the_version_has_dockers_form() {
    let server = server!();
    let version = server.get("/version").json();
    let number = version["Version"].as_str().unwrap();
    let parts: Vec<&str> = number.split(['.', '-']).collect();
    assert!(parts[..3].iter().all(|part| part.parse::<u32>().is_ok()), "{number}");
    assert_eq!(version["ApiVersion"], "1.51");
    assert!(version["Components"][0]["Name"].is_string());
}

#[test]
fn podman_24910_what_compose_compares_stays_the_same() {
    let server = networked!();
    let network = server.post("/networks/create", &json!({ "Name": "own" })).json();
    let body = json!({
        "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": "own" },
        "NetworkingConfig": { "EndpointsConfig": { "own": { "Aliases": ["web", "w"] } } },
    });
    server.create("web", &body);
    server.start("web");
    let row = &server.get("/containers/json").json()[0];
    assert_eq!(row["NetworkSettings"]["Networks"]["own"]["NetworkID"], network["Id"], "{row}");
    let shown = server.get("/containers/web/json").json();
    assert_eq!(row["ImageID"], shown["Image"]);
    assert_eq!(shown["NetworkSettings"]["Networks"]["own"]["Aliases"], json!(["web", "w"]));
    assert_eq!(server.get("/containers/web/json").json()["HostConfig"], shown["HostConfig"]);
}

#[test]
fn podman_11822_a_volume_and_a_mount_at_one_place() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["true"], "Volumes": { "/data": {} },
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{ "Type": "volume", "Source": "named", "Target": "/data" }],
        },
    });
    server.create("web", &body);
    let shown = server.get("/containers/web/json").json();
    let mounts = shown["Mounts"].as_array().unwrap();
    assert_eq!((mounts.len(), &mounts[0]["Name"]), (1, &json!("named")), "{mounts:?}");
}

#[test]
fn podman_27171_a_subpath_is_never_passed_over() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["ls", "/data"],
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{
                "Type": "volume", "Source": "named", "Target": "/data",
                "VolumeOptions": { "Subpath": "sub" },
            }],
        },
    });
    let created = server.post("/containers/create?name=web", &body);
    if created.status == 201 {
        // It is honoured: there is no such directory in the volume.
        assert_ne!(server.post("/containers/web/start", &NONE).status, 204);
    } else {
        assert!((400..600).contains(&created.status), "{}", created.body);
        assert!(created.message().contains("Subpath"), "{}", created.body);
    }
}

#[test]
fn podman_23453_default_and_bridge_are_one_network() {
    let server = networked!();
    for (name, mode, key) in
        [("one", "default", "default"), ("two", "bridge", "bridge"), ("three", "default", "bridge")]
    {
        let body = json!({
            "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": mode },
            "NetworkingConfig": { "EndpointsConfig": { key: {} } },
        });
        server.create(name, &body);
        server.start(name);
        let shown = server.get(&format!("/containers/{name}/json")).json();
        let networks = shown["NetworkSettings"]["Networks"].as_object().unwrap();
        assert_eq!(networks.keys().collect::<Vec<_>>(), ["bridge"], "{name}");
        // podman#9837: filled, also at the top, where old clients look.
        let address = networks["bridge"]["IPAddress"].as_str().unwrap();
        assert!(!address.is_empty(), "{name}: {shown}");
        assert_eq!(shown["NetworkSettings"]["IPAddress"], address);
        assert!(!networks["bridge"]["Gateway"].as_str().unwrap().is_empty());
    }
    let bridge = server.get("/networks/bridge").json();
    assert_eq!(bridge["Containers"].as_object().unwrap().len(), 3, "{bridge}");
    assert!(!bridge["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().is_empty());
}

#[test]
fn podman_9837_networks_of_ones_own_are_filled() {
    let server = networked!();
    server.post("/networks/create", &json!({ "Name": "own" }));
    let body =
        json!({ "Image": "bb", "Cmd": ["sleep", "9"], "HostConfig": { "NetworkMode": "own" } });
    server.create("web", &body);
    server.start("web");
    let shown = server.get("/containers/web/json").json();
    let own = &shown["NetworkSettings"]["Networks"]["own"];
    for field in ["IPAddress", "Gateway", "MacAddress", "NetworkID", "EndpointID"] {
        assert!(own[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {own}");
    }
    assert!(own["DNSNames"].as_array().unwrap().contains(&json!("web")), "{own}");
}

/// Also podman#24003: events only on a change; podman#27786: `Health` in the list.
#[test]
fn podman_13493_events_of_health() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": "none" },
        "Healthcheck": { "Test": ["CMD", "true"], "Interval": 100_000_000 },
    });
    server.create("web", &body);
    server.start("web");
    server.until("/containers/web/json", |web| {
        web["State"]["Health"]["Log"].as_array().is_some_and(|log| log.len() >= 4)
    });
    let row = &server.get("/containers/json").json()[0];
    assert_eq!(row["Health"]["Status"], "healthy", "{row}");
    assert!(row["Status"].as_str().unwrap().ends_with("(healthy)"), "{row}");
    let filters = encode(&json!({ "event": ["health_status"] }));
    let events = server.get(&format!("/events?since=1&until=4000000000&filters={filters}x"));
    assert_eq!(events.status, 400, "what is no JSON is refused");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1;
    let events = server.get(&format!("/events?since=1&until={now}&filters={filters}"));
    let actions: Vec<Value> = events
        .body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["Action"].clone())
        .collect();
    assert_eq!(actions, ["health_status: healthy"]);
}

#[test]
fn podman_24730_statistics_of_the_cpu() {
    let server = server!();
    server.run("web", &["sh", "-c", "while :; do :; done"]);
    let stats = server.get("/containers/web/stats?stream=0").json();
    let number = |part: &str, path: &str| {
        stats[part].pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{part}{path}"))
    };
    let used = |part| number(part, "/cpu_usage/total_usage");
    let system = |part| number(part, "/system_cpu_usage");
    assert!(used("cpu_stats") > used("precpu_stats") && used("precpu_stats") > 0);
    let passed = system("cpu_stats") - system("precpu_stats");
    // Idle time counts (podman#28761): a second of each processor.
    let processors = number("cpu_stats", "/online_cpus");
    assert!(passed >= processors * 700_000_000, "{passed} of {processors}");
    assert!(used("cpu_stats") - used("precpu_stats") <= passed);
}

#[test]
fn podman_9803_top_without_ps_in_the_image() {
    let server = server!();
    server.run("web", &["sleep", "100"]);
    let top = server.get("/containers/web/top").json();
    assert!(top["Titles"].as_array().unwrap().contains(&json!("PID")));
    assert!(top["Processes"].to_string().contains("sleep 100"), "{top}");
}

#[test]
fn podman_15828_a_failed_pull_is_a_status() {
    let server = server!();
    let pulled = server.post("/images/create?fromImage=localhost:1/nope&tag=x", &NONE);
    assert!((400..600).contains(&pulled.status), "{}", pulled.body);
    assert!(!pulled.message().is_empty());
}

#[test]
fn podman_12320_names_are_short() {
    let server = server!();
    assert_eq!(server.post("/images/bb/tag?repo=docker.io/library/x&tag=1", &NONE).status, 201);
    let shown = server.get("/images/x:1/json").json();
    let tags = shown["RepoTags"].as_array().unwrap();
    assert!(tags.contains(&json!("x:1")) && tags.contains(&json!("bb:latest")), "{tags:?}");
    assert!(!shown.to_string().contains("localhost/"));
    let filters = encode(&json!({ "reference": { "x:1": true } }));
    let rows = server.get(&format!("/images/json?filters={filters}")).json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
}

#[test]
fn podman_18092_filters_of_images_in_every_form() {
    let server = server!();
    for filters in [json!({ "reference": ["bb"] }), json!({ "reference": { "bb": true } })] {
        let rows = server.get(&format!("/images/json?filters={}", encode(&filters))).json();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{filters}: {rows}");
    }
    // podman#6797: that of API versions before 1.25.
    assert_eq!(server.get("/v1.24/images/json?filter=bb").json().as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1.24/images/json?filter=nope").json(), json!([]));
}

#[test]
fn podman_28379_words_for_states() {
    let server = server!();
    server.run("runs", &["sleep", "100"]);
    server.run("ended", &["sh", "-c", "exit 3"]);
    server.post("/containers/ended/wait", &NONE);
    let body = json!({ "Image": "bb", "Cmd": ["true"], "HostConfig": { "NetworkMode": "none" } });
    server.create("made", &body);
    assert_eq!(server.post("/containers/runs/pause", &NONE).status, 204);
    let rows = server.get("/containers/json?all=1").json();
    let row = |name: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row["Names"][0] == name);
        found.unwrap_or_else(|| panic!("{name}: {rows}")).clone()
    };
    let (made, ended, runs) = (row("/made"), row("/ended"), row("/runs"));
    assert_eq!((&made["State"], &made["Status"]), (&json!("created"), &json!("Created")));
    assert_eq!(ended["State"], "exited");
    assert!(ended["Status"].as_str().unwrap().starts_with("Exited (3) "), "{ended}");
    assert_eq!(runs["State"], "paused");
    let status = runs["Status"].as_str().unwrap();
    assert!(status.starts_with("Up ") && status.ends_with(" (Paused)"), "{status}");
    assert_eq!(made["HostConfig"]["NetworkMode"], "none");
    assert_eq!(server.post("/containers/runs/unpause", &NONE).status, 204);
    let info = server.get("/info").json();
    assert_eq!(info["Containers"], 3);
}

#[test]
fn bollard_238_types_are_those_of_the_schema() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["true"], "Entrypoint": ["sh", "-c"],
        "HostConfig": { "NetworkMode": "none" },
    });
    server.create("web", &body);
    let shown = server.get("/containers/web/json").json();
    assert_eq!(shown["Config"]["Entrypoint"], json!(["sh", "-c"]));
    for list in ["/Mounts", "/Args", "/Config/Cmd", "/HostConfig/MaskedPaths"] {
        assert!(shown.pointer(list).is_some_and(Value::is_array), "{list}: {shown}");
    }
    assert!(shown["Config"]["Labels"].is_object());
    let row = &server.get("/containers/json?all=1").json()[0];
    for list in ["Names", "Ports", "Mounts"] {
        assert!(row[list].is_array(), "{list}: {row}");
    }
    let image = &server.get("/images/json").json()[0];
    for list in ["RepoTags", "RepoDigests"] {
        assert!(image[list].is_array(), "{list}: {image}");
    }
}

#[test]
fn podman_28901_a_taken_name_and_limits_that_stay() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["sh", "-c", "ulimit -n; sleep 100"],
        "HostConfig": {
            "NetworkMode": "none",
            "Ulimits": [{ "Name": "nofile", "Soft": 77, "Hard": 88 }],
        },
    });
    server.create("web", &body);
    assert_eq!(server.post("/containers/create?name=web", &body).status, 409);
    server.start("web");
    let changed = json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } });
    let updated = server.post("/containers/web/update", &changed);
    assert_eq!(updated.status, 200, "{}", updated.body);
    let shown = server.get("/containers/web/json").json();
    assert_eq!(shown["HostConfig"]["Ulimits"][0]["Soft"], 77);
    assert_eq!(shown["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 2);
    let device = json!({
        "Image": "bb",
        "HostConfig": { "Devices": [{ "PathOnHost": "example.com/none=x" }] },
    });
    let refused = server.post("/containers/create", &device);
    assert!((400..600).contains(&refused.status), "{}", refused.body);
}

#[test]
fn portainer_5188_a_container_is_made_again_from_what_is_shown() {
    let server = networked!();
    let body = json!({
        "Image": "bb", "Cmd": ["sleep", "100"], "Labels": { "a": "b" }, "Env": ["X=y"],
        "ExposedPorts": { "80/tcp": {} },
        "HostConfig": {
            "Binds": ["/tmp:/x:ro"], "PortBindings": { "80/tcp": [{ "HostPort": "" }] },
            "RestartPolicy": { "Name": "unless-stopped" }, "Memory": 64 << 20,
        },
    });
    server.create("web", &body);
    let shown = server.get("/containers/web/json").json();
    let mut again = shown["Config"].clone();
    again["HostConfig"] = shown["HostConfig"].clone();
    again["NetworkingConfig"] =
        json!({ "EndpointsConfig": shown["NetworkSettings"]["Networks"].clone() });
    // Its hostname is its own.
    server.create("again", &again);
    let made = server.get("/containers/again/json").json();
    assert_eq!(made["HostConfig"], shown["HostConfig"]);
    for field in ["Cmd", "Env", "Labels", "ExposedPorts", "Image"] {
        assert_eq!(made["Config"][field], shown["Config"][field], "{field}");
    }
    // A template without a name.
    let nameless = server.post("/containers/create", &json!({ "Image": "bb" }));
    assert_eq!(nameless.status, 201);
    let id = nameless.json()["Id"].as_str().unwrap().to_owned();
    let shown = server.get(&format!("/containers/{id}/json")).json();
    assert!(shown["Name"].as_str().unwrap().len() > 2);
    let filters = encode(&json!({ "container": ["web"] }));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1;
    let events = server.get(&format!("/events?since=1&until={now}&filters={filters}"));
    assert!(events.body.contains("\"create\"") && !events.body.contains("again"));
}

#[test]
fn actions_runner_505_networks_by_their_label() {
    let server = networked!();
    let created = json!({ "Name": "job", "Labels": { "runner": "1" } });
    assert_eq!(server.post("/networks/create", &created).status, 201);
    server.post("/networks/create", &json!({ "Name": "other" }));
    let filters = encode(&json!({ "label": ["runner=1"] }));
    let pruned = server.post(&format!("/networks/prune?filters={filters}"), &NONE).json();
    assert_eq!(pruned["NetworksDeleted"], json!(["job"]));
    assert_eq!(server.get("/networks/other").status, 200);
    let custom = encode(&json!({ "type": ["custom"] }));
    let rows = server.get(&format!("/networks?filters={custom}")).json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
}

/// What the command line can ask for of a network, the API can; both are told to who follows.
#[test]
fn a_network_is_made_as_it_was_asked_for() {
    let server = networked!();
    let options = json!({
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.driver.mtu": "1400", "com.docker.network.enable_ipv4": "true",
    });
    let pool = json!({
        "Subnet": "10.77.0.0/24", "AuxiliaryAddresses": { "router": "10.77.0.9" },
    });
    let body = json!({
        "Name": "own", "Options": options, "Attachable": true, "IPAM": { "Config": [pool] },
    });
    assert_eq!(server.post("/networks/create", &body).status, 201);
    let shown = server.get("/networks/own").json();
    assert_eq!(shown["Options"]["com.docker.network.bridge.enable_icc"], "false", "{shown}");
    assert_eq!(shown["Attachable"], true, "{shown}");
    let taken = json!({ "Name": "bad", "Options": { "com.docker.network.bridge.inhibit": "1" } });
    let refused = server.post("/networks/create", &taken);
    assert_eq!(refused.status, 400, "{}", refused.message());
    assert_eq!(server.request("DELETE", "/networks/own", "").status, 204);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1;
    let filters = encode(&json!({ "network": ["own"] }));
    let events = server.get(&format!("/events?since=1&until={now}&filters={filters}"));
    let count = |action: &str| events.body.matches(&format!("\"Action\":\"{action}\"")).count();
    assert_eq!((count("create"), count("destroy")), (1, 1), "{}", events.body);
}

#[test]
fn act_303_the_socket_is_mounted_into_a_container() {
    let server = server!();
    let socket = server.socket();
    let body = json!({
        "Image": "bb", "Cmd": ["sh", "-c", "test -S /run/docker.sock"],
        "HostConfig": {
            "NetworkMode": "none",
            "Binds": [format!("{}:/run/docker.sock", socket.display())],
        },
    });
    server.create("web", &body);
    server.start("web");
    assert_eq!(server.post("/containers/web/wait", &NONE).json()["StatusCode"], 0);
}

/// Also coolify: deployed twice, nothing is made again.
#[test]
fn dockhand_335_statistics_without_a_network() {
    let server = server!();
    server.run("web", &["sleep", "100"]);
    let stats = server.get("/containers/web/stats?stream=0&one-shot=1").json();
    assert!(stats["memory_stats"]["usage"].is_u64(), "{stats}");
    assert!(stats["pids_stats"]["current"].is_u64());
    server.create("made", &json!({ "Image": "bb", "HostConfig": { "NetworkMode": "none" } }));
    // One that does not run has one document of zeroes.
    assert_eq!(server.get("/containers/made/stats?stream=0").status, 200);
}
