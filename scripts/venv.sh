#!/bin/sh
# venv.sh lab|dev: install the locked requirements of the lab, or of all there is, into $VENV, and the library asgi-mtls from
# its folder, unless they are there. $VENV is made with the first Python >= 3.11 that runs.
set -e
. scripts/error.sh
plain_venv
stamp=$VENV/.$1
library=$VENV/.asgi-mtls # has the path of the checkout that the library was installed from
case $1 in lab) set -- ca server client build ;; dev) set -- dev ;; esac
requirements_there() { # GROUP...
    [ -e "$stamp" ] || return 1
    for group in "$@"; do [ -z "$(find "requirements/$group.txt" -newer "$stamp")" ] || return 1; done
}
library_there() { # from this checkout; or, if $VENV is a link to the environment of another checkout, from that one
    installed=$(cat "$library" 2>/dev/null) || return 1
    if [ "$installed" = "$(pwd -P)" ]; then [ -z "$(find asgi-mtls/pyproject.toml -newer "$library")" ]
    else [ -L "$VENV" ] && [ -e "$installed/asgi-mtls/src" ]; fi
}
if requirements_there "$@" && library_there; then exit 0; fi
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
echo "virtual environment $VENV with $("$python" -V): installing $* asgi-mtls (half a minute the first time)" >&2
[ -x "$VENV/bin/pip" ] || { mkdir -p "$VENV" && touch "$VENV/.mtls-lab"; }
[ -x "$VENV/bin/pip" ] || "$python" -m venv "$VENV" >&2 || { rm -rf "$VENV"; error "no virtual environment" "python3 -m venv failed" "sudo apt-get install python3-venv"; }
pip() { "$VENV/bin/python" -m pip install -qq --disable-pip-version-check "$@" >&2; }
if ! requirements_there "$@"; then
    for group in "$@"; do set -- "$@" -r "requirements/$group.txt"; shift; done
    pip --require-hashes --only-binary :all: "$@" ||
        error "could not install the requirements" "pip failed (its reason is above)" "make up, when the network is there; behind a TLS-inspecting proxy: export PIP_CERT=<its CA bundle>"
    touch "$stamp" "$VENV/.lab" # dev has all of it
fi
if ! library_there; then # nothing is downloaded: the build backend is one of the requirements
    pip --no-deps --no-index --no-build-isolation -e ./asgi-mtls ||
        error "could not install asgi-mtls" "pip failed (its reason is above)" "rm -r $VENV, if nothing else needs it, then: make up"
    pwd -P >"$library"
fi
echo "virtual environment ready in $(($(date +%s) - start)) s" >&2
