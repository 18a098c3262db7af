#!/bin/sh
# Start every other server that a scenario asks for, in MODE, beside the one that runs, and judge the clients' behaviour.
# CLIENT is the command of the client program. The servers live as long as this script: they read from it.
set -e
. scripts/containers.sh
. scripts/temporary.sh
work_folder
# shellcheck disable=SC2086
$CLIENT servers >"$work/servers" || exit 2
count=$(wc -l <"$work/servers")
if [ "$RUNTIME" = compose ]; then # in the server's container, where nobody but the default server takes a port
    awk -v port=9000 -v taken="$PORT" '{ if (++port == taken) ++port; print port }' "$work/servers" >"$work/ports"
else
    "$VENV/bin/python" -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held), sep="\n")' "$count" >"$work/ports"
fi
lines=$(paste -d ' ' "$work/servers" "$work/ports")
LAB_PORTS=$(printf '%s\n' "$lines" | awk '{ printf "%s%s=%s", sep, $1, $NF; sep = " " }')
export LAB_PORTS
fifo
if [ "$RUNTIME" = compose ]; then
    docker exec -i -e SERVER_TLS=/lab/server-tls -e LOGS=/lab/log "$(container server)" \
        python -m server.scenario_servers "$lines" <"$fifo" &
else
    SERVER_TLS=.lab/server-tls LOGS=.lab LAB_SERVER=$SERVER UVICORN_HOST=127.0.0.1 UVICORN_SSL_CERT_REQS=$MODE \
        "$VENV/bin/python" -m server.scenario_servers "$lines" <"$fifo" &
fi
exec 3>"$fifo"
echo "$count further servers, SERVER=$SERVER, MODE=$MODE" >&2
status=0
# shellcheck disable=SC2086
$CLIENT matrix --mode "$MODE" --probe="$LAB_PROBE" --server "$SERVER" --servers 3>&- || status=$?
exec 3>&-
wait
exit $status
