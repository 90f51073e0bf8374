#!/usr/bin/env bash
# demo.sh [DIRECTORY]: a machine that Ansible keeps, from version 1 to version 2, with an edit by hand, and back.
#
# The machine is a directory with Debian in it, made by mmdebstrap from this machine's own package sources, and entered with chroot; so
# this needs root, on Debian, and a Python with pip. Ansible is in the machine itself, as ansible-pull has it. ADDRESS and PORT are where
# the application listens. Nothing is left but DIRECTORY, by default one that is
# removed at the end; a machine that is there already is used as it is.
set -euo pipefail
cd "$(dirname "$0")"

address=${ADDRESS:-127.0.0.1} port=${PORT:-5000}
host=${1:-}
[[ -n $host ]] || { host=$(mktemp -d) && temporary=$host; }
stop() {
    in_machine start-stop-daemon --stop --quiet --oknodo --retry 5 --pidfile /run/hello.pid || true
    [[ -z ${temporary:-} ]] || rm -rf "$temporary"
}
trap stop EXIT

in_machine() {
    chroot "$host" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        PYTHONPATH=/opt/ansible PYTHONDONTWRITEBYTECODE=1 "$@"
}

# The machine as whoever installed it left it.
make_machine() {
    local suite sources
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && [[ ${ID:-} == debian ]] && echo "$VERSION_CODENAME") ||
        { echo "the machine gets its packages from the sources of a Debian machine, and this is none" >&2; exit 1; }
    shopt -s nullglob
    sources=(/etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources)
    [[ ! -s /etc/apt/sources.list ]] || sources=(/etc/apt/sources.list "${sources[@]}")
    mmdebstrap --quiet --variant=apt --include=python3,python3-apt "$suite" "$host" "${sources[@]}" >&2
    in_machine apt-get --quiet --quiet update >&2
    # For the Python of the machine, whichever runs pip here.
    python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore --no-compile --target "$host/opt/ansible" \
        --only-binary=:all: --python-version=3.11 --implementation=cp --abi=cp311 --abi=abi3 --abi=none \
        --platform=manylinux2014_x86_64 --platform=manylinux_2_28_x86_64 --requirement requirements.txt >&2
}

# Brings the machine to what the playbook says, with the application in version $1; prints Ansible's last line.
play() {
    mkdir -p "$host/etc/site"
    cp playbook.yaml "$host/etc/site/"
    sed "s/Version 1/Version $1/" ../app.py >"$host/etc/site/app.py"
    in_machine python3 -m ansible playbook --inventory localhost, --extra-vars "listen_address=$address listen_port=$port" \
        /etc/site/playbook.yaml >"$host/var/log/ansible.log" 2>&1 || { cat "$host/var/log/ansible.log" >&2; return 1; }
    sed -n 's/^localhost *: *\(ok=[0-9]*\) *\(changed=[0-9]*\).*/\1 \2/p' "$host/var/log/ansible.log"
}

# What it says on the network, once it says something.
ask() {
    for _ in {1..100}; do
        curl --silent --fail "http://$address:$port/" && return
        sleep 0.1
    done
    echo "no answer from $address:$port" >&2
    return 1
}

say() {
    printf '%-26s %s\n' "$1" "$2"
}

[[ -d $host/opt/ansible ]] || make_machine
play 1 >/dev/null
say "version 1:" "$(ask)"
play 2 >/dev/null
say "version 2:" "$(ask)"
# Somebody who logged in, in a hurry: the playbook knows nothing of the files of packages.
cat >>"$host/usr/lib/python3/dist-packages/flask/__init__.py" <<'EDIT'
respond = Flask.make_response
Flask.make_response = lambda self, answer: respond(self, str(answer).replace("Hello", "Goodbye"))
EDIT
in_machine start-stop-daemon --stop --quiet --retry 5 --pidfile /run/hello.pid
play 2 >/dev/null
say "edited by hand:" "$(ask)"
say "the playbook says:" "$(play 2)"
say "and the machine:" "$(ask)"
play 1 >/dev/null
say "version 1 again:" "$(ask)"
