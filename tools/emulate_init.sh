#!/bin/bash
# The one process of the machine that tools/emulate.sh boots: runs the tests and says which failed.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
sed -n 's/^model name.*: /processor: /p' /proc/cpuinfo
failed=
while read -r name; do
    if "/tests/$name" </dev/null; then
        echo "== $name: passed"
    else
        echo "== $name: FAILED, status $?"
        failed="$failed $name"
    fi
done </order
echo "emulated: ${failed:+FAILED:}${failed:-all passed}"
while :; do # the end of this process would be the kernel's panic
    read -r -t 3600
done
