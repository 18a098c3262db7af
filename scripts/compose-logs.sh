#!/bin/sh
# The server's log; with a proxy in front of it, both, each line with the name of who said it.
. scripts/server.sh
proxy=$(proxy)
[ -n "$proxy" ] || { log && exit; }
exec sh scripts/every-profile.sh logs server "$proxy"
