# Sourced by the scripts that look at the server of this runtime. log: what it has said since it started; running: does it?
log() {
    if [ "$RUNTIME" = compose ]; then docker compose logs --no-log-prefix server; else cat .lab/server.log; fi
}
running() {
    if [ "$RUNTIME" = compose ]; then [ -n "$(docker compose ps -q --status running server)" ]; else sh scripts/local-server.sh running; fi
}
