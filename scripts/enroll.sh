#!/bin/sh
# Walk the way of a client certificate: key, request, signature, check, first request. Every command is printed as one
# can type it. The key is made here and stays here.
set -e
. scripts/ca.sh
. scripts/server.sh
client=$LAB_CLIENT
failed="could not enroll ${client:-(nobody was named)}"
case $client in
'' | [!a-z]* | *[!a-z0-9-]* | *- | *--*) error "$failed" "a name is lower-case words, digits too, joined by hyphens" "make enroll CLIENT=bob" ;;
esac
fact=$(ca check-name -- "$client" </dev/null) || exit 2
[ -z "$fact" ] || error "$failed" "$fact" "make enroll CLIENT=bob"
sh scripts/certs.sh certs
folder=certs/clients/$client
[ ! -e "$folder" ] || error "$failed" "$folder exists already" "make enroll CLIENT=$client-2, or: rm -r $folder && make enroll CLIENT=$client REPLACE=1"
at certs
status=0
# shellcheck disable=SC2086
curl -q -s $reach --max-time 5 --cacert certs/public_root.pem -o /dev/null "$url/" || status=$?
[ $status -ne 7 ] || error "$failed" "no server answers at $url/" "make up"

say() { printf '\n%s\n' "$1"; }
run() {
    echo "\$ $*"
    "$@"
}
umask 077
. scripts/temporary.sh
forget() { rm -rf "$folder"; }
on_end forget
mkdir -p "$folder"

say "1. A key. It never leaves this folder; whoever has it is $client."
run openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/privkey.pem"
say "2. A request (CSR): the public key and the wished names, signed with the private key to prove that you have it."
run openssl req -new -key "$folder/privkey.pem" -subj "/CN=$client" \
    -addext "subjectAltName=email:$client@mtls-lab.test,URI:spiffe://mtls-lab.test/people/$client" -out "$folder/request.csr"
say "3. What the request says. The signature must hold, or the CA refuses it."
run openssl req -in "$folder/request.csr" -noout -verify -subject
say "4. The CA signs. It takes the names of whom NAME= says that it is, and decides itself what the certificate is good for."
echo "\$ make -s sign CSR=$folder/request.csr NAME=$client >$folder/fullchain.pem"
set -- sign "--name=$client"
case $LAB_REPLACE in '' | 0) ;; *) set -- "$@" --replace ;; esac
ca "$@" - <"$folder/request.csr" >"$folder/fullchain.pem" || exit 2
on_end : # the CA has recorded it: from here on the folder stays
say "5. The answer is the certificate and the intermediate that signed it; a client sends both. Here is each alone."
run openssl x509 -in "$folder/fullchain.pem" -out "$folder/cert.pem"
echo "\$ awk '/BEGIN/{n++} n>1' $folder/fullchain.pem >$folder/chain.pem"
awk '/BEGIN/{n++} n>1' "$folder/fullchain.pem" >"$folder/chain.pem"
say "6. Check it as the server will: a chain to the trust file, and good for clients."
run openssl verify -purpose sslclient -CAfile certs/validation_fullchain.pem -untrusted "$folder/chain.pem" "$folder/cert.pem"
say "7. The first request: the server proves its name, and you prove yours."
# shellcheck disable=SC2086
run curl -sS $reach --max-time 20 --cacert certs/public_root.pem --cert "$folder/fullchain.pem" --key "$folder/privkey.pem" "$url/" ||
    error "could not make the first request as $client" "curl failed (its reason is above); the certificate is in $folder" "make logs"
printf '\n\n%s is enrolled: %s. Take it back: make revoke CREDENTIAL=%s\n' "$client" "$folder" "$client"
