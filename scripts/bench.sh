#!/usr/bin/env bash
# Builds cairn as it is released and compares it with its peers; arguments go to the benchmark. On Debian, as root, peers
# that are missing are installed; those that are written in Go are built here, if there is Go. CI never runs this.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(umoci buildah mmdebstrap skopeo runc docker-registry pigz strace)

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
export PATH="$target/bench-tools:$PATH"

missing=()
for package in "${packages[@]}"; do
    command -v "$package" >/dev/null || missing+=("$package")
done
if ((${#missing[@]} > 0)) && command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "not installed: ${missing[*]}" >&2
fi
scripts/go-tools.sh crane regctl registry buildctl buildkitd

cargo build --release --locked -p cairn-cli
cd benches
cargo run --quiet --release --locked -- "$target/release/cairn" --inputs "$target/bench" \
    --out "$target/bench-result.txt" "$@"
