#!/usr/bin/env bash
# Makes what the spec copies: a root file system with Debian's Python, a directory of wheels, and what is in the wheels.
set -euo pipefail
cd "$(dirname "$0")"

../bases/debian.sh base/rootfs.tar.gz python3
# The wheels are for the Python of the base, whichever Python runs pip here.
python=(--only-binary=:all: --python-version=3.11 --implementation=cp --platform=manylinux2014_x86_64)
rm -rf wheels site
python3 -m pip --quiet --disable-pip-version-check download "${python[@]}" --dest wheels --requirement requirements.txt
# Unpacked here, where it is built, and not in the image. --no-compile: byte code would hold the time of this run.
python3 -m pip --quiet --disable-pip-version-check install --no-index --find-links=wheels --no-compile --target=site \
    "${python[@]}" --no-warn-script-location --requirement requirements.txt
