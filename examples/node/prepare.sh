#!/usr/bin/env bash
# Makes what the spec copies: a root file system with Debian's Node.js, and node_modules by package-lock.json.
set -euo pipefail
cd "$(dirname "$0")"

../bases/debian.sh base/rootfs.tar.gz nodejs
npm ci --omit=dev --ignore-scripts --loglevel=error >/dev/null
