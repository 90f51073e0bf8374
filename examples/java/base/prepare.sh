#!/usr/bin/env bash
# A base image with Debian's Java, built by Cairn into the image layout `layout/`. CAIRN names the program.
set -euo pipefail
cd "$(dirname "$0")"

../../bases/debian.sh rootfs.tar.gz openjdk-17-jre-headless
rm -rf layout
"${CAIRN:-cairn}" lock --update --quiet
"${CAIRN:-cairn}" build --quiet --output oci:layout:17 >/dev/null
