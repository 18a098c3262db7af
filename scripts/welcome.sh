#!/bin/sh
# What to know and what to try, when the server is up.
. scripts/server.sh
equivalent=$(log | sed -n 's/^INFO serving .*equivalent="\(.*\)"$/\1/p' | tail -n 1)
at certs
by_hand="-connect $host:$PORT"
[ "$host" = localhost ] || by_hand="-connect localhost:$PORT -servername $host"
good=certs/clients/client-good
served="SERVER=$SERVER, RUNTIME=$RUNTIME"
judge="make test-$MODE"
[ "${PUBLIC_CA:-lab}" = lab ] || judge="$judge PUBLIC_CA=$PUBLIC_CA"
if [ "$SERVER_CREDENTIAL" != server-good ]; then
    served="$served, SERVER_CREDENTIAL=$SERVER_CREDENTIAL"
    judge="make probe S=$SERVER_CREDENTIAL PROBE=curl; and all of its kind: make test-servers"
fi
[ "${PUBLIC_CA:-lab}" = lab ] || served="$served, PUBLIC_CA=$PUBLIC_CA"
front=
case $PROXY in
haproxy | nginx)
    judge="$judge PROXY=$PROXY"
    served="$served, PROXY=$PROXY"
    front="
  behind         $PROXY, which verifies the clients: docs/proxies.md. The application itself wants a certificate always"
    ;;
esac
[ -z "$LAB_SERVER_CERT_DIR" ] || served="$served, LAB_SERVER_CERT_DIR=$LAB_SERVER_CERT_DIR"
[ "$TRUST" = validation_fullchain ] || served="$served, TRUST=$TRUST"
cat <<END

  URL            $url
  mode           $MODE ($served)
  served as by   $equivalent$front
  certificates   certs (CA of the server: public_root.pem, clients: clients/<name>/)

Try, without a certificate, with one, and by hand:

  curl $reach --cacert certs/public_root.pem $url/

  curl $reach --cacert certs/public_root.pem --cert $good/fullchain.pem --key $good/privkey.pem $url/

  printf 'GET / HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n' | openssl s_client -quiet $by_hand -CAfile certs/public_root.pem -cert $good/cert.pem -cert_chain $good/chain.pem -key $good/privkey.pem

Judge it: $judge    See all targets: make help
END
