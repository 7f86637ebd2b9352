use serde_json::json;

use super::*;

fn container() -> Value {
    json!({
        "ID": "x", "Name": "/web", "Labels": {"a.b": "c"}, "_labels": {"a.b": "c"},
        "State": {"Pid": 5, "Running": true, "Status": "running", "Error": ""},
        "Config": {"Env": ["A=1", "B=2"], "Cmd": null},
        "NetworkSettings": {
            "Networks": {"bridge": {"IPAddress": "10.0.0.2"}, "other": {"IPAddress": "10.1.0.2"}},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
        },
    })
}

fn filled(template: &str) -> Result<String, String> {
    Template::parse(template)?.fill(&container(), false)
}

#[test]
fn what_scripts_write() {
    for (template, expected) in [
        ("{{.ID}}", "x"),
        ("{{ .State.Pid }}\\t{{.ID}}\\n", "5\tx\n"),
        ("{{json .State.Pid}} {{.State.Status | json}}", "5 \"running\""),
        ("{{json .Config.Env}}", "[\"A=1\",\"B=2\"]"),
        ("{{index .Labels \"a.b\"}}-{{index .Labels \"none\"}}-{{.Label \"a.b\"}}", "c--c"),
        ("{{.Labels.none}}", "<no value>"),
        ("{{index .Config.Env 1}} {{.Config.Env}}", "B=2 [A=1 B=2]"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "10.0.0.210.1.0.2"),
        (
            "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}} {{end}}",
            "bridge=10.0.0.2 other=10.1.0.2 ",
        ),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}",
            "80/tcp -> 8080",
        ),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2"),
        ("{{range .Config.Cmd}}{{.}}{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{else if eq .State.Status \"running\"}}fine{{end}}", "fine"),
        ("{{if and .State.Running (not .State.Error)}}ok{{end}}", "ok"),
        (
            "{{with .State}}{{.Pid}} {{$.ID}}{{end}}{{with .State.Error}}no{{else}}yes{{end}}",
            "5 xyes",
        ),
        (
            "{{len .Config.Env}} {{len .Config.Cmd}} {{gt .State.Pid 4}} {{eq .State.Pid 1 5}}",
            "2 0 true true",
        ),
        ("{{join .Config.Env \", \"}} {{join .Config.Cmd \" \"}}", "A=1, B=2 "),
        ("{{range split .Name \"/\"}}[{{.}}]{{end}}", "[][web]"),
        ("{{upper .ID}}{{lower \"A\"}}{{title \"a b\"}}{{truncate .State.Status 3}}", "XaA Brun"),
        ("{{printf \"%-4s|%3d|%q|%%\" .ID .State.Pid .ID}}", "x   |  5|\"x\"|%"),
        ("{{$p := .State.Pid}}{{$p}}{{/* a remark */}}", "5"),
        ("a  {{- .ID -}}  b {{\"}}\"}} {{`\\n`}}", "axb }} \\n"),
        ("{{.State}}", "map[Error: Pid:5 Running:true Status:running]"),
    ] {
        assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (template, words) in [
        ("{{.Nope}}", "no field .Nope"),
        ("{{.State.Nope}}", "no field .State.Nope"),
        ("{{.ID.Below}}", "no field .ID.Below"),
        ("{{.ID", "without }}"),
        ("{{range .Config.Env}}", "without {{end}}"),
        ("{{if .ID}}", "without {{end}}"),
        ("{{end}}", "ends nothing"),
        ("{{}}", "a command is missing"),
        ("{{.ID |}}", "a command is missing"),
        ("{{(.ID}}", "( without )"),
        ("{{.ID)}}", "too much"),
        ("{{nope .ID}}", "no function nope"),
        ("{{len 5}}", "no length"),
        ("{{index .Config.Env 7}}", "index 7 of a list of 2"),
        ("{{join .ID}}", "join does not take"),
        ("{{\"x}}", "without }}"),
        ("{{$x}}", "$x is not set"),
        ("{{template \"x\"}}", "is not built"),
        ("{{.ID .ID}}", "takes arguments"),
        ("{{é}}", "no function"),
        ("{{%}}", "not understood"),
        ("{{1x}}", "no number"),
    ] {
        let error = filled(template).unwrap_err();
        assert!(error.contains(words), "{template}: {error}");
    }
    for deep in ["(", "{{if 1}}", "{{(((("] {
        assert!(filled(&format!("{{{{{}", deep.repeat(100_000))).is_err());
        assert!(filled(&deep.repeat(100_000)).is_err() || deep == "(");
    }
    assert!(filled(&format!("{{{{{}}}}}", "(".repeat(100_000))).is_err());
}

#[test]
fn a_terminal_is_not_told_what_to_do() {
    let value = json!({"A": "\u{1b}[2J\tx\ny"});
    let template = Template::parse("\u{1b}[1m{{.A}}").unwrap();
    assert_eq!(template.fill(&value, true).unwrap(), "\u{1b}[1m\\u{1b}[2J\tx\ny");
    assert_eq!(template.fill(&value, false).unwrap(), "\u{1b}[1m\u{1b}[2J\tx\ny");
}
