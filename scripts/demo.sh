#!/usr/bin/env bash
# One image through its life: built, released, replaced, rolled back. Everything happens in a temporary directory
# and on the loopback address, and is removed at the end, however it ends.
#
# CAIRN=PROGRAM uses that binary instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
export LC_ALL=C

# Cargo finds itself through HOME, which becomes the demo's own below.
export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
# The user's settings, keys and proxies are not for the demo; with CI set, Cairn would refuse to make a key.
unset "${!CAIRN_KEY@}" "${!CAIRN_S@}" CAIRN_TRUST CI SOURCE_DATE_EPOCH SSH_AUTH_SOCK REGISTRY_AUTH_FILE DOCKER_CONFIG
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

work=$(mktemp -d)
server=
container=
runs=0
seconds_since() { awk -v start="$1" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.2f", now - start }'; }

clean_up() {
    [[ -z $container ]] || stop_container >/dev/null 2>&1 || true
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    # What watched a container may still be writing its last files.
    for _ in {1..50}; do
        rm -rf "$work" 2>/dev/null && return
        sleep 0.1
    done
    # Files of a container without root belong to other users, and only podman can remove them.
    podman unshare rm -rf "$work" || echo "warning: $work could not be removed" >&2
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

title() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Bytes in the registry's files. What a command adds to them is what it uploaded.
registry_bytes() { { find "$work/registry" -type f -exec cat {} + 2>/dev/null || true; } | wc -c; }

# Prints a command as it would be typed, runs it, and says what it cost.
run() {
    local start bytes words
    words=$(printf ' %q' "$@")
    # Quotes are easier to read than backslashes.
    [[ $words != *\\* ]] || words=$(printf " %s" "${@:1:$#-1}")" \"${*: -1}\""
    printf '\n$%s\n' "$words"
    bytes=$(registry_bytes)
    start=$EPOCHREALTIME
    "$@" 2>&1
    note "[$(seconds_since "$start") s, $(($(registry_bytes) - bytes)) bytes uploaded]"
}

# The body of one answer, with nothing but bash: `http_get PORT PATH [ACCEPT]`.
http_get() {
    local connection
    exec {connection}<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAccept: %s\r\nConnection: close\r\n\r\n' \
        "$2" "$1" "${3:-*/*}" >&"$connection"
    sed '1,/^\r$/d' <&"$connection"
    exec {connection}<&-
}

# The manifest that a tag shows, as the registry sends it.
manifest() { http_get "$port" "/v2/team/hello/manifests/$1" application/vnd.oci.image.manifest.v1+json; }

build_cairn() {
    title "Build cairn"
    if [[ -n ${CAIRN:-} ]]; then
        ln -s "$(realpath "$CAIRN")" "$work/bin/cairn"
        note "using $CAIRN"
        return
    fi
    local start=$EPOCHREALTIME target
    cargo build --release --locked -p cairn-cli
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    ln -s "$target/release/cairn" "$work/bin/cairn"
    note "[$(seconds_since "$start") s, $(wc -c <"$work/bin/cairn") bytes]"
}

start_registry() {
    title "Start a registry: cairn serves a store of its own"
    printf '\n$ cairn serve --listen 127.0.0.1:0\n'
    local url output
    exec {output}< <(exec cairn --store "$work/registry" serve --listen 127.0.0.1:0 2>"$work/serve.log")
    server=$!
    read -r -t 20 url <&"$output" || { cat "$work/serve.log" >&2; fail "cairn serve did not say where it listens"; }
    echo "$url"
    port=${url##*:}
    port=${port%/}
}

build_hello() {
    local start=$EPOCHREALTIME
    architecture=$("$project/scripts/build-hello.sh" "$work/hello")
    note "hello built by cargo for linux/$architecture: $(wc -c <"dist/$architecture/hello") bytes [$(seconds_since "$start") s]"
}

write_spec() {
    sed -i -e "s|^name .*\"hello\"|&\nrepository = \"127.0.0.1:$port/team/hello\"|" \
        -e "s|linux/amd64|linux/$architecture|" cairn.toml
    [[ $(grep -c "^repository = " cairn.toml) == 1 ]] || fail "examples/hello/cairn.toml does not name hello in one line"
}

# Podman, with every directory in the demo's.
podman_here() {
    podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp" \
        --network-config-dir "$work/podman/net" --storage-driver vfs "$@"
}

stop_container() {
    podman_here rm --force --time 0 "$container"
    container=
}

start_container() {
    mkdir -p "$work"/podman/{root,run,tmp,net}
    runs=$((runs + 1))
    container=cairn-demo-$$-$runs
    podman_here run --detach --pull always --tls-verify=false --network host --name "$container" \
        --env ADDRESS=127.0.0.1 --env PORT=0 "127.0.0.1:$port/team/hello:prod" >"$work/podman.log" 2>&1
}

# Tries the settings that work where capabilities are few, then the machine's own.
choose_podman_settings() {
    command -v podman >/dev/null || { podman_missing="podman is not installed"; return; }
    local settings
    for settings in "$project/tests/podman/containers.conf" ""; do
        if [[ -n $settings ]]; then export CONTAINERS_CONF="$settings"; else unset CONTAINERS_CONF; fi
        if start_container; then
            podman_missing=
            stop_container >/dev/null 2>&1
            return
        fi
        stop_container >/dev/null 2>&1 || true
        container=
    done
    podman_missing="podman cannot run a container here: $(tail -n 1 "$work/podman.log")"
}

# Runs the image that the channel's tag shows and asks it over HTTP.
run_image() {
    local expected=$1 url answer
    if [[ -n $podman_missing ]]; then
        note "not run: $podman_missing"
        return
    fi
    printf '\n$ podman run --pull always 127.0.0.1:%s/team/hello:prod\n' "$port"
    start_container || fail "podman: $(cat "$work/podman.log")"
    for _ in {1..100}; do
        url=$(podman_here logs "$container" 2>/dev/null | head -n 1)
        [[ -z $url ]] || break
        sleep 0.05
    done
    [[ -n $url ]] || fail "the container did not say where it listens"
    printf '\n$ curl %s\n' "$url"
    answer=$(http_get "${url##*:}" /)
    echo "$answer"
    stop_container >/dev/null 2>&1
    [[ $answer == "Hello, World! $expected" ]] || fail "the answer should have been: Hello, World! $expected"
}

export HOME="$work/home" XDG_CONFIG_HOME="$work/home/config" XDG_DATA_HOME="$work/home/data"
export XDG_STATE_HOME="$work/home/state" XDG_CACHE_HOME="$work/home/cache" CAIRN_STORE="$work/store"
export PATH="$work/bin:$PATH"
mkdir -p "$work"/{bin,home,registry,hello/src,hello/.cargo}
begin=$EPOCHREALTIME

build_cairn
start_registry

title "Release 1.0.0"
cp "$project"/examples/hello/{Cargo.toml,Cargo.lock,cairn.toml} "$work/hello/"
cp "$project"/examples/hello/.cargo/config.toml "$work/hello/.cargo/"
cp "$project"/examples/hello/src/main.rs "$work/hello/src/"
cd "$work/hello"
build_hello
write_spec
run cairn release 1.0.0 --channel prod
manifest prod >"$work/before.json"
choose_podman_settings
run_image "Version 1"

title "Change the application and release 2.0.0"
printf "\n\$ sed -i 's/Version 1/Version 2/' src/main.rs\n"
sed -i 's/Version 1/Version 2/' src/main.rs
build_hello
run cairn release 2.0.0 --channel prod --reason "new greeting"
run cairn status
manifest prod >"$work/between.json"
! cmp -s "$work/before.json" "$work/between.json" || fail "prod shows the same manifest after the second release"
run_image "Version 2"

title "Roll back"
run cairn rollback prod --reason "500s on checkout"
manifest prod >"$work/after.json"
cmp "$work/before.json" "$work/after.json" || fail "prod does not show the manifest of 1.0.0"
note "The manifest that prod shows is 1.0.0's again, byte for byte:"
note "  before    sha256:$(sha256sum <"$work/before.json" | cut -d ' ' -f 1)  $(wc -c <"$work/before.json") bytes"
note "  between   sha256:$(sha256sum <"$work/between.json" | cut -d ' ' -f 1)"
note "  after     sha256:$(sha256sum <"$work/after.json" | cut -d ' ' -f 1)"
run_image "Version 1"

title "What happened, and whether all of it is sound"
run cairn history
run cairn audit

title "Done in $(seconds_since "$begin") s; everything that the demo made is removed now"
