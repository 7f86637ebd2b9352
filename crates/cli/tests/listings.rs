//! Lists and what is looked at: filters and `--format`, as scripts use them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use support::{Engine, engine, wait_for};

fn containers(engine: &Engine) {
    let run = ["run", "-d", "--network", "none", "--name"];
    engine
        .ok(&[&run[..], &["web", "-l", "a.b=c,d", "-v", "vol:/v", "bb", "sleep", "600"]].concat());
    engine
        .ok(&[&run[..], &["web_two", "-l", "a.b=e", "-l", "x", "bb", "sh", "-c", "exit 3"]]
            .concat());
    engine.ok(&["create", "--network", "none", "--name", "idle", "bb"]);
    wait_for("an end", || engine.inspect("web_two", "{{.State.Status}}") == "exited");
}

#[test]
fn filters_choose() {
    let engine = engine!(new);
    containers(&engine);
    let named = |flags: &[&str]| {
        let list = engine.ok(&[&["ps", "--format", "{{.Names}}"], flags].concat());
        let mut names: Vec<String> = list.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    for (flags, expected) in [
        (&["-f", "name=web"][..], "web"),
        (&["-a", "-f", "name=web"], "web web_two"),
        (&["-a", "-f", "name=^web$"], "web"),
        (&["-a", "-f", "name=^/web$"], "web"),
        (&["-a", "-f", "name=two$"], "web_two"),
        (&["-f", "status=exited"], "web_two"),
        (&["-f", "status=exited", "-f", "status=created"], "idle web_two"),
        (&["-f", "exited=3"], "web_two"),
        (&["-f", "exited=0"], ""),
        (&["-a", "-f", "label=a.b"], "web web_two"),
        (&["-a", "-f", "label=a.b", "-f", "label=x"], "web_two"),
        (&["-a", "-f", "label=a.b=e"], "web_two"),
        (&["-a", "-f", "ancestor=bb"], "idle web web_two"),
        (&["-a", "-f", "ancestor=bb:latest", "-f", "name=idle"], "idle"),
        (&["-a", "-f", "name=^/w.b(_two)?$"], "web web_two"),
        (&["-a", "-f", "name=[a-d]le|w.+o"], "idle web_two"),
        (&["-a", "-f", "volume=vol"], "web"),
        (&["-a", "-f", "volume=/v"], "web"),
        (&["-a", "-n", "1"], "idle"),
        (&["-l"], "idle"),
    ] {
        assert_eq!(named(flags), expected, "{flags:?}");
    }
    for (flags, words) in [
        (&["ps", "-f", "status=odd"][..], "must be one of created"),
        (&["ps", "-f", "name=["], "regular expression"),
        (&["ps", "-f", "healthy=x"], "must be one of ancestor, before"),
        (&["images", "-f", "dangling=odd"], "must be true or false"),
    ] {
        let refused = engine.run(flags);
        assert!(refused.code == 1 && refused.err.contains(words), "{flags:?}: {refused:?}");
    }
    let malformed = engine.run(&["ps", "-f", "name"]);
    assert!(malformed.code == 125 && malformed.err.contains("must be NAME=VALUE"), "{malformed:?}");
    engine.ok(&["tag", "bb", "far/away:v1"]);
    for (flags, expected) in [
        (&["images", "-f", "reference=bb", "--format", "{{.Repository}}"][..], "bb"),
        (
            &["images", "-f", "reference=far/*", "--format", "{{.Repository}}:{{.Tag}}"],
            "far/away:v1",
        ),
        (&["images", "-f", "reference=*:latest", "--format", "{{.Repository}}"], "bb"),
        (&["images", "-q", "-f", "dangling=true"], ""),
        (&["volume", "ls", "-q", "-f", "dangling=true"], ""),
        (&["volume", "ls", "-f", "name=vo", "--format", "{{.Name}} {{.Driver}}"], "vol local"),
        (&["network", "ls", "-f", "name=^bridge$", "--format", "{{.Name}}"], "bridge"),
    ] {
        assert_eq!(engine.ok(flags), expected, "{flags:?}");
    }
    engine.ok(&["rm", "-f", "-v", "web", "web_two", "idle"]);
    assert_eq!(engine.ok(&["volume", "ls", "-q", "-f", "dangling=true"]), "vol");
    engine.assert_nothing_left();
}

#[test]
fn templates_as_scripts_write_them() {
    let engine = engine!(with_network);
    engine.ok(&[
        "run", "-d", "--name", "web", "-l", "a.b=c,d", "-p", "8080:80", "-e", "A=1", "bb", "sleep",
        "600",
    ]);
    let address = engine.inspect("web", "{{.NetworkSettings.IPAddress}}");
    for (template, expected) in [
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", address.as_str()),
        ("{{.NetworkSettings.Networks.bridge.IPAddress}}", &address),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{(index $c 0).HostPort}}{{end}}",
            "80/tcp=8080",
        ),
        ("{{.State.Status}}", "running"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{json .Config.Labels}}", "{\"a.b\":\"c,d\"}"),
        ("{{index .Config.Labels \"a.b\"}}", "c,d"),
        ("{{join .Config.Cmd \" \"}}", "sleep 600"),
        ("{{len .Config.Cmd}}", "2"),
    ] {
        assert_eq!(engine.inspect("web", template), expected, "{template}");
    }
    let of_bridge = "{{.NetworkSettings.Networks.bridge.Gateway}} \
                     {{.NetworkSettings.Networks.bridge.MacAddress}}";
    let top = engine.inspect("web", "{{.NetworkSettings.Gateway}} {{.NetworkSettings.MacAddress}}");
    assert_eq!(top, engine.inspect("web", of_bridge));
    assert!(!top.starts_with(' ') && !top.ends_with(' '), "{top}");
    let env = engine.inspect("web", "{{range .Config.Env}}{{println .}}{{end}}");
    assert!(env.lines().any(|line| line == "A=1"), "{env}");
    let env: Vec<String> =
        serde_json::from_str(&engine.inspect("web", "{{json .Config.Env}}")).unwrap();
    assert!(env.contains(&"A=1".to_owned()));
    // By its own name a label is found whole, whatever it holds.
    assert_eq!(engine.ok(&["ps", "--format", "{{.Label \"a.b\"}}"]), "c,d");
    let table = engine.ok(&["ps", "--format", "table {{.Names}}\\t{{.State}}\\t{{.CreatedAt}}"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAMES     STATE     CREATED AT"), "{table}");
    assert!(lines[1].starts_with("web       running   20"), "{table}");
    // A zone that needs no file: two hours and a half east of Greenwich.
    let mut listing = engine.command(&["ps", "--format", "{{.CreatedAt}}"]);
    let listed = listing.env("TZ", "XYZ-2:30").output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let digits = listed.replace(|c: char| c.is_ascii_digit(), "9");
    assert_eq!(digits, "9999-99-99 99:99:99 +9999 XYZ\n", "{listed}");
    assert!(listed.contains(" +0230 "), "{listed}");
    let row: serde_json::Value =
        serde_json::from_str(&engine.ok(&["ps", "--format", "json"])).unwrap();
    assert_eq!(row["Labels"], "a.b=c,d");
    assert!(row.get("_labels").is_none(), "{row}");
    let all: serde_json::Value =
        serde_json::from_str(&engine.ok(&["inspect", "-f", "json", "web"])).unwrap();
    assert_eq!(all[0]["Name"], "/web");
    let size = engine.ok(&["ps", "-s"]);
    assert!(size.lines().next().unwrap().ends_with("SIZE"), "{size}");
    // What is there is shown, and what is not is said.
    let some = engine.run(&["inspect", "-f", "{{.Name}}", "web", "absent"]);
    assert_eq!((some.code, some.out.as_str()), (1, "/web\n"), "{some:?}");
    assert!(some.err.contains("no such object: absent"), "{some:?}");
    let bad = engine.run(&["ps", "--format", "{{range .Names}}"]);
    assert!(bad.code == 1 && bad.err.contains("without {{end}}"), "{bad:?}");
    engine.ok(&["rm", "-f", "web"]);
    engine.assert_nothing_left();
}
