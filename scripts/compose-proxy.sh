#!/bin/sh
# compose-proxy.sh remove: remove every proxy that is not wanted. compose-proxy.sh up: start PROXY, or start it anew if
# anything of it has changed, and wait until it listens.
set -e
. scripts/error.sh
. scripts/server.sh
case $1 in
remove)
    for other in $(services -a | grep -x -e haproxy -e nginx); do
        [ "$other" = "$PROXY" ] || sh scripts/every-profile.sh --progress quiet rm -sf "$other" >/dev/null
    done
    ;;
up)
    [ "$PROXY" != none ] || exit 0
    LAB_APP=$(container server)
    export LAB_APP
    if ! output=$(sh scripts/every-profile.sh --progress quiet up -d --no-deps "$PROXY" 2>&1); then
        error "could not start $PROXY" "$output" "make logs"
    fi
    deadline=$(($(date +%s) + 20))
    until docker exec "$(container "$PROXY")" sh listens.sh 2>/dev/null; do
        if [ -z "$(proxy)" ] || [ "$(date +%s)" -gt $deadline ]; then
            said_by "$PROXY" --tail 20 >&2
            error "$PROXY does not run" "its log is above" "make status"
        fi
        sleep 0.1
    done
    ;;
esac
