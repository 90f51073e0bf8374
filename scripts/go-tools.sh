#!/usr/bin/env bash
# Builds the named tools that are written in Go into target/bench-tools, if they are nowhere else and there is Go. Names
# those that are still missing: whoever needs them does without.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A modules=(
    [crane]=github.com/google/go-containerregistry/cmd/crane@v0.22.1
    [regctl]=github.com/regclient/regclient/cmd/regctl@v0.11.7
    [registry]=github.com/distribution/distribution/v3/cmd/registry@v3.1.2
    [buildctl]=github.com/moby/buildkit/cmd/buildctl@v0.23.2
    [buildkitd]=github.com/moby/buildkit/cmd/buildkitd@v0.23.2
)

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export PATH="$target/bench-tools:$PATH"

for tool in "$@"; do
    if ! command -v "$tool" >/dev/null && command -v go >/dev/null; then
        GOBIN="$target/bench-tools" GOFLAGS=-p=2 go install "${modules[$tool]}" || true
    fi
    command -v "$tool" >/dev/null || echo "$tool is not installed: what uses it will be skipped" >&2
done
