#!/usr/bin/env bash
# Builds cairn as it is released and compares it with the peers that are installed; arguments go to the benchmark.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked -p cairn-cli
target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cd benches
cargo run --quiet --release --locked -- "$target/release/cairn" "$@"
