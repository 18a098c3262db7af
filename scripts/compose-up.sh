#!/bin/sh
# Build what has changed, issue what is missing, start or restart the server, and wait until it answers.
set -e
. scripts/elsewhere.sh
start=$(date +%s)
behind=", PROXY=$PROXY"
case $PROXY in
none | '') PROXY=none behind= ;;
haproxy) LAB_PROXY_HEADER=Client-Cert ;;
nginx) LAB_PROXY_HEADER=X-SSL-Client-Cert ;;
esac
export PROXY LAB_PROXY_HEADER
echo "RUNTIME=compose ($WHY: a Docker engine answers), MODE=$MODE, SERVER=$SERVER$behind" >&2

sh scripts/images.sh ca server client
[ "$PROXY" = none ] || sh scripts/images.sh "$PROXY"
[ "$PUBLIC_CA" != acme ] || sh scripts/images.sh pebble certbot

sh scripts/local-server.sh stop # the lab runs in one runtime at a time
sh scripts/adopt.sh
settings=$(docker compose --progress quiet run --rm -T ca issue)
for setting in $settings; do export "${setting?}"; done # LAB_GENERATION, CLIENT_FILES, and a pass phrase if the key has one

case $CRL in none | '') LAB_CRL= ;; *) LAB_CRL=/lab/server-tls/$CRL.pem ;; esac
export LAB_CRL

# Compose removes the old container before it tries the port of the new one: try it first.
if [ -z "$(containers '{{.ID}}' --filter "publish=$PORT")" ] &&
    ! output=$(docker compose --progress quiet run --rm -T --no-deps -p "127.0.0.1:$PORT:$PORT" --entrypoint true client 2>&1); then
    case $output in
    *"already allocated"* | *"already in use"* | *"not available"*)
        error "could not start the server" "port $PORT is in use by another program" "make up PORT=$((PORT % 65535 + 1))" ;;
    *) error "could not start the server" "$output" "make status" ;;
    esac
fi
start_server() {
    sh scripts/compose-proxy.sh remove
    output=$(docker compose --progress quiet up -d --no-deps server 2>&1) ||
        error "could not start the server" "$output" "make logs"
}
served_before=$LAB_ELSEWHERE
if [ -n "$LAB_SERVER_CERT_DIR" ]; then
    export LAB_SERVED=/lab/server-tls/elsewhere
    from_folder
    [ "$LAB_ELSEWHERE" = localhost ] || export LAB_ALIAS="$LAB_ELSEWHERE"
elif [ "$PUBLIC_CA" = acme ]; then
    export LAB_SERVED=/etc/letsencrypt/live/mtls-lab.test LAB_CERTIFICATE_WAIT_S=60
    . scripts/acme.sh
    start_pebble
    alone=
    { running && [ -z "$(proxy)" ]; } || alone=yes
    [ -z "$alone" ] || start_server # it waits for its first certificate; certbot answers the challenge beside it
    obtain obtain || { [ -z "$alone" ] || docker compose --progress quiet stop server; exit 2; }
fi
start_server
if ! output=$(docker exec "$(container server)" python -m server.healthcheck --wait 60 2>&1); then
    said_by server --tail 20 >&2
    error "the server does not run" "its log is above${output:+ ($output)}" "make status"
fi
[ -z "$LAB_SERVED" ] || taken_over
if [ -n "$served_before" ] && [ -z "$LAB_SERVED" ]; then certified --none </dev/null; fi
sh scripts/compose-proxy.sh up
echo "$CLIENT_FILES" >.lab/client-files # for certs.sh
echo "server ready in $(($(date +%s) - start)) s" >&2
