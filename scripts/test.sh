#!/usr/bin/env bash
# Runs all tests, or those that the arguments choose: they go to `cargo test` in place of --workspace. The last lines
# say what was skipped and why.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

scripts/install-test-tools.sh
scripts/build-hello.sh examples/hello >/dev/null

# A test that misses a tool appends a line to this file and returns, as CONTRIBUTING.md says.
export CAIRN_TEST_SKIPPED="$work/skipped"
: >"$CAIRN_TEST_SKIPPED"

status=0
(cd examples/hello && cargo test --locked) | tee "$work/output" || status=$?
(($# > 0)) || set -- --workspace
cargo test --locked --no-fail-fast "$@" | tee -a "$work/output" || status=$?

total() { # the sum of what stands before WORD in cargo's closing lines
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1;.*/\1/p" "$work/output" | awk '{ sum += $1 } END { print sum + 0 }'
}

sort -u "$CAIRN_TEST_SKIPPED" | sed 's/^/skipped: /'
skipped=$(sort -u "$CAIRN_TEST_SKIPPED" | wc -l)
# Cargo counts a test that returned early as passed; here it is not.
echo "$(($(total passed) - skipped)) passed, $(total failed) failed, $((skipped + $(total ignored))) skipped"
exit "$status"
