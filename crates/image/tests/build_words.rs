//! What instructions accept, refuse, record and leave for other builds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panic")]
#![allow(dead_code, reason = "what the test files share, not each uses")]

mod builds;
mod layer;

use builds::Bench;
use husk_image::build::BuildOptions;
use layer::without_root;
use serde_json::json;

/// What a base without a PATH gets.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn nonsense_is_refused_at_its_place() {
    let bench = Bench::new();
    bench.file("a", "x");
    for (instruction, expected) in [
        ("STOPSIGNAL BOGUS", "2:12: STOPSIGNAL \"BOGUS\" is no signal"),
        ("STOPSIGNAL 99", "2:12: STOPSIGNAL \"99\" is no signal"),
        ("STOPSIGNAL $NOPE", "2:12: STOPSIGNAL \"\" is no signal"),
        ("EXPOSE 99999", "2:8: \"99999\": not a port"),
        ("EXPOSE 80/foo", "2:8: \"80/foo\": protocol"),
        ("EXPOSE 90-80", "2:8: \"90-80\": the range ends"),
        ("USER \"\"", "2:6: USER takes"),
        ("WORKDIR \"\"", "2:9: WORKDIR takes"),
        ("LABEL \"\"=x", "2:7: LABEL takes name=value; the name is empty"),
        ("ENV $NOPE=x", "2:5: ENV takes name=value; the name is empty"),
        ("VOLUME \"\"", "2:8: VOLUME takes paths"),
        ("COPY $NOPE /", "2:6: this source is empty"),
        ("COPY --chmod=999 a /", "2:14: \"999\": a mode is octal"),
        ("COPY --from=3 a /", "2:13: there is no stage 3 before this one"),
        ("COPY --from=0 a /", "2:13: there is no stage 0 before this one"),
        ("COPY --from=this a /", "2:13: there is no stage this before this one"),
        (
            "COPY --from=none a /",
            "2:13: none is not an earlier stage, and as an image: no such image",
        ),
    ] {
        let source = format!("FROM scratch AS this\n{instruction}\n");
        let error = bench.build(&source).err().unwrap();
        assert!(error.contains(&format!("Dockerfile:{expected}")), "{instruction}: {error}");
        assert!(error.ends_with('^'), "{instruction}: {error}");
    }
    for (from, expected) in [
        ("FROM $NOPE", "1:6: FROM needs an image; $NOPE stands for nothing"),
        ("FROM --platform=bogus scratch", "1:17: platform \"bogus\": not os/architecture"),
    ] {
        let error = bench.build(from).err().unwrap();
        assert!(error.contains(&format!("Dockerfile:{expected}")), "{from}: {error}");
    }
}

#[test]
fn what_docker_takes_is_taken() {
    let bench = Bench::new();
    let source = "\u{feff}# syntax=docker/dockerfile:1\r\nARG BASE=scratch\r\nFROM ${BASE}\r\n\
        ENV A=b \\\r\n # between\r\n\r\n  C=\"d $BASE\" E=${F:-g} H=${A:+i}\r\n\
        LABEL one two three\r\nEXPOSE 80-82 443/TCP\r\nSTOPSIGNAL SIGRTMIN+3\r\nCMD [\"x\"]\r\n";
    let run = bench.build(source).unwrap().config.config.unwrap();
    assert_eq!(run.env.unwrap(), [PATH, "A=b", "C=d ", "E=g", "H="]);
    assert_eq!(run.labels.unwrap()["one"], "two three");
    let ports: Vec<String> = run.exposed_ports.unwrap().into_keys().collect();
    assert_eq!(ports, ["443/tcp", "80/tcp", "81/tcp", "82/tcp"]);
    assert_eq!(run.stop_signal.unwrap(), "SIGRTMIN+3");
    assert_eq!(run.cmd.unwrap(), ["x"]);
}

