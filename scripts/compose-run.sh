#!/bin/sh
# compose-run.sh SERVICE ARGUMENTS: run one of the programs in a container. A lab that was never built has none.
. scripts/error.sh
. scripts/server.sh
built "$1" || error "the lab is not built" "there is no image $(image_of "$1")" "make up"
sh scripts/project.sh || exit 2
case $1 in
shell | postman) running || error "could not run $1" "the server, whose network it shares, does not run" "make up" ;;
esac
front=
case $1 in client | shell) front=$(proxy) ;; esac
if [ -n "$front" ]; then # it is where `localhost` is to be for the shell, and its log is the client's
    export LAB_FRONT="$front" COMPOSE_PROFILES=proxy
fi
[ -t 0 ] || set -- -T "$@" # a file comes in, or nothing
exec docker compose --progress quiet run --rm --no-deps "$@"
