#!/bin/sh
# needs-docker.sh TARGET: what runs in containers alone says so elsewhere.
. scripts/error.sh
[ "$RUNTIME" = compose ] || error "make $1 needs Docker" "RUNTIME is $RUNTIME ($WHY)" "start Docker (sudo systemctl start docker), then: make $1 RUNTIME=compose"
