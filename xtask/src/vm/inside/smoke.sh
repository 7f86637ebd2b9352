#!/bin/bash
# smoke [PART...]: what only this machine can show, in the words of a Rust test harness.
# Parts: layout root systemd user apparmor.
passed=0 failed=0
work=$(mktemp -d /tmp/smoke.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

check() { # NAME COMMAND...
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        printf '%s\n' "$said" | sed 's/^/    /'
        echo "test $name ... FAILED"
        failed=$((failed + 1))
    fi
}

# bundle DIR FILTER [FLAG]: the runtime's own spec changed by a jq FILTER, over busybox.
bundle() {
    mkdir -p "$1/rootfs/bin"
    cp /bin/busybox "$1/rootfs/bin/busybox"
    ln -sf busybox "$1/rootfs/bin/sh"
    cp /husk/hello "$1/rootfs/hello"
    if [ -n "$3" ]; then
        # A rootless spec maps the ids of whoever asks for it.
        chown -R 1000:1000 "$1"
        as_user "$RUNTIME" spec "$3" --bundle "$1" || return
    else
        "$RUNTIME" spec --bundle "$1" || return
    fi
    jq ".process.terminal = false | .hostname = \"smoke\" | $2" "$1/config.json" >"$1/new" &&
        mv "$1/new" "$1/config.json"
}

# run DIR ID [FLAG]: one container, its output on ours.
run() { "$RUNTIME" ${3:+"$3"} run --bundle "$1" "$2"; }

arguments() { # WORD...: a jq filter that sets the process's arguments
    # jq would take a word that begins with a dash for an option of its own.
    printf '.process.args = %s' "$(printf '%s\037' "$@" | jq -Rsc 'split("\u001f")[:-1]')"
}

says() { # EXPECTED COMMAND...
    local expected=$1 said
    shift
    said=$("$@") || { echo "exit $?: $said"; return 1; }
    [ "$said" = "$expected" ] || { echo "said '$said', not '$expected'"; return 1; }
}

nothing_left() {
    local left
    left=$(find /sys/fs/cgroup -type d -name '*smoke*'; grep smoke /proc/self/mountinfo)
    [ -z "$left" ] || { echo "$left"; return 1; }
}

controllers() {
    local controller
    for controller in cpuset cpu io memory hugetlb pids; do
        grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers ||
            { echo "no $controller in $(cat /sys/fs/cgroup/cgroup.controllers)"; return 1; }
    done
}

layout() {
    check layout::pure_v2 says cgroup2fs stat -f -c %T /sys/fs/cgroup
    check layout::controllers controllers
    check layout::apparmor says Y cat /sys/module/apparmor/parameters/enabled
    check layout::pid_1_is_systemd says systemd cat /proc/1/comm
}

root() {
    bundle "$work/hello" "$(arguments /hello)"
    check root::run run "$work/hello" smoke-hello
    bundle "$work/limit" '.linux.resources.memory.limit = 67108864 | .linux.resources.pids.limit = 20 | '"$(arguments /bin/sh -c \
        'busybox cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max | busybox tr "\n" " "')"
    check root::limits_are_in_the_kernel says '67108864 20 ' run "$work/limit" smoke-limit
    bundle "$work/oom" ".linux.resources.memory.limit = 33554432 | $(arguments /bin/busybox tail /dev/zero)"
    check root::an_allocation_over_the_limit_is_killed killed "$work/oom" smoke-oom
    bundle "$work/device" '.linux.resources.devices = [{"allow": false, "access": "rwm"}] |
        .linux.devices = [{"path": "/dev/disk", "type": "b", "major": 259, "minor": 0}] | '"$(arguments /bin/sh -c \
        'busybox head -c 1 /dev/disk >/dev/null && echo opened')"
    check root::a_device_without_a_rule_cannot_be_opened refused "$work/device" smoke-device
    check root::nothing_is_left nothing_left
}

killed() {
    run "$1" "$2"
    local code=$?
    [ $code = 137 ] || { echo "exit $code, not 137"; return 1; }
}

refused() {
    local said
    said=$(run "$1" "$2" 2>&1)
    case $said in
    *"Operation not permitted"*) ;;
    *) echo "said '$said'"; return 1 ;;
    esac
}

scope_of_a_container() {
    local pid scope
    "$RUNTIME" --systemd-cgroup create --bundle "$1" "$2" || return
    pid=$("$RUNTIME" --systemd-cgroup state "$2" | jq .pid)
    # The process itself may stand below the scope.
    if ! scope=$(grep -o '[^/]*\.scope' "/proc/$pid/cgroup"); then
        echo "in no scope but $(cat "/proc/$pid/cgroup")"
        "$RUNTIME" --systemd-cgroup delete --force "$2"
        return 1
    fi
    is_limited "$scope"
    local limited=$?
    "$RUNTIME" --systemd-cgroup delete --force "$2" || return
    systemctl --quiet is-active "$scope" && { echo "$scope is still active"; return 1; }
    return $limited
}

