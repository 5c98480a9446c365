#!/usr/bin/env bash
# Every C file as .clang-format says. `tools/lint_format.sh --fix` formats them.
set -euo pipefail
cd "$(dirname "$0")/.."
# The format differs between releases of clang-format, so the one of tools/packages/python.txt counts.
format=build/venv/bin/clang-format
[ -x $format ] || format=clang-format
mapfile -t files < <(git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]' 'include/*.h' |
    grep -v '_table\.c$')
if [ "${1:-}" = --fix ]; then
    $format -i "${files[@]}"
else
    $format --dry-run -Werror "${files[@]}"
    echo "${#files[@]} files are formatted"
fi
