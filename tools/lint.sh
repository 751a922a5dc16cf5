#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Formatting and static checks of every C file; ends with totals. Usage: tools/lint.sh [BUILD]
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build}
passed=0 failed=0 skipped=0

report() { # NAME STATUS
	case $2 in
	0) passed=$((passed + 1)); echo "PASS $1" ;;
	skip) skipped=$((skipped + 1)); echo "SKIP $1: $3" ;;
	*) failed=$((failed + 1)); echo "FAIL $1" ;;
	esac
}

mapfile -t sources < <(git ls-files '*.c' '*.h')
mapfile -t units < <(git ls-files 'vrdma/*.c' 'lib/*.c' 'provider/*.c' 'daemon/*.c' 'cli/*.c')

if command -v clang-format >/dev/null; then
	clang-format --dry-run --Werror "${sources[@]}"
	report clang-format $?
else
	report clang-format skip "not installed"
fi
notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
# It uses one core, most of the time; clang-tidy has the other meanwhile.
if command -v cppcheck >/dev/null; then
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=unknownMacro -Ivrdma -Ilib -Iinclude -j 2 "${units[@]}" \
		>"$notes/cppcheck" 2>&1 &
	cppcheck=$!
fi
# A file that tests compile too is checked as the library or the daemon has it, once, and each by itself, so that the
# cores end together. clang-tidy counts suppressed warnings on standard error, which is of interest only when it fails.
tidy=skip
if command -v clang-tidy >/dev/null && [ -e "$build/compile_commands.json" ]; then
	python3 -c '
import json, sys
print(json.dumps(list({unit["file"]: unit for unit in reversed(json.load(sys.stdin))}.values())))
	' <"$build/compile_commands.json" >"$notes/compile_commands.json"
	printf '%s\n' "${units[@]}" | xargs -P 2 -n 1 clang-tidy --quiet \
		--extra-arg=-Wno-ignored-optimization-argument -p "$notes" 2>"$notes/clang-tidy"
	tidy=$?
fi
if [ -n "${cppcheck:-}" ]; then
	wait "$cppcheck"
	status=$?
	cat "$notes/cppcheck"
	report cppcheck $status
else
	report cppcheck skip "not installed"
fi
[ "$tidy" = skip ] || [ "$tidy" = 0 ] || tail -n 20 "$notes/clang-tidy"
report clang-tidy "$tidy" "not installed, or no build"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
