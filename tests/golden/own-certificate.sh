#!/bin/sh
# Make mycert/, a server certificate for localhost by another CA, and its root.
set -e
mkdir -p mycert
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086
openssl req -x509 $key -keyout other.key -out mycert/root.pem -subj "/CN=Other Root" -days 30 \
    -addext keyUsage=critical,keyCertSign,cRLSign
# shellcheck disable=SC2086
openssl req $key -keyout mycert/privkey.pem -out other.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n' >other.ext
openssl x509 -req -in other.csr -CA mycert/root.pem -CAkey other.key -set_serial 1 -days 20 -extfile other.ext -out mycert/fullchain.pem
