#!/bin/sh
# Does the proxy listen (0A)? Asked without a connection, which it would log.
grep -q ":$(printf %04X "$PORT") 00000000:0000 0A" /proc/net/tcp
