#!/usr/bin/env bash
# One more build of everything and its quick tests: tools/tier.sh PRESET [cmake options]
#   clang | asan | tsan | ref | coverage
set -euo pipefail
export ASAN_OPTIONS=allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1
cd "$(dirname "$0")/.."
tier=$1
build=build/$tier
options=(-DSAMPAN_WERROR=ON -DSAMPAN_TESTS=ON -DSAMPAN_ALL_CHECKS=OFF)
filter=(-L quick)
case $tier in
clang)
    options+=(-G Ninja -S . -B $build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang)
    ;;
coverage)
    options+=(-G Ninja -S . -B $build -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_C_FLAGS_DEBUG=-O1 -g1"
        -DSAMPAN_COVERAGE=ON)
    ;;
tsan)
    options+=(--preset tsan)
    # Guarded ones are about who touches memory; tsan takes minutes over their mappings.
    filter=(-L quick -R '^unit\.(base|engine|server|model|store|jobs)\.' -E '_guarded$')
    ;;
asan) options+=(--preset asan) ;;
ref) options+=(--preset ref -DSAMPAN_SWAGGER_UI=OFF) ;; # where /docs is the plain page
*)
    echo "tools/tier.sh: no tier '$tier'" >&2
    exit 2
    ;;
esac
cmake "${options[@]}"
cmake --build $build
ctest --test-dir $build -j "$(nproc)" --output-on-failure --no-tests=error "${filter[@]}"
if [ "$tier" = asan ] || [ "$tier" = tsan ]; then
    # The whole server among clients that fail, with a model that costs nothing; then two that take turns. What the
    # sanitizers keep aside grows by itself.
    rm -rf $build/tiny && build/venv/bin/python tests/http/tiny.py $build/tiny/one $build/tiny/two
    run=(--model $build/tiny/one --clients 24 --warm-up 1 --minutes 0.07 --words 9 --longest 24 --rss 1000)
    export SAMPAN=$PWD/$build/sampan
    build/venv/bin/python tests/load/faults.py "${run[@]}" --pages 18
    build/venv/bin/python tests/load/faults.py "${run[@]}" --model $build/tiny/two -- --kv-memory 256K --memory 1500K
fi
if [ "$tier" = coverage ]; then
    # What only whole programs reach: pulls, the API as its client sees it, servers under load.
    export SAMPAN=$PWD/$build/sampan
    build/venv/bin/python -m pytest -q -p no:cacheprovider tests/cli/test_pull.py tests/cli/test_bench_serve.py
    build/venv/bin/python -m pytest -q -p no:cacheprovider tests/http/test_history.py tests/http/test_history_models.py \
        tests/http/test_files.py tests/http/test_jobs.py tests/http/test_tasks.py
    gcovr -r . --object-directory $build --filter 'src/' --exclude 'src/cli/' --exclude-throw-branches \
        --fail-under-line 85 --print-summary
fi
