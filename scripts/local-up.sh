#!/bin/sh
# Issue what is missing, start the server or restart it if anything it was started with has changed, and wait for it.
set -e
. scripts/elsewhere.sh
start=$(date +%s)
why=$WHY
[ "$why" = "as asked" ] || why="found by itself: $(sh scripts/runtime.sh --why || true)"
echo "RUNTIME=local ($why), MODE=$MODE, SERVER=$SERVER" >&2

sh scripts/adopt.sh
export LAB_STATE=.lab LAB_SERVER_CREDENTIAL="$SERVER_CREDENTIAL" LAB_TRUST="$TRUST"
settings=$("$VENV/bin/python" -m ca issue)
for setting in $settings; do export "${setting?}"; done # LAB_GENERATION, CLIENT_FILES, and a pass phrase if the key has one

tls=.lab/server-tls
served=$tls/$SERVER_CREDENTIAL served_before=$LAB_ELSEWHERE
unset LAB_ELSEWHERE
if [ -n "$LAB_SERVER_CERT_DIR" ]; then
    served=$tls/elsewhere
    from_folder
fi
ready() { # clients are told last what they have to believe
    if [ -n "$LAB_SERVER_CERT_DIR" ]; then taken_over; elif [ -n "$served_before" ]; then certified --none </dev/null; fi
    echo "$CLIENT_FILES" >.lab/client-files # for certs.sh
}
export LAB_SERVER="$SERVER" UVICORN_HOST=127.0.0.1 UVICORN_PORT="$PORT" UVICORN_SSL_CERT_REQS="$MODE" \
    UVICORN_SSL_CERTFILE=$served/fullchain.pem UVICORN_SSL_KEYFILE=$served/privkey.pem \
    UVICORN_SSL_CA_CERTS=$tls/$TRUST.pem LAB_HEALTHCHECK_DIR=$tls/healthcheck
case $CRL in none | '') LAB_CRL= ;; *) LAB_CRL=$tls/$CRL.pem ;; esac
export LAB_CRL LAB_CRL_CHECK="$CRL_CHECK" LAB_HANDSHAKE_LOG="${LAB_HANDSHAKE_LOG:-1}" LAB_OPEN_HANDSHAKES=1
export LAB_LOGGED_REFUSALS="${LAB_LOGGED_REFUSALS:-100000}" # the client reads the reasons in the log
code=$(find server/ asgi-mtls/src/asgi_mtls/ -type f ! -name '*.pyc' -exec cksum {} + | sort | cksum | cut -d' ' -f1)
config="mode=$MODE server=$SERVER port=$PORT code=$code $(env | grep -E '^(UVICORN_|LAB_)' | sort | cksum | cut -d' ' -f1)"

if sh scripts/local-server.sh running && [ "$(cat .lab/server.config 2>/dev/null)" = "$config" ]; then
    ready
    echo "server already running" >&2
    exit 0
fi
# Only the port that it holds itself is freed before it is tried: a failed start leaves the old server alone.
case $(cat .lab/server.config 2>/dev/null) in *" port=$PORT "*) sh scripts/local-server.sh stop ;; esac
port_is_free() {
    "$VENV/bin/python" -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1])))' "$PORT" 2>/dev/null
}
if ! port_is_free && sh scripts/runtime.sh --why >/dev/null && other=$(containers '{{.ID}}' --filter label=com.docker.compose.service=server) && [ -n "$other" ]; then
    echo "stopping the server of RUNTIME=compose: the lab runs in one runtime at a time" >&2
    docker stop "$other" >/dev/null
fi
port_is_free ||
    error "could not start the server" "port $PORT is in use by another program, or not yours to use" "make up PORT=$((PORT % 65535 + 1))"
sh scripts/local-server.sh stop
sh scripts/local-server.sh start
check="$VENV/bin/python -m server.healthcheck --wait 60 --pid $(cat .lab/server.pid)"
if ! output=$($check 2>&1) || ! sh scripts/local-server.sh running; then
    tail -n 20 .lab/server.log >&2
    sh scripts/local-server.sh stop # or the next one finds its port taken
    error "the server does not run" "its log is above$(echo "$output" | sed -n 's/^error: \(.*\)/ (\1)/p')" "make logs"
fi
echo "$config" >.lab/server.config
ready
echo "server ready in $(($(date +%s) - start)) s" >&2
