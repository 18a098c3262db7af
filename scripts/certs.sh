#!/bin/sh
# certs.sh DIR: copy what a person needs on the host, unless the copy that is there is of the same manifest.
# certs.sh --remove DIR: remove such a copy, and nothing else.
set -e
. scripts/error.sh
ours() { [ -f "$1/manifest.json" ] && grep -q catalogue_sha256 "$1/manifest.json"; }
if [ "$1" = --remove ]; then
    if ours "$2"; then rm -rf "$2/clients" "$2/public_root.pem" "$2/validation_fullchain.pem" "$2/manifest.json"; rmdir "$2" 2>/dev/null || true; fi
    exit 0
fi
out=$1
[ -n "$out" ] || error "could not copy the certificates" "OUT is empty" "make certs OUT=certs"
if [ -e "$out" ] && [ -n "$(ls -A "$out" 2>/dev/null || echo file)" ] && ! ours "$out"; then
    error "could not copy the certificates" "$out exists and is no copy made by make certs" "make certs OUT=certs"
fi
umask 077
new=$(mktemp -d "${TMPDIR:-/tmp}/mtls-lab.XXXXXX")
trap 'rm -rf "$new"' EXIT
if [ "$RUNTIME" = compose ]; then
    sh scripts/compose-client.sh export >"$new.tar" || { rm -f "$new.tar"; exit 2; }
else
    LAB_CERTS=.lab/client-tls "$VENV/bin/python" -m client export >"$new.tar" || { rm -f "$new.tar"; exit 2; }
fi
tar -xof "$new.tar" -C "$new"
rm -f "$new.tar"
if cmp -s "$new/manifest.json" "$out/manifest.json"; then
    echo "certificates in $out are up to date" >&2
    exit 0
fi
if [ -e "$out/manifest.json" ]; then echo "the certificates in $out were stale: copied again" >&2; else echo "certificates copied to $out" >&2; fi
mkdir -p "$out"
rm -rf "$out/manifest.json" "$out/clients"
cp -R "$new/clients" "$new/public_root.pem" "$new/validation_fullchain.pem" "$out"
cp "$new/manifest.json" "$out" # last: its presence means that the copy is complete
