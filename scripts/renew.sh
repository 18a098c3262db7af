#!/bin/sh
# Renew the certificate that the running server has from the ACME server, while a client asks without a pause.
set -e
. scripts/elsewhere.sh
what="could not renew while serving"
running || error "$what" "no server runs that could take it over" "make up PUBLIC_CA=acme"
serving=$(log | grep '^INFO:* *serving server=' | tail -n 1)
case $serving in
*' /etc/letsencrypt/live/'*) ;;
*/server-tls/elsewhere/*) error "$what" "the server has what was in LAB_SERVER_CERT_DIR: its own ACME client renews that" "certbot renew, then make up LAB_SERVER_CERT_DIR=... again: the running server takes it over" ;;
*) error "$what" "the lab's own CA issued what the server has" "make rotate WHAT=server, or: make up PUBLIC_CA=acme" ;;
esac
case $serving in
*' server=explained '*) ;;
*) error "$what" "stock Uvicorn reads its files once, when it starts" "make up PUBLIC_CA=acme SERVER=explained" ;;
esac
. scripts/acme.sh

start_pebble
sh scripts/certs.sh certs
[ "$root" = "$(cat certs/public_root.pem)" ] ||
    error "$what" "the ACME server was started again: it has another root, and knows no account" "make up PUBLIC_CA=acme"
before=$(loaded)
fifo
sh scripts/compose-run.sh client steady <"$fifo" >"$work/seen" &
client=$!
exec 3>"$fifo" # the client asks as long as this is open
within test -s "$work/seen" || { exec 3>&- && error "$what" "no client begins to ask" "make matrix"; }
echo "certbot renew --force-renewal, while a client asks without a pause:"
obtained=0
{ obtain renew && (taken_over); } || obtained=$? # it says why
exec 3>&-
asked=0
wait $client || asked=$?
[ $obtained -eq 0 ] || exit 2
say_reloaded
sed '1d; s/^/  /' "$work/seen"
[ $asked -eq 0 ] || error "requests were lost" "the client says which, above" "make logs"
case $(sed -n 's/^serials //p' "$work/seen") in
"$before $serial") ;;
*) error "clients did not see the old certificate, then the new one" "they are $before and $serial" "make logs" ;;
esac
