use serde_json::json;

use super::*;

fn container() -> Value {
    json!({
        "ID": "x", "Name": "/web", "Labels": {"a.b": "c"}, "_labels": {"a.b": "c"},
        "State": {
            "Pid": 5, "Running": true, "Status": "running", "Error": "",
            OMITTED: {"Health": null},
        },
        "Config": {
            "Env": ["A=1", "B=2"], "Cmd": null, "Volumes": nil(Nil::Map),
            OMITTED: {"Shell": nil(Nil::List)},
        },
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
        ("{{slice .State.Status 0 3}} {{slice .Config.Env 1}}", "run [B=2]"),
        ("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}},{{end}}", "A=1,"),
        ("{{range $i, $e := .Config.Env}}{{if $i}}{{continue}}{{end}}{{$e}}{{end}}", "A=1"),
        ("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .Name}}{{template \"x\" 1}}", "</web><1>"),
        ("{{block \"y\" .Name}}[{{.}}]{{end}}", "[/web]"),
        (
            "{{html \"<a&b>\"}} {{js \"it's\"}} {{urlquery \"a b&c\"}}",
            "&lt;a&amp;b&gt; it\\'s a+b%26c",
        ),
        (
            "{{with $x := .Name}}{{$x}}{{end}}{{with .State.Error}}e{{else with .ID}}{{.}}{{end}}",
            "/webx",
        ),
        ("{{and 1 0}} {{or 0 \"x\"}} {{or 1 (index .Config.Env 9)}} {{not 0}}", "0 x 1 true"),
        (
            "{{print .Name \"x\" 1 2}} {{range 3}}{{.}}{{end}} {{0x10}} {{'a'}}",
            "/webx1 2 012 16 97",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge \"b\" \"a\"}} {{ne 1 2}} {{eq 1 2 1}}",
            "true true false true true true",
        ),
        // What Docker's documents have none of.
        (
            "{{.State.Health}} {{json .State.Health}} {{if .State.Health}}y{{else}}n{{end}}",
            "<nil> null n",
        ),
        ("{{.Config.Shell}} {{len .Config.Shell}} {{json .Config.Shell}}", "[] 0 null"),
        (
            "{{.Config.Volumes}} {{index .Config.Volumes \"x\"}}.{{json .Config.Volumes}}",
            "map[] .null",
        ),
        ("{{.NetworkSettings.Networks.none}} {{json .Labels.none}}", "<no value> null"),
        ("{{range .Config.Shell}}x{{else}}none{{end}} {{join .Config.Shell \",\"}}", "none "),
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
        ("{{.State.Statis}}", "did you mean Status?"),
        ("{{.State.Health.Status}}", "no field .State.Health.Status: .State.Health has no value"),
        ("{{.Config.Nope}}", "no field .Config.Nope"),
        ("{{.ID", "unclosed \"{{\""),
        ("{{range .Config.Env}}", "{{range}} without {{end}}"),
        ("{{if .ID}}", "{{if}} without {{end}}"),
        ("{{if}}x{{end}}", "missing value for {{if}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{}}", "missing value"),
        ("{{.ID |}}", "missing value"),
        ("{{(.ID}}", "unclosed \"(\""),
        ("{{.ID)}}", "unexpected \")\""),
        ("{{nope .ID}}", "no function nope"),
        ("{{jsom .ID}}", "did you mean json?"),
        ("{{len 5}}", "no length"),
        ("{{index .Config.Env 7}}", "index 7 is out of range: the list has 2"),
        ("{{join .ID}}", "join: wrong number or type of arguments"),
        ("{{\"x}}", "unclosed \"{{\""),
        ("{{$x}}", "undefined variable $x"),
        ("{{template \"x\"}}", "template \"x\" is not defined"),
        ("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}", "nested templates"),
        ("{{break}}", "outside {{range}}"),
        ("{{range 3}}{{define \"x\"}}{{break}}{{end}}{{end}}", "outside {{range}}"),
        ("{{range 99999999}}{{end}}", "cannot count"),
        ("{{eq \"a\" 1}}", "cannot compare"),
        ("{{slice .ID 0 9}}", "out of range"),
        ("{{.ID .ID}}", "arguments to what is not a function"),
        ("{{é}}", "no function"),
        ("{{%}}", "unexpected \"%\""),
        ("{{1x}}", "not a number"),
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
