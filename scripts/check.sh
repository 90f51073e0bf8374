#!/usr/bin/env bash
# Format, lints, documentation and the rules about files. Changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Workspaces of their own. They share what was compiled with the large one.
small_workspaces=(examples/hello benches)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

# docs/dependencies.md gives the sources of these reasons.
banned_crates=(
    tokio-tar         # known unsound reading of archives, unfixed
    astral-tokio-tar  # five advisories within eight months
    oci-client        # holds layers in memory, goes on with defaults when its TLS settings are wrong
    ocidir            # cannot copy between layouts, takes the time from the clock
    serde_yml         # unsound, archived
    serde_yaml        # deprecated
    libz-sys          # this and the next two change flate2's compressor, and so the bytes of layers
    libz-ng-sys
    zlib-rs
)

# The lines come from find's NUL-terminated names, so any file name is read as it is.
check_lengths() {
    local file lines long=0
    while IFS= read -r -d '' file; do
        lines=$(wc -l <"$file")
        if ((lines > 800)); then
            echo "error: $file has $lines lines, more than 800: is it still one subject?"
            long=1
        fi
    done < <(find crates tests examples benches fuzz -name target -prune -o -name '*.rs' -print0)
    return "$long"
}

check_lock() {
    local name version found=0
    for name in "${banned_crates[@]}"; do
        if grep -qxF "name = \"$name\"" Cargo.lock; then
            echo "error: Cargo.lock has $name, which is banned (scripts/check.sh, deny.toml)"
            found=1
        fi
    done
    # RUSTSEC-2026-0067 and -0068.
    while IFS= read -r version; do
        if [[ $(printf '0.4.46\n%s\n' "$version" | sort -V | head -n 1) != 0.4.46 ]]; then
            echo "error: Cargo.lock has tar $version; at least 0.4.46 is needed"
            found=1
        fi
    done < <(grep -xFA 1 'name = "tar"' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
    return "$found"
}

check_scripts() {
    local script
    for script in scripts/*.sh .ci/run; do
        bash -n "$script"
        [[ -x $script ]] || { echo "error: $script is not executable"; return 1; }
    done
    if command -v shellcheck >/dev/null; then
        shellcheck scripts/*.sh .ci/run
    fi
}

step() {
    echo "check: $*"
    "$@"
}

step check_lengths
step check_lock
step check_scripts
step cargo fmt --all --check
for workspace in "${small_workspaces[@]}"; do
    # From inside, where the workspace's own settings are found.
    (cd "$workspace" && step cargo fmt --check && step cargo clippy --quiet --all-targets --locked -- -D warnings)
done
step cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
echo "check: all good"
