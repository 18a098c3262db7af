#!/bin/sh
# Run the client in its container, or, with --shell, a shell beside the server. A lab that was never built has neither.
. scripts/error.sh
image=$(docker compose --profile tools config --images client 2>/dev/null | head -n 1)
docker image inspect "$image" >/dev/null 2>&1 || error "the lab is not built" "there is no image $image" "make up"
if [ "$1" = --shell ]; then
    [ -n "$(docker compose ps -q --status running server)" ] || error "could not open a shell" "the server, whose network it shares, does not run" "make up"
    exec docker compose --progress quiet run --rm --no-deps shell
fi
exec docker compose --progress quiet run --rm --no-deps client "$@"
