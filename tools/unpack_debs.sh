#!/usr/bin/env bash
# Puts the packages of tools/packages/unpacked.txt under build/debs, without installing them: no service is started and
# nothing outside this tree changes. Their programs are then in build/debs/usr/bin and usr/sbin.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/install.sh

to=build/debs
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here: the tests that need $to will say what they miss." >&2
    exit 0
fi
cmp -s tools/packages/unpacked.txt $to/list.txt && exit 0
rm -rf $to
mkdir -p $to/got
names=$(packages_listed tools/packages/unpacked.txt)
get() {
    # shellcheck disable=SC2086
    (cd $to/got && apt-get download -qq $names)
}
get 2>/dev/null || { as_root apt-get update -qq && get; }
for deb in $to/got/*.deb; do
    dpkg-deb -x "$deb" $to
done
rm -rf $to/got
cp tools/packages/unpacked.txt $to/list.txt