#[test]
fn a_health_check_is_recorded_and_inherited() {
    let bench = Bench::new();
    let tag = |name: &str| {
        let name = name.parse().unwrap();
        move |options: &mut BuildOptions| options.names = vec![name]
    };
    let source = "FROM scratch\nHEALTHCHECK --interval=30s CMD /probe\n";
    let built = bench.build_with(source, tag("probed:1")).unwrap();
    let expected = json!({"Test": ["CMD-SHELL", "/probe"], "Interval": 30_000_000_000_u64});
    assert_eq!(built.config.config.unwrap().healthcheck, Some(expected.clone()));
    let on_top = bench.build("FROM probed:1\nENV A=b\n").unwrap();
    assert_eq!(on_top.config.config.unwrap().healthcheck, Some(expected));
    let without = bench.build("FROM probed:1\nHEALTHCHECK NONE\n").unwrap();
    assert_eq!(without.config.config.unwrap().healthcheck, Some(json!({"Test": ["NONE"]})));
}

#[test]
fn an_image_leaves_instructions_for_the_next() {
    if without_root("an_image_leaves_instructions_for_the_next") {
        return;
    }
    let bench = Bench::new();
    bench.file("app", "the next one's");
    let named = |options: &mut BuildOptions| options.names = vec!["base:1".parse().unwrap()];
    let source = "FROM scratch\nENV WHERE=/srv\nONBUILD ARG WHO=nobody\n\
        ONBUILD COPY app ${WHERE}/app\nONBUILD RUN [\"write\", \"/made\", \"x\"]\n\
        ONBUILD ENV FOR=$WHO\n";
    let base = bench.build_with(source, named).unwrap();
    assert!(base.ran.is_empty() && base.image.layers.is_empty());
    let recorded = base.config.config.unwrap().on_build.unwrap();
    assert_eq!(recorded[1..3], ["COPY app ${WHERE}/app", "RUN [\"write\", \"/made\", \"x\"]"]);

    let given = |options: &mut BuildOptions| {
        options.arguments = vec![("WHO".to_owned(), "me".to_owned())];
        options.names = vec!["app:1".parse().unwrap()];
    };
    let built = bench.build_with("FROM base:1 AS b\nENV LAST=$FOR\n", given).unwrap();
    assert_eq!(bench.read(&built.image, "srv/app").unwrap(), "the next one's");
    assert_eq!(bench.read(&built.image, "made").unwrap(), "x");
    let run = built.config.config.unwrap();
    assert_eq!(run.env.unwrap(), [PATH, "WHERE=/srv", "FOR=me", "LAST=me"]);
    assert_eq!(run.on_build, None, "they are for one build");
    assert!(built.log.contains("[2/4 ONBUILD] COPY app ${WHERE}/app"));
    let history = built.config.history.unwrap();
    assert!(history.iter().any(|entry| entry.created_by.as_deref() == Some("ENV FOR=$WHO")));
    // And none is left for a third.
    assert!(bench.build("FROM app:1\n").unwrap().ran.is_empty());
    // A stage is a base, too.
    let staged = bench.build("FROM scratch AS a\nONBUILD ENV A=b\nFROM a\n").unwrap();
    assert_eq!(staged.config.config.unwrap().env.unwrap(), [PATH, "A=b"]);
}

#[test]
fn what_is_wrong_with_an_images_instruction_is_said_at_its_from() {
    let bench = Bench::new();
    let named = |options: &mut BuildOptions| options.names = vec!["base:1".parse().unwrap()];
    bench.build_with("FROM scratch\nONBUILD COPY gone /\n", named).unwrap();
    let error = bench.build("ARG X\nFROM base:1\n").err().unwrap();
    let expected = "Dockerfile:2:6: ONBUILD COPY gone / of this image: \"gone\": no such file";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("FROM base:1\n      |      ^"), "{error}");
}

#[test]
fn stages_that_only_a_variable_names_are_built() {
    let bench = Bench::new();
    let source = "ARG BASE=first\nFROM scratch AS first\nENV A=b\nFROM $BASE\n";
    let built = bench.build(source).unwrap();
    assert_eq!(built.config.config.unwrap().env.unwrap(), [PATH, "A=b"]);
    // One that an ONBUILD copies from.
    if without_root("stages_that_only_a_variable_names_are_built") {
        return;
    }
    bench.file("x", "of the stage");
    let named = |options: &mut BuildOptions| options.names = vec!["taker:1".parse().unwrap()];
    bench.build_with("FROM scratch\nONBUILD COPY --from=giver /x /y\n", named).unwrap();
    let built = bench.build("FROM scratch AS giver\nCOPY x /\nFROM taker:1\n").unwrap();
    assert_eq!(bench.read(&built.image, "y").unwrap(), "of the stage");
}
