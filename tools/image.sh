#!/usr/bin/env bash
# Builds the image of deploy/docker with buildah, which needs no daemon, on a base made here from the machine's own Debian
# sources; then runs it without root on a read-only /models and asks it. As root; some ten minutes.
#
#     tools/image.sh [SAMPAN] [MODEL]
#
# SAMPAN says where MODEL (smollm2-135m) is, which the image is to serve. Status 77: not root.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "tools/image.sh: the image is built as root only: not done" >&2
    exit 77
fi
model=${2:-smollm2-135m} port=18099
path=$("${1:-build/release/sampan}" show "$model" | sed -n 's/^path *//p')
store=${path%/models/*}
work=$PWD/build/image
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
buildah="buildah --root $work/storage --runroot $work/run"
mkdir -p "$work"

if ! $buildah inspect --type image localhost/debian:12 >/dev/null 2>&1; then
    mirror=$(sed -n 's/^URIs: *//p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list \
        /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1 || true)
    rm -rf "$work/root"
    debootstrap --variant=minbase bookworm "$work/root" "$mirror" >"$work/debootstrap.log"
    # How this machine reaches its sources: proxies and certificates.
    cp -a /etc/apt/apt.conf.d/. "$work/root/etc/apt/apt.conf.d/"
    mkdir -p "$work/root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/" 2>/dev/null || true
    base=$($buildah from scratch)
    $buildah add -q "$base" "$work/root" /
    $buildah commit -q "$base" localhost/debian:12
    $buildah rm "$base" >/dev/null
    rm -rf "$work/root"
fi
$buildah build -q --format docker --build-arg BASE=localhost/debian:12 -f deploy/docker/Dockerfile -t sampan .

box=$($buildah from localhost/sampan)
trap '$buildah rm $box >/dev/null' EXIT
# What runs inside has bash and the program, nothing to ask with: a request is written by hand.
cat >"$work/ask.sh" <<'END'
sampan serve --model "$1" --packed-cache off >/tmp/out 2>/tmp/log &
server=$!
until sampan healthcheck 2>/tmp/why; do
    kill -0 $server || { cat /tmp/log; exit 1; }
    sleep 1
done
id -u
touch /models/x 2>/dev/null && echo "/models can be written"
body="{\"model\": \"$1\", \"prompt\": \"1, 2, 3,\", \"max_tokens\": 4, \"temperature\": 0}"
exec 3<>/dev/tcp/127.0.0.1/$SAMPAN_PORT
printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    ${#body} "$body" >&3
cat <&3
echo
kill $server
wait $server
echo "ended: $?"
END
$buildah run --user 10001:10001 --volume "$store:/models:ro" --volume "$work/ask.sh:/ask.sh:ro" \
    --env SAMPAN_API_KEY=secret --env SAMPAN_PORT=$port "$box" -- bash /ask.sh "$model"
