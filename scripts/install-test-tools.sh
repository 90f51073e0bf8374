#!/usr/bin/env bash
# Installs the tools of others that some tests use, where that is possible: on Debian, as root, and crane where there is
# Go. Elsewhere says what is missing. Does nothing, quickly, when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the tests run, and what podman needs to run here (tests/podman/README.md).
packages=(podman runc netavark skopeo buildah umoci docker-registry nginx-light curl openssl mmdebstrap libarchive-tools)
commands=(podman skopeo buildah umoci docker-registry nginx curl openssl mmdebstrap bsdtar)

is_debian() {
    [[ -r /etc/os-release ]] && grep -qE '^ID(_LIKE)?=.*debian' /etc/os-release && command -v apt-get >/dev/null
}

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

report_missing_commands() {
    local command
    for command in "${commands[@]}"; do
        command -v "$command" >/dev/null || echo "$command is not installed: the tests that use it will be skipped"
    done
}

# Debian starts a service as soon as it is installed, unless this file says no. The tests start their own.
forbid_services() {
    [[ -e /usr/sbin/policy-rc.d ]] && return
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

install_packages() {
    local log
    log=$(mktemp)
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

if is_debian && [[ $(id -u) == 0 ]]; then
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} > 0)); then
        echo "installing ${missing[*]}"
        # On a developer's machine the tests can do without; where nobody watches they must not shrink unseen.
        install_packages "${missing[@]}" || [[ -z ${CI:-} ]] || exit 1
    fi
fi
report_missing_commands
# Under a minute with an empty cache. Distribution v3 takes four, so only `make bench` builds it.
scripts/go-tools.sh crane
