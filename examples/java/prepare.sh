#!/usr/bin/env bash
# Makes what the spec copies: an image layout with Debian's Java, which stands for a base image in a registry, and the jar.
set -euo pipefail
cd "$(dirname "$0")"

base/prepare.sh
rm -rf classes dist
mkdir -p dist
javac --release 17 -d classes src/shop/Main.java
# Without a date a jar would hold the time of this run, and be another one each time.
jar --create --file dist/shop.jar --main-class shop.Main --date 1980-01-01T00:00:02Z -C classes .
