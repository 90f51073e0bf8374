#!/usr/bin/env bash
# The base of both images, built by Cairn into the image layout base/layout/. CAIRN names the program.
set -euo pipefail
cd "$(dirname "$0")/base"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# From Debian's package busybox-static, of this machine's own package sources. apt would complain that its own user may not
# write here.
(cd "$work" && apt-get -o APT::Sandbox::User=root download busybox-static >/dev/null)
dpkg-deb --fsys-tarfile "$work"/busybox-static_*.deb | tar -x -C "$work" ./bin/busybox
install -D "$work/bin/busybox" dist/busybox
rm -rf layout
"${CAIRN:-cairn}" build --quiet --output oci:layout:1 >/dev/null
