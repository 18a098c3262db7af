#!/bin/sh
# Give the CA one's own intermediate, if LAB_VALIDATION_CA_CERT and LAB_VALIDATION_CA_KEY name its files. It keeps it.
set -e
. scripts/ca.sh
cert=$LAB_VALIDATION_CA_CERT key=$LAB_VALIDATION_CA_KEY
[ -n "$cert$key" ] || exit 0
if [ "$cert" = none ]; then
    ca adopt --none </dev/null
    exit
fi
both="make up LAB_VALIDATION_CA_CERT=intermediate.pem LAB_VALIDATION_CA_KEY=intermediate.key"
if [ -z "$cert" ] || [ -z "$key" ]; then
    error "could not adopt the intermediate" "only one of LAB_VALIDATION_CA_CERT and LAB_VALIDATION_CA_KEY is set" "$both"
fi
readable "could not adopt the intermediate" "$cert" "$both"
readable "could not adopt the intermediate" "$key" "$both"
{ cat "$cert" && echo && cat "$key" && echo; } | ca adopt
