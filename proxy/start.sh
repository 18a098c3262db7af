#!/bin/sh
# start.sh haproxy|nginx: fill in what MODE and CRL say, and start it. What it says is also kept in a file, in which the
# lab's client looks up why it was refused.
set -e
mkfifo /tmp/log
(tee /lab/log/$1.log </tmp/log &) # in the background, as nobody's child
exec >/tmp/log 2>&1

case $1 in
haproxy)
    case $MODE in off) VERIFY=none ;; *) VERIFY=$MODE ;; esac
    CRL_FILE=${CRL:+crl-file $CRL}
    export VERIFY CRL_FILE
    exec haproxy -W -db -f haproxy.cfg
    ;;
nginx)
    case $MODE in required) VERIFY=on ;; *) VERIFY=$MODE ;; esac
    sed -e "s|\${VERIFY}|$VERIFY|g; s|\${PORT}|$PORT|g; s|\${TRUST}|$TRUST|g; s|\${SERVER_CREDENTIAL}|$SERVER_CREDENTIAL|g" \
        -e "${CRL:+s|#ssl_crl;|ssl_crl $CRL;|}" nginx.conf >/tmp/nginx.conf
    exec nginx -c /tmp/nginx.conf
    ;;
esac
