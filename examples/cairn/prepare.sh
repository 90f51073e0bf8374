#!/usr/bin/env bash
# Collects the program (CAIRN, else the cairn in PATH) and the shared libraries that it was linked with.
set -euo pipefail
cd "$(dirname "$0")"

program=${CAIRN:-$(command -v cairn)}
rm -rf dist
mkdir -p dist/libraries
install -D "$program" dist/cairn
# Symbols are for debuggers, and four fifths of the file.
strip dist/cairn

# "libc.so.6 => /lib/…/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"; a static program has none.
ldd dist/cairn 2>/dev/null | grep -o '/[^ ]*' | sort -u | while read -r library; do
    install -D -m 0755 "$library" "dist/libraries$library"
done
