#!/usr/bin/env bash
# Takes the web server from Debian's package busybox-static, of this machine's own package sources.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt would complain that its own user may not write here.
(cd "$work" && apt-get -o APT::Sandbox::User=root download busybox-static >/dev/null)
dpkg-deb --fsys-tarfile "$work"/busybox-static_*.deb | tar -x -C "$work" ./bin/busybox
install -D "$work/bin/busybox" dist/busybox
