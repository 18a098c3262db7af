#!/bin/sh
# After a revocation: does the server that runs look at the lists?
. scripts/error.sh
. scripts/server.sh
front=$(proxy)
if [ -n "$front" ]; then
    if [ -n "$(docker exec "$(container "$front")" printenv CRL)" ]; then
        reload_proxy
        echo "$front looks at its lists, and has read them again"
    else
        echo "$front, which verifies the clients, looks at no list: make up PROXY=$front CRL=validation_crl"
    fi
elif ! running 2>/dev/null; then
    echo "no server runs: make up CRL=validation_crl starts one that looks at the lists"
elif log 2>/dev/null | grep -E '^INFO:* *tls_(re)?loaded' | tail -n 1 | grep -q ' crls='; then
    echo "the server that runs looks at its lists, and reads them again within a second or two when they change"
else
    echo "the server that runs looks at no list: make up CRL=validation_crl"
fi
