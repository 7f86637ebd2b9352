#!/bin/sh
# as-user CMD...: runs it as a user without privileges, in a delegated cgroup of that
# user's own manager, as a login session would.
exec setpriv --reuid=1000 --regid=1000 --init-groups \
    env -i HOME=/home/tester USER=tester LOGNAME=tester LANG=C.UTF-8 HUSK_VM=1 \
    PATH=/husk:/usr/local/bin:/usr/bin:/bin RUNTIME="$RUNTIME" HUSK_OCI="$HUSK_OCI" \
    XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \
    systemd-run --user --quiet --pipe --wait --collect --same-dir \
    --property=Delegate=yes --setenv=RUNTIME --setenv=HUSK_OCI --setenv=HUSK_VM \
    --setenv=PATH --setenv=XDG_RUNTIME_DIR -- "$@"
