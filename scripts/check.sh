#!/bin/sh
# Refuse a knob with a value that it can't have, and a runtime that is not there.
. scripts/error.sh
plain_venv
case $MODE in off | optional | required) ;; *) error "unknown MODE" "'$MODE' is none of off, optional, required" "make up MODE=required" ;; esac
case $SERVER in explained | stock) ;; *) error "unknown SERVER" "'$SERVER' is neither explained nor stock" "make up SERVER=explained" ;; esac
case $PORT in '' | *[!0-9]* | ??????*) port=0 ;; *) port=$PORT ;; esac
if [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then
    error "unusable PORT" "'$PORT' is no port number from 1 to 65535" "make up PORT=8443"
fi
one_of() { # NAME VALUE KNOWN...: empty is the default
    name=$1 value=$2
    shift 2
    [ -z "$value" ] && return
    for known in "$@"; do [ "$value" = "$known" ] && return; done
    error "unknown $name" "'$value' is none of $*" "make up $name=$1"
}
[ -n "$SERVER_CREDENTIAL" ] || error "unknown SERVER_CREDENTIAL" "it is empty" "make up SERVER_CREDENTIAL=server-good"
[ -n "$TRUST" ] || error "unknown TRUST" "it is empty" "make up TRUST=validation_fullchain"
one_of PROXY "$PROXY" none haproxy nginx
if [ -n "$PROXY" ] && [ "$PROXY" != none ]; then
    sh scripts/needs-docker.sh "up PROXY=$PROXY" || exit 2
    [ "$SERVER" = explained ] || error "PROXY=$PROXY does not go with SERVER=$SERVER" \
        "a plain Uvicorn does not tell the application who its peer is, so it could believe no proxy" "make up PROXY=$PROXY SERVER=explained"
    [ "$SERVER_CREDENTIAL" != server-encrypted-key ] || error "PROXY=$PROXY does not go with SERVER_CREDENTIAL=$SERVER_CREDENTIAL" \
        "HAProxy and nginx of the lab are given no pass phrase" "make up PROXY=$PROXY SERVER_CREDENTIAL=server-good"
    [ "${PUBLIC_CA:-lab}$LAB_SERVER_CERT_DIR" = lab ] || error "PROXY=$PROXY serves what the lab's CA issued" \
        "PUBLIC_CA=$PUBLIC_CA${LAB_SERVER_CERT_DIR:+ LAB_SERVER_CERT_DIR=$LAB_SERVER_CERT_DIR} is another CA" "make up PROXY=none, or PUBLIC_CA=lab LAB_SERVER_CERT_DIR="
fi
one_of PUBLIC_CA "$PUBLIC_CA" lab acme
if [ "$SERVER_CREDENTIAL" != server-good ] && [ "${PUBLIC_CA:-lab}$LAB_SERVER_CERT_DIR" != lab ]; then
    error "could not serve $SERVER_CREDENTIAL" "PUBLIC_CA=$PUBLIC_CA${LAB_SERVER_CERT_DIR:+ LAB_SERVER_CERT_DIR=$LAB_SERVER_CERT_DIR} serves another CA's certificate" "make up SERVER_CREDENTIAL=server-good, or PUBLIC_CA=lab LAB_SERVER_CERT_DIR="
fi
if [ "$PUBLIC_CA" = acme ] && [ -n "$LAB_SERVER_CERT_DIR" ]; then
    error "could not choose a certificate" "PUBLIC_CA=acme and LAB_SERVER_CERT_DIR are two of them" "make up PUBLIC_CA=acme LAB_SERVER_CERT_DIR="
fi
if [ "$PUBLIC_CA" = acme ] && [ "$PORT" = 80 ]; then
    error "unusable PORT" "at port 80 the challenge of PUBLIC_CA=acme is answered" "make up PUBLIC_CA=acme PORT=8443"
fi
if [ "$PUBLIC_CA" = acme ] && [ "$RUNTIME" = local ]; then sh scripts/needs-docker.sh "up PUBLIC_CA=acme" || exit 2; fi
trusted=$LAB_TRUSTED_PROXY
case $trusted in *\**) trusted="a pattern" ;; esac
case $trusted in
'' | anybody | [Dd][Nn][Ss]:?* | [Uu][Rr][Ii]:?*) ;;
*) error "unusable LAB_TRUSTED_PROXY" "'$LAB_TRUSTED_PROXY' is neither dns: and a DNS name nor uri: and a URI, of one proxy" "make up LAB_TRUSTED_PROXY=dns:proxy.mtls-lab.test" ;;
esac
if [ -n "$LAB_TRUSTED_PROXY" ] && [ "$MODE" = off ] && [ "${PROXY:-none}" = none ]; then
    error "LAB_TRUSTED_PROXY does not go with MODE=off" "the proxy shows no certificate then, so it can't be known" "make up MODE=required $(word "LAB_TRUSTED_PROXY=$LAB_TRUSTED_PROXY" LAB_TRUSTED_PROXY=...)"
