#!/usr/bin/env bash
# Builds cairn as it is released and compares it with its peers; arguments go to the benchmark. On Debian, as root, peers
# that are missing are installed; those that are written in Go are built here, if there is Go. CI never runs this.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(umoci buildah skopeo runc docker-registry pigz strace)
modules=(
    crane=github.com/google/go-containerregistry/cmd/crane@v0.22.1
    regctl=github.com/regclient/regclient/cmd/regctl@v0.11.7
    registry=github.com/distribution/distribution/v3/cmd/registry@v3.1.2
    buildctl=github.com/moby/buildkit/cmd/buildctl@v0.23.2
    buildkitd=github.com/moby/buildkit/cmd/buildkitd@v0.23.2
)

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
for module in "${modules[@]}"; do
    if ! command -v "${module%%=*}" >/dev/null && command -v go >/dev/null; then
        GOBIN="$target/bench-tools" GOFLAGS=-p=2 go install "${module#*=}" || echo "${module%%=*} does not build" >&2
    fi
done

cargo build --release --locked -p cairn-cli
cd benches
cargo run --quiet --release --locked -- "$target/release/cairn" --inputs "$target/bench" \
    --out "$target/bench-result.txt" "$@"
