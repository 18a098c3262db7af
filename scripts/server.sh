# Sourced by the scripts that look at the server of this runtime. log: what it has said since it started; running: does it?
log() {
    if [ "$RUNTIME" = compose ]; then docker compose logs --no-log-prefix server; else cat .lab/server.log; fi
}
running() {
    if [ "$RUNTIME" = compose ]; then [ -n "$(docker compose ps -q --status running server)" ]; else sh scripts/local-server.sh running; fi
}
proxy() { # which proxy runs in front of it?
    [ "$RUNTIME" != compose ] || sh scripts/every-profile.sh ps --services --status running haproxy nginx 2>/dev/null
}
reload_proxy() { # it looks at its files when it starts, and when it is told to
    case $(proxy) in
    haproxy) sh scripts/every-profile.sh --progress quiet kill -s USR2 haproxy ;;
    nginx) sh scripts/every-profile.sh --progress quiet kill -s HUP nginx ;;
    esac
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