fi
case $LAB_PROXY_HEADER in
*[!A-Za-z0-9-]* | -* | *- | *--* | [Cc]lient-[Cc]ert-[Cc]hain)
    error "unusable LAB_PROXY_HEADER" "'$LAB_PROXY_HEADER' is no name of letters, digits and dashes of a header that holds one certificate" "make up LAB_PROXY_HEADER=Client-Cert" ;;
esac
one_of CRL "$CRL" none validation_crl validation_crl_expired validation_crl_without_root untrusted_crl
one_of CRL_CHECK "$CRL_CHECK" leaf chain
one_of LAB_HANDSHAKE_LOG "$LAB_HANDSHAKE_LOG" 1 0
one_of UVICORN_LOOP "$UVICORN_LOOP" auto asyncio uvloop
one_of UVICORN_HTTP "$UVICORN_HTTP" auto h11 httptools
one_of LAB_VERIFY_STRICT "$LAB_VERIFY_STRICT" 1 0
one_of LAB_SESSION_TICKETS "$LAB_SESSION_TICKETS" 0 1
seconds() { # NAME VALUE
    case $2 in *[!0-9.]* | *.*.* | .) error "unusable $1" "'$2' is no number of seconds" "make up $1=10" ;; esac
}
seconds LAB_HANDSHAKE_TIMEOUT_S "$LAB_HANDSHAKE_TIMEOUT_S"
seconds LAB_REQUEST_HEAD_TIMEOUT_S "$LAB_REQUEST_HEAD_TIMEOUT_S"
case $LAB_MAX_HANDSHAKES in *[!0-9]* | 0) error "unusable LAB_MAX_HANDSHAKES" "'$LAB_MAX_HANDSHAKES' is no number from 1" "make up LAB_MAX_HANDSHAKES=200" ;; esac
case $LAB_LOGGED_REFUSALS in *[!0-9]* | 0) error "unusable LAB_LOGGED_REFUSALS" "'$LAB_LOGGED_REFUSALS' is not a number from 1" "make up LAB_LOGGED_REFUSALS=100000" ;; esac
case $UVICORN_WORKERS in *[!0-9]* | 0) error "unusable UVICORN_WORKERS" "'$UVICORN_WORKERS' is no number from 1" "make up UVICORN_WORKERS=1" ;; esac
case $RUNTIME in
compose)
    [ "$WHY" = "found by itself" ] || fact=$(sh scripts/runtime.sh --why) ||
        error "RUNTIME=compose can't be used" "$fact" "start Docker (sudo systemctl start docker), or: make up RUNTIME=local"
    ;;
local)
    for tool in openssl curl; do
        command -v $tool >/dev/null || error "RUNTIME=local needs $tool" "it is not installed" "sudo apt-get install $tool (or: brew install $tool)"
    done
    ;;
*) error "unknown RUNTIME" "'$RUNTIME' is neither compose nor local" "make up RUNTIME=local" ;;
esac
