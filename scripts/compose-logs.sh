#!/bin/sh
# The server's log; with a proxy in front of it, both, each line with the name of who said it.
. scripts/server.sh
proxy=$(proxy)
if [ -z "$proxy" ]; then
    log
    exit
fi
exec sh scripts/every-profile.sh logs server "$proxy"
