#!/bin/sh
# Run the client in its container. A lab that was never built has none.
. scripts/error.sh
image=$(docker compose --profile tools config --images client 2>/dev/null | head -n 1)
docker image inspect "$image" >/dev/null 2>&1 || error "the lab is not built" "there is no image $image" "make up"
exec docker compose --progress quiet run --rm --no-deps client "$@"
