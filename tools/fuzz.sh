#!/usr/bin/env bash
# Runs the fuzz targets: tools/fuzz.sh [TARGET|all] [SECONDS EACH]
# The build is build/fuzz (clang; `cmake --preset fuzz`). New inputs that reach more go to build/fuzz/found/TARGET; the
# corpus in the tree is read only. A finding ends the run with status 1; its input lies in build/fuzz/findings.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:-all} seconds=${2:-60}
build=build/fuzz
mkdir -p $build/findings
( # several may be started at once
    flock 9
    if [ ! -f $build/build.ninja ]; then
        cmake --preset fuzz -DSAMPAN_WERROR=ON
    fi
    cmake --build $build
) 9>$build/lock >&2
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
status=0 ran=0
printf '%-12s %8s %12s %8s %8s  %s\n' target seconds executions edges inputs findings
for source in tests/fuzz/fuzz_*.c; do
    target=$(basename "$source" .c)
    target=${target#fuzz_}
    [ "$wanted" = all ] || [ "$wanted" = "$target" ] || continue
    ran=1
    log=$build/findings/$target.log
    found=$build/found/$target
    mkdir -p "$found" "tests/fuzz/corpus/$target"
    dictionary=()
    [ -f "tests/fuzz/$target.dict" ] && dictionary=(-dict="tests/fuzz/$target.dict")
    finding=none
    # Every input of the tree first: those that once broke something must not again.
    if ! $build/tests/fuzz/fuzz_$target -rss_limit_mb=2048 -timeout=25 -max_total_time="$seconds" \
        -print_final_stats=1 -artifact_prefix=$build/findings/"$target"- "${dictionary[@]}" \
        "$found" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        finding="see $log"
        status=1
    fi
    printf '%-12s %8s %12s %8s %8s  %s\n' "$target" "$seconds" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)" \
        "$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)" \
        "$(find "$found" -type f | wc -l)" "$finding"
done
if [ $ran = 0 ]; then
    echo "tools/fuzz.sh: no target '$wanted' in tests/fuzz" >&2
    exit 2
fi
exit $status
