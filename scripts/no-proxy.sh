#!/bin/sh
# no-proxy.sh TARGET: what judges Uvicorn itself can't do so through a proxy.
. scripts/error.sh
[ "${PROXY:-none}" = none ] || error "make $1 does not go with PROXY=$PROXY" "it judges Uvicorn itself" "make $1 PROXY=none"
