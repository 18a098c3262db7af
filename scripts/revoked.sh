#!/bin/sh
# After a revocation: does the server that runs look at the lists?
log() { if [ "$RUNTIME" = compose ]; then docker compose logs --no-log-prefix server 2>/dev/null; else cat .lab/server.log 2>/dev/null; fi; }
if [ "$RUNTIME" = compose ]; then running=$(docker compose ps -q --status running server 2>/dev/null); else running=$(sh scripts/local-server.sh running && echo yes); fi
if [ -z "$running" ]; then
    echo "no server runs: make up CRL=validation_crl starts one that looks at the lists"
elif log | grep -E '^INFO:* *tls_(re)?loaded' | tail -n 1 | grep -q ' crls='; then
    echo "the server that runs looks at its lists, and reads them again within a second or two when they change"
else
    echo "the server that runs looks at no list: make up CRL=validation_crl"
fi
