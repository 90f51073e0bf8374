#!/usr/bin/env bash
# debian.sh FILE PACKAGE…: a root file system with these Debian packages and what they need, as a tar archive compressed with
# gzip, from this machine's own package sources. Packages are unpacked, and none of their scripts is run. Needs mmdebstrap, on Debian.
#
# The same versions of the packages give the same bytes.
set -euo pipefail

(($# >= 2)) || { echo "usage: debian.sh FILE PACKAGE…" >&2; exit 2; }
file=$1
shift
# shellcheck source=/dev/null
suite=$(. /etc/os-release && [[ ${ID:-} == debian ]] && echo "$VERSION_CODENAME") ||
    { echo "debian.sh takes its packages from the sources of a Debian machine, and this is none" >&2; exit 1; }
shopt -s nullglob
sources=(/etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources)
[[ ! -s /etc/apt/sources.list ]] || sources=(/etc/apt/sources.list "${sources[@]}")

mkdir -p "$(dirname "$file")"
SOURCE_DATE_EPOCH=1 mmdebstrap --quiet --variant=extract --format=tar \
    --include="$(IFS=,; echo "$*")" \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" - "${sources[@]}" | gzip -n >"$file.part"
mv "$file.part" "$file"