is_limited() {
    says MemoryMax=67108864 systemctl show --property=MemoryMax "$1"
}

# A flag that is taken and has no effect is the worst of all.
claims_systemd() {
    [ "$("$RUNTIME" features 2>/dev/null | jq .linux.cgroup.systemd)" != false ]
}

systemd() {
    if ! claims_systemd; then
        bundle "$work/unclaimed" "$(arguments /hello)"
        check systemd::refused_since_features_does_not_claim_it \
            fails run "$work/unclaimed" smoke-systemd --systemd-cgroup
        return
    fi
    bundle "$work/scope" ".linux.resources.memory.limit = 67108864 | $(arguments /bin/busybox sleep 1000)"
    check systemd::a_scope_that_goes_with_the_container scope_of_a_container "$work/scope" smoke-scope
    bundle "$work/slimit" '.linux.resources.memory.limit = 67108864 | '"$(arguments /bin/busybox cat /sys/fs/cgroup/memory.max)"
    check systemd::limits_are_in_the_kernel says 67108864 run "$work/slimit" smoke-slimit --systemd-cgroup
    check systemd::nothing_is_left nothing_left
}

# Whoever has no cgroup to write the limit to says so; silence is what is wrong.
holds_or_fails() { # EXPECTED COMMAND...
    local expected=$1 said
    shift
    said=$("$@") || return 0
    [ "$said" = "$expected" ] || { echo "succeeded, but the limit is '$said'"; return 1; }
}

as_user() { /husk/as-user "$@"; }

user() {
    local home=/home/tester/smoke
    check user::controllers_are_delegated as_user /bin/sh -c \
        'cat /sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)/cgroup.controllers | grep -w memory | grep -w pids'
    bundle "$home/hello" "$(arguments /hello)" --rootless
    chown -R 1000:1000 "$home"
    check user::run as_user "$RUNTIME" run --bundle "$home/hello" smoke-user
    bundle "$home/limit" '.linux.resources.memory.limit = 67108864 |
        .linux.namespaces += [{"type": "cgroup"}] | (.linux.namespaces |= unique) |
        (.mounts[] | select(.destination == "/sys/fs/cgroup")) |=
            {destination, type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "ro"]} | '"$(arguments /bin/busybox cat /sys/fs/cgroup/memory.max)" --rootless
    chown -R 1000:1000 "$home"
    check user::limits_without_systemd_hold_or_are_refused \
        holds_or_fails 67108864 as_user "$RUNTIME" run --bundle "$home/limit" smoke-ulimit
    check user::limits_by_the_users_systemd says 67108864 \
        as_user "$RUNTIME" --systemd-cgroup run --bundle "$home/limit" smoke-uscope
    check user::nothing_is_left nothing_left
    rm -rf "$home"
}

apparmor() {
    apparmor_parser --replace <<'PROFILE' || echo "apparmor_parser failed"
abi <abi/3.0>,
profile husk-smoke flags=(attach_disconnected,mediate_deleted) {
    file,
    capability,
    deny /forbidden r,
}
PROFILE
    bundle "$work/confined" ".process.apparmorProfile = \"husk-smoke\" | $(arguments \
        /bin/busybox cat /proc/self/attr/current)"
    check apparmor::the_profile_is_on says 'husk-smoke (enforce)' run "$work/confined" smoke-confined
    bundle "$work/denied" ".process.apparmorProfile = \"husk-smoke\" | $(arguments \
        /bin/sh -c 'busybox cat /forbidden 2>&1 || busybox true')"
    echo secret >"$work/denied/rootfs/forbidden"
    check apparmor::the_profile_denies says "cat: can't open '/forbidden': Permission denied" \
        run "$work/denied" smoke-denied
    bundle "$work/unknown" ".process.apparmorProfile = \"husk-nowhere\" | $(arguments /bin/busybox true)"
    check apparmor::an_unknown_profile_is_an_error fails run "$work/unknown" smoke-unknown
    check apparmor::nothing_is_left nothing_left
}

fails() {
    if "$@"; then
        echo "succeeded"
        return 1
    fi
}

[ $# -gt 0 ] || set -- layout root systemd user apparmor
for part; do "$part"; done
[ $failed = 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; 0 ignored"
[ $failed = 0 ]
