# Sourced by the scripts that look at the server of this runtime. log: what it has said since it started; running: does it?
. scripts/containers.sh
log() {
    if [ "$RUNTIME" = compose ]; then said_by server; else cat .lab/server.log; fi
}
running() {
    if [ "$RUNTIME" = compose ]; then services | grep -qx server; else sh scripts/local-server.sh running; fi
}
started_with() { # VARIABLE: its value in the environment of the server's container; nothing with RUNTIME=local
    [ "$RUNTIME" != compose ] || docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$(container server)" | sed -n "s/^$1=//p"
}
within() { # COMMAND...: wait until it is true, for 15 s
    deadline=$(($(date +%s) + 15))
    until "$@"; do
        [ "$(date +%s)" -lt $deadline ] || return 1
        sleep 0.2
    done
}
say_reloaded() { log | sed -n 's/^INFO:* *tls_reloaded/  the server reloaded:/p' | tail -n 1; }
proxy() { # which proxy runs in front of it?
    [ "$RUNTIME" != compose ] || services 2>/dev/null | grep -x -e haproxy -e nginx || true
}
# A proxy looks at its files when it starts and when it is told to. Tell it, and wait until its old process accepts nobody.
reload_proxy() {
    front=$(proxy)
    case $front in
    '') return ;;
    haproxy) signal=USR2 ;;
    nginx) signal=HUP ;;
    esac
    stops() { said_by "$front" | grep -c -e 'Proxy clients stopped' -e 'gracefully shutting down' || true; }
    stopped=$(stops)
    deadline=$(($(date +%s) + 10))
    docker kill -s $signal "$(container "$front")" >/dev/null
    until [ "$(stops)" -gt "$stopped" ]; do
        [ "$(date +%s)" -lt $deadline ] || error "$front did not take over the new files" "it goes on with the old ones" "make logs"
        sleep 0.1
    done
}
# at DIR: set host, url and reach (options for curl) to where the server is, by the copy of the certificates in DIR. Where
# another CA issued what it serves, the name in that certificate need not lead to this machine.
at() {
    host=$(sed -n 's/^ *"server_name": "\([^"]*\)".*/\1/p' "$1/manifest.json")
    reach="--noproxy ${host:-localhost}"
    [ -z "$host" ] || reach="$reach --resolve $host:$PORT:127.0.0.1"
    host=${host:-localhost}
    url=https://$host:$PORT
}
