//! Libraries that people have, on a server of a test's own: testcontainers for Python and Node,
//! dockerode. Python is that of HUSK_TEST_PYTHON or the path's; Node's modules are in
//! HUSK_TEST_NODE_MODULES or where `node` looks for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::process::{Command, Stdio};

use support::{Server, networked, skip};

fn python() -> String {
    std::env::var("HUSK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// A client's program that is called with a script.
fn run(server: &Server, program: &str, flag: &str, script: &str) {
    let mut command = environment(Command::new("timeout"));
    command.args(["-k", "1", "120", program, flag, script]);
    command.env("DOCKER_HOST", format!("unix://{}", server.socket().display()));
    command.env("SOCKET", server.socket()).env("DOCKER_CONFIG", "/nonexistent");
    // Its image cannot be pulled here.
    command.env("TESTCONTAINERS_RYUK_DISABLED", "true");
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}{}", text[0], text[1]);
    let left = server.get("/containers/json?all=1").json();
    assert_eq!(left, serde_json::json!([]), "left behind");
}

fn environment(mut command: Command) -> Command {
    if let Ok(modules) = std::env::var("HUSK_TEST_NODE_MODULES") {
        command.env("NODE_PATH", modules);
    }
    command.stdin(Stdio::null());
    command
}

/// Whether a client is there; said aloud where it is not.
fn has(program: &str, flag: &str, script: &str) -> bool {
    let mut check = environment(Command::new(program));
    check.args([flag, script]).stdout(Stdio::null()).stderr(Stdio::null());
    let works = check.status().is_ok_and(|status| status.success());
    if !works {
        skip(&format!("no {program} with {script}"));
    }
    works
}

/// A service that answers on port 80 without other programs than busybox.
const SERVICE: &str = "echo ready; while true; do /bin/busybox nc -l -p 80 -e echo hi; done";

#[test]
fn testcontainers_for_python() {
    if !has(&python(), "-c", "import testcontainers.core.container") {
        return;
    }
    let server = networked!();
    let script = r#"
import warnings; warnings.simplefilter("ignore")
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs
with Network() as net:
    one = DockerContainer("bb").with_command(["sh", "-c", SERVICE]).with_network(net)
    one = one.with_network_aliases("one").with_exposed_ports(80).with_env("A", "b")
    with one as c:
        wait_for_logs(c, "ready", timeout=60)
        assert c.exec(["sh", "-c", "echo in $A"]).output == b"in b\n"
        assert int(c.get_exposed_port(80)) > 0
        assert c.get_logs()[0].startswith(b"ready\n")
        with DockerContainer("bb").with_command("sleep 100").with_network(net) as two:
            code, out = two.exec(["/bin/busybox", "nc", "one", "80"])
            assert (code, out) == (0, b"hi\n"), (code, out)
"#;
    run(&server, &python(), "-c", &script.replace("SERVICE", &format!("{SERVICE:?}")));
}

#[test]
fn testcontainers_for_node() {
    if !has("node", "-e", "require('testcontainers')") {
        return;
    }
    let server = networked!();
    let script = r#"
const {GenericContainer, Network, Wait} = require('testcontainers');
(async () => {
  const net = await new Network().start();
  const c = await new GenericContainer('bb').withCommand(['sh', '-c', SERVICE]).withNetwork(net)
    .withExposedPorts(80).withCopyContentToContainer([{content: 'abc', target: '/tmp/f'}])
    .withHealthCheck({test: ['CMD', 'true'], interval: 200}).withWaitStrategy(Wait.forLogMessage('ready'))
    .start();
  const r = await c.exec(['cat', '/tmp/f']);
  if (r.exitCode !== 0 || r.output !== 'abc') throw new Error(JSON.stringify(r));
  if (!(c.getMappedPort(80) > 0)) throw new Error('no port');
  await c.restart();
  await c.stop();
  await net.stop();
})().catch(e => { console.error(e); process.exit(1); });
"#;
    run(&server, "node", "-e", &script.replace("SERVICE", &format!("{SERVICE:?}")));
}

#[test]
fn dockerode() {
    if !has("node", "-e", "require('dockerode')") {
        return;
    }
    let server = networked!();
    let script = r#"
const Docker = require('dockerode'), {PassThrough} = require('stream'), assert = require('assert');
(async () => {
  const d = new Docker({socketPath: process.env.SOCKET});
  const out = new PassThrough(); let text = ''; out.on('data', b => text += b);
  const [r, c] = await d.run('bb', ['echo', 'hi'], out, {HostConfig: {NetworkMode: 'none'}});
  assert.deepEqual([r.StatusCode, text], [0, 'hi\r\n']); await c.remove();
  const x = await d.createContainer({Image: 'bb', Cmd: ['sleep', '100'], name: 'node1',
    HostConfig: {NetworkMode: 'none'}});
  await x.start();
  const e = await x.exec({Cmd: ['sh', '-c', 'cat; exit 3'], AttachStdin: true, AttachStdout: true,
    AttachStderr: true});
  const s = await e.start({hijack: true, stdin: true});
  let typed = ''; const so = new PassThrough(); so.on('data', b => typed += b);
  d.modem.demuxStream(s, so, so);
  const ended = new Promise(r => s.on('end', r));
  s.write('abc'); s.end(); await ended;
  assert.deepEqual([typed, (await e.inspect()).ExitCode], ['abc', 3]);
  const st = await x.stats({stream: false});
  assert(st.precpu_stats.system_cpu_usage < st.cpu_stats.system_cpu_usage);
  const l = await d.listContainers({filters: {name: ['node1']}});
  assert.deepEqual(l.map(c => c.Names), [['/node1']]);
  const ev = await d.getEvents({filters: {event: ['kill']}});
  const seen = new Promise(r => ev.once('data', b => r(JSON.parse(b).Action)));
  await x.kill(); assert.equal(await seen, 'kill'); ev.destroy();
  await x.remove({force: true});
})().catch(e => { console.error(e); process.exit(1); });
"#;
    run(&server, "node", "-e", script);
}
