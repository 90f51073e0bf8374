#!/usr/bin/env bash
# Builds the application in DIRECTORY (examples/hello or a copy of it) and puts the binary where its spec looks.
# Prints the image's architecture in the words of OCI.
set -euo pipefail

directory=${1:?usage: build-hello.sh DIRECTORY}
case $(uname -s)-$(uname -m) in
    Linux-x86_64) architecture=amd64 ;;
    Linux-aarch64) architecture=arm64 ;;
    *) echo "error: $(uname -s) on $(uname -m) is not supported here: the image needs a Linux binary" >&2; exit 1 ;;
esac

cd "$directory"
# A developer's own flags and target would replace those that make the binary static.
env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
    cargo build --quiet --release --locked --target-dir target
mkdir -p "dist/$architecture"
cp target/release/hello "dist/$architecture/hello"
echo "$architecture"
