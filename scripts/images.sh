#!/bin/sh
# images.sh SERVICE...: build the images of these services if something that images are made of has changed since.
set -e
. scripts/error.sh
. scripts/containers.sh
made=.lab/built-$(echo "$*" | tr ' ' -) # .lab/images-...: of an earlier version (scripts/ownership.sh)
sh scripts/project.sh || exit 2
mkdir -p .lab
if [ -e "$made" ] && built "$@" &&
    [ -z "$(find LICENSE acme asgi-mtls browser ca catalogue client proxy server requirements docs/observations docker-compose.yml .dockerignore \
        -type f ! -name '*.pyc' ! -path '*.egg-info/*' ! -path 'asgi-mtls/tests/*' ! -path 'asgi-mtls/build/*' -newer "$made")" ]; then
    exit 0
fi
echo "building the images of $* (half a minute and more the first time)" >&2
sh scripts/every-profile.sh build "$@" >&2 || error "could not build the images" "docker compose build failed (its reason is above)" \
    "make up, when the network is there; behind a TLS-inspecting proxy: export SSL_CERT_FILE=<its CA bundle>"
touch "$made"
