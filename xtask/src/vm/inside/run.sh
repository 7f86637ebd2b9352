#!/bin/sh
# Started as root in husk-vm.service; says on its last line how the script ended.
export PATH=/husk:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 HUSK_VM=1
export RUNTIME=@RUNTIME@ HUSK_OCI=@RUNTIME@
cd /husk || exit 1

# The user's manager is asked for at boot; commands below may come sooner.
for _ in $(seq 300); do
    [ -S /run/user/1000/bus ] && break
    sleep 0.1
done

# A shell of its own: an `exit` in the script is not to take away the last word.
/bin/bash /husk/job
code=$?
echo
echo "@END@$code"
