#!/bin/sh
# Compile the dependency groups of pyproject.toml into requirements/*.txt: hashes, but no index addresses; one lock for
# Python 3.11 to 3.13, x86-64 and arm64. The parts are constrained by dev.txt, so that all agree.
set -eu
cd "$(dirname "$0")/.."
compile() { # group, further options
    group=$1
    shift
    uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        --group "pyproject.toml:$group" -o "requirements/$group.txt" "$@"
}
command -v uv >/dev/null || { printf 'error: could not lock: uv is not installed\n  try: pip install uv\n' >&2; exit 2; }
compile dev
for group in ca server client browser npm build; do compile "$group" -c requirements/dev.txt; done
if command -v npm >/dev/null; then
    npm install --prefix client/postman --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel error
else
    echo "npm is not installed: client/postman/package-lock.json stays as it is" >&2
fi
