#!/usr/bin/env bash
# cppcheck over the compile commands of a build folder: tools/lint_cppcheck.sh BUILD
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1/cppcheck"
cppcheck --project="$1/compile_commands.json" --cppcheck-build-dir="$1/cppcheck" -j "$(nproc)" --quiet \
    --enable=warning,portability --std=c11 --inline-suppr --error-exitcode=1 --suppress=missingIncludeSystem \
    --suppress='*:*_table.c' --suppress=unknownMacro --suppress=autoVariables \
    --suppress=normalCheckLevelMaxBranches --file-filter='*/src/*'
echo "cppcheck found nothing"
