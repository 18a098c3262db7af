#!/bin/sh
# servers.sh LINES: run a server for each line (name, port, credential, trust file, CRL or none, CRL_CHECK, pass phrase
# or -) until standard input ends. It runs on the host or in the server's container; SERVER_TLS, LOGS and PYTHON say where
# things are there.
servers=
IFS='
'
for line in $1; do
    IFS=' '
    # shellcheck disable=SC2086
    set -- $line
    [ "$5" = none ] && crl= || crl=$SERVER_TLS/$5.pem
    [ "$7" = - ] && pass_phrase= || pass_phrase=$7
    unset LAB_LOG_FILE
    UVICORN_PORT=$2 UVICORN_SSL_CERTFILE=$SERVER_TLS/$3/fullchain.pem UVICORN_SSL_KEYFILE=$SERVER_TLS/$3/privkey.pem \
        UVICORN_SSL_CA_CERTS=$SERVER_TLS/$4.pem UVICORN_SSL_KEYFILE_PASSWORD=$pass_phrase LAB_CRL=$crl \
        LAB_CRL_CHECK=$6 \
        "$PYTHON" -m server >"$LOGS/$1.log" 2>&1 </dev/null &
    servers="$servers $!"
done
cat >/dev/null
IFS=' '
# shellcheck disable=SC2086
kill $servers
wait
