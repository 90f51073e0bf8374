#!/usr/bin/env bash
# Builds cairn as it is released and compares it with the peers that are installed; arguments go to the benchmark.
# Peers from Debian: apt-get install umoci buildah skopeo pigz zstd. crane is built here, if there is Go.
set -euo pipefail
cd "$(dirname "$0")/.."

crane=github.com/google/go-containerregistry/cmd/crane@v0.22.1

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export PATH="$target/bench-tools:$PATH"
if ! command -v crane >/dev/null && command -v go >/dev/null; then
    GOBIN="$target/bench-tools" GOFLAGS=-p=2 go install "$crane" || echo "crane does not build: not measured" >&2
fi
cargo build --release --locked -p cairn-cli
cd benches
cargo run --quiet --release --locked -- "$target/release/cairn" --inputs "$target/bench" \
    --out "$target/bench-result.txt" "$@"
