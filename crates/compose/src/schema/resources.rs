//! `deploy`, and the resources at the top of a file.

use super::Kind::{
    Bool, Bytes, Choice, Duration, Float, Int, Labels, List, Object, Options, Path, Special as S,
    Text, Texts,
};
use super::{DEVICE_REQUEST, Kind, Special, f, keep};

const UPDATE: Kind = Object(&[
    keep("parallelism", Int),
    f("delay", Duration),
    f("failure_action", Text),
    f("monitor", Duration),
    f("max_failure_ratio", Float),
    f("order", Choice(&["start-first", "stop-first"])),
]);

pub(super) const DEPLOY: Kind = Object(&[
    f("mode", Text),
    keep("replicas", Int),
    f("labels", Labels),
    keep("update_config", UPDATE),
    keep("rollback_config", UPDATE),
    keep(
        "resources",
        Object(&[
            keep("limits", Object(&[f("cpus", Float), f("memory", Bytes), f("pids", Int)])),
            keep(
                "reservations",
                Object(&[
                    f("cpus", Float),
                    f("memory", Bytes),
                    f("pids", Int),
                    f("devices", List(&DEVICE_REQUEST)),
                    f(
                        "generic_resources",
                        List(&Object(&[keep(
                            "discrete_resource_spec",
                            Object(&[keep("kind", Text), keep("value", Int)]),
                        )])),
                    ),
                ]),
            ),
        ]),
    ),
    keep(
        "restart_policy",
        Object(&[
            f("condition", Text),
            keep("delay", Duration),
            keep("max_attempts", Int),
            keep("window", Duration),
        ]),
    ),
    keep(
        "placement",
        Object(&[
            f("constraints", Texts),
            f("preferences", List(&Object(&[f("spread", Text)]))),
            f("max_replicas_per_node", Int),
        ]),
    ),
    f("endpoint_mode", Text),
]);

pub(super) const NETWORK: Kind = Object(&[
    f("name", Text),
    f("driver", Text),
    f("driver_opts", Options),
    keep(
        "ipam",
        Object(&[
            f("driver", Text),
            f(
                "config",
                List(&Object(&[
                    f("subnet", Text),
                    f("gateway", Text),
                    f("ip_range", Text),
                    f("aux_addresses", Options),
                ])),
            ),
            f("options", Options),
        ]),
    ),
    f("external", S(Special::External, &Bool)),
    f("internal", Bool),
    f("attachable", Bool),
    f("labels", Labels),
    keep("enable_ipv4", Bool),
    keep("enable_ipv6", Bool),
]);

pub(super) const VOLUME: Kind = Object(&[
    f("name", Text),
    f("driver", Text),
    f("driver_opts", Options),
    f("external", S(Special::External, &Bool)),
    f("labels", Labels),
]);

pub(super) const SECRET: Kind = Object(&[
    f("name", Text),
    f("file", Path),
    f("environment", Text),
    f("external", S(Special::External, &Bool)),
    f("labels", Labels),
    f("driver", Text),
    f("driver_opts", Options),
    f("template_driver", Text),
]);

pub(super) const CONFIG: Kind = Object(&[
    f("name", Text),
    f("file", Path),
    f("environment", Text),
    f("content", Text),
    f("external", S(Special::External, &Bool)),
    f("labels", Labels),
    f("template_driver", Text),
]);
