#!/bin/sh
# venv.sh lab|dev: install the locked requirements of the lab, or of all there is, into $VENV, unless they are there. It is
# made with the first Python >= 3.11 that runs.
set -e
. scripts/error.sh
plain_venv
stamp=$VENV/.$1
case $1 in lab) set -- ca server client ;; dev) set -- dev ;; esac
there() { # GROUP...
    [ -e "$stamp" ] || return 1
    for group in "$@"; do [ -z "$(find "requirements/$group.txt" -newer "$stamp")" ] || return 1; done
}
if there "$@"; then exit 0; fi
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
python=$(find_python) || error "no virtual environment" "${PYTHON:-python3} is not a Python >= 3.11" "sudo apt-get install python3 python3-venv, or name one: make up PYTHON=python3.12"
if [ -e "$VENV" ] && ! [ -e "$VENV/.mtls-lab" ]; then
    error "no virtual environment" "$VENV exists and is not one that make made" "rm -r $VENV, if it is not needed, or: make up VENV=.venv-lab"
fi
if [ -e "$VENV" ] && ! usable "$VENV/bin/python"; then rm -rf "$VENV"; fi
if [ -n "$PYTHON" ] && [ -e "$VENV" ] && [ "$("$VENV/bin/python" -V)" != "$("$python" -V)" ]; then rm -rf "$VENV"; fi
start=$(date +%s)
echo "virtual environment $VENV with $("$python" -V): installing $* (half a minute the first time)" >&2
[ -x "$VENV/bin/pip" ] || { mkdir -p "$VENV" && touch "$VENV/.mtls-lab"; }
[ -x "$VENV/bin/pip" ] || "$python" -m venv "$VENV" >&2 || { rm -rf "$VENV"; error "no virtual environment" "python3 -m venv failed" "sudo apt-get install python3-venv"; }
for group in "$@"; do set -- "$@" -r "requirements/$group.txt"; shift; done
"$VENV/bin/pip" install -qq --disable-pip-version-check --require-hashes --only-binary :all: "$@" >&2 ||
    error "could not install the requirements" "pip failed (its reason is above)" "make up, when the network is there; behind a TLS-inspecting proxy: export PIP_CERT=<its CA bundle>"
touch "$stamp" "$VENV/.lab" # dev has all of it
echo "virtual environment ready in $(($(date +%s) - start)) s" >&2
