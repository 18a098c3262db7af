#!/bin/sh
# What to know and what to try, when the server is up.
. scripts/server.sh
equivalent=$(log | sed -n 's/^INFO serving .*equivalent="\(.*\)"$/\1/p' | tail -n 1)
good=certs/clients/client-good
served="SERVER=$SERVER, RUNTIME=$RUNTIME"
judge="make test-$MODE"
if [ "$SERVER_CREDENTIAL" != server-good ]; then
    served="$served, SERVER_CREDENTIAL=$SERVER_CREDENTIAL"
    judge="make probe S=$SERVER_CREDENTIAL PROBE=curl; and all of its kind: make test-servers"
fi
[ "$TRUST" = validation_fullchain ] || served="$served, TRUST=$TRUST"
cat <<END

  URL            https://localhost:$PORT
  mode           $MODE ($served)
  served as by   $equivalent
  certificates   certs (CA of the server: public_root.pem, clients: clients/<name>/)

Try, without a certificate, with one, and by hand:

  curl --noproxy localhost --cacert certs/public_root.pem https://localhost:$PORT/

  curl --noproxy localhost --cacert certs/public_root.pem --cert $good/fullchain.pem --key $good/privkey.pem https://localhost:$PORT/

  printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' | openssl s_client -quiet -connect localhost:$PORT -CAfile certs/public_root.pem -cert $good/cert.pem -cert_chain $good/chain.pem -key $good/privkey.pem

Judge it: $judge    See all targets: make help
END
