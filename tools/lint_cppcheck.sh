#!/usr/bin/env bash
# cppcheck over the compile commands of a build folder: tools/lint_cppcheck.sh BUILD
set -euo pipefail
# Absolute, or cppcheck takes the sources for places below it and checks none of them.
build=$(realpath -e "$1")
cd "$(dirname "$0")/.."
mkdir -p "$build/cppcheck"
cppcheck --project="$build/compile_commands.json" --cppcheck-build-dir="$build/cppcheck" -j "$(nproc)" --quiet \
    --enable=warning,portability --std=c11 --inline-suppr --error-exitcode=1 --suppress=missingIncludeSystem \
    --suppress='*:*_table.c' --suppress=unknownMacro --suppress=autoVariables \
    --suppress=normalCheckLevelMaxBranches --file-filter='*/src/*'
echo "cppcheck found nothing"
