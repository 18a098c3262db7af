#!/bin/sh
# certbot's deploy hook: copy what was renewed to where the server reads it. live/<domain>/ has links into archive/, and
# on a real machine both are root's. Key and certificate change together, in the instant in which a link is replaced.
set -e
domain=$(basename "$RENEWED_LINEAGE")
umask 077
new=$(mktemp -d "/deployed/.$domain-XXXXXX")
cp "$RENEWED_LINEAGE/fullchain.pem" "$RENEWED_LINEAGE/privkey.pem" "$new"
ln -sfn "$(basename "$new")" "/deployed/.link"
mv -T /deployed/.link "/deployed/$domain"
for old in /deployed/."$domain"-*; do [ "$old" = "$new" ] || rm -r "$old"; done
