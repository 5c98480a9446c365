#!/usr/bin/env bash
# Builds the image of deploy/docker with buildah, which needs no daemon, on a base made here from the machine's own Debian
# sources; then runs it without root on a read-only /models and asks it. As root; minutes the first time, then less, since
# the base is kept in build/image.
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
for tool in buildah debootstrap; do
    command -v $tool >/dev/null || {
        echo "tools/image.sh: needs $tool: apt-get install $tool" >&2
        exit 1
    }
done
model=${2:-smollm2-135m}
path=$("${1:-build/release/sampan}" show "$model" | sed -n 's/^path *//p')
store=${path%/models/*}
work=$PWD/build/image
mkdir -p "$work"
export BUILDAH_ISOLATION=chroot
# overlay needs a kernel and a file system that have it; vfs copies everything for each step and works everywhere.
buildah() {
    command buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"
}
driver=overlay
buildah info >/dev/null 2>&1 || driver=vfs
begin=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - begin)) "$*"; }
fail() {
    echo "tools/image.sh: $*" >&2
    exit 1
}

if ! buildah inspect --type image localhost/debian:12 >/dev/null 2>&1; then
    mirror=$(sed -n 's/^URIs: *//p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list \
        /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | awk '{ print $1; exit }' || true)
    rm -rf "$work/root"
    debootstrap --variant=minbase bookworm "$work/root" "$mirror" >"$work/debootstrap.log" ||
        fail "debootstrap: $(tail -n 3 "$work/debootstrap.log")"
    # How this machine reaches its sources: proxies and certificates.
    cp -a /etc/apt/apt.conf.d/. "$work/root/etc/apt/apt.conf.d/"
    mkdir -p "$work/root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/" 2>/dev/null || true
    rm -f "$work/root/var/cache/apt/archives/"*.deb
    base=$(buildah from scratch)
    buildah add -q "$base" "$work/root" / >/dev/null
    buildah commit -q "$base" localhost/debian:12 >/dev/null
    buildah rm "$base" >/dev/null
    rm -rf "$work/root"
    say "a base of Debian 12 ($driver)"
fi
mkdir -p build/web # buildah wants something to copy; with the page in it / shows that
buildah build -q --layers --format docker --build-arg BASE=localhost/debian:12 -f deploy/docker/Dockerfile -t sampan . \
    >"$work/build.log" 2>&1 || fail "the build: $(tail -n 20 "$work/build.log")"
say "the image: $(buildah images --format '{{.Size}}' localhost/sampan)"

box=$(buildah from localhost/sampan)
trap 'buildah rm $box >/dev/null' EXIT
buildah config --volume /models- "$box" # else buildah may mount the image's empty volume over ours
# What runs inside has bash and the program, nothing to ask with: a request is written by hand.
cat >"$work/ask.sh" <<'END_OF_ASK'
sampan serve --model "$1" --port 0 --packed-cache off >/tmp/out 2>/tmp/log &
server=$!
until port=$(sed -n 's/^Sampan answers at .*:\([0-9]*\)$/\1/p' /tmp/out) && [ "$port" ]; do
    kill -0 $server || { cat /tmp/log; exit 1; }
    sleep 0.2
done
sampan healthcheck --port "$port"
echo "user $(id -u)"
touch /models/x 2>/dev/null && echo "/models can be written"
body="{\"model\": \"$1\", \"prompt\": \"1, 2, 3,\", \"max_tokens\": 4, \"temperature\": 0}"
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    ${#body} "$body" >&3
cat <&3
echo
exec 4<>"/dev/tcp/127.0.0.1/$port"
printf 'GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n' >&4
grep -qaF assets/ <&4 && echo "the page is there"
kill $server
wait $server
echo "ended: $?"
END_OF_ASK
said=$(buildah run --user 10001:10001 --cap-drop ALL --volume "$store:/models:ro" --volume "$work/ask.sh:/ask.sh:ro" \
    --env SAMPAN_API_KEY=secret "$box" -- bash /ask.sh "$model")
echo "$said"
page=()
[ ! -s build/web/manifest.txt ] || page=("the page is there")
for wanted in "${page[@]}" ready "user 10001" "HTTP/1.1 200 OK" '"finish_reason":"length"' "ended: 0"; do
    grep -qF "$wanted" <<<"$said" || fail "the image ran, and '$wanted' was not seen"
done
! grep -qF "can be written" <<<"$said" || fail "/models is mounted read-only, and could be written"
say "it answers, without root, on a read-only /models"
