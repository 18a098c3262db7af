#!/bin/sh
# people.sh sign|issue-client|export-p12|inspect: what make was given in the environment, as arguments of the CA.
set -e
. scripts/ca.sh
command=$1
name=$LAB_NAME
commas() { # OPTION LIST: OPTION=a OPTION=b, one a line, of a list with commas
    printf '%s\n' "$2" | tr ',' '\n' | while IFS= read -r value; do [ -z "$value" ] || printf '%s=%s\n' "$1" "$value"; done
}
set -- "$command"
case $LAB_REPLACE in '' | 0) ;; *) set -- "$@" --replace ;; esac
[ -z "$LAB_DAYS" ] || set -- "$@" "--days=$LAB_DAYS"
case $command in
sign | issue-client)
    while IFS= read -r option; do
        [ -z "$option" ] || set -- "$@" "$option"
    done <<END
$(commas --ou "$LAB_OU")
$(commas --uri "$LAB_URI")
END
    ;;
esac
case $command in
sign)
    readable "could not sign a request" "$LAB_CSR" "make sign CSR=bob.csr >bob.pem"
    ca "$@" "--name=$name" "--shown-as=$LAB_CSR" - <"$LAB_CSR"
    ;;
issue-client)
    [ -n "$name" ] || error "could not issue a certificate" "nobody was named" "make issue-client NAME=bob OU=ops"
    [ -z "$LAB_KEY_TYPE" ] || set -- "$@" "--key-type=$LAB_KEY_TYPE"
    ca "$@" -- "$name" </dev/null
    sh scripts/certs.sh certs
    ;;
export-p12)
    [ -n "$name" ] || error "could not export a bundle" "nobody was named" "make export-p12 NAME=client-good"
    set -- "$command"
    bundle=bundle.p12
    if [ -n "$LAB_LEGACY" ] && [ "$LAB_LEGACY" != 0 ]; then set -- "$@" --legacy && bundle=bundle-legacy.p12; fi
    [ -z "$LAB_PASSWORD" ] || set -- "$@" "--password=$LAB_PASSWORD"
    umask 077
    . scripts/temporary.sh
    work_folder
    ca "$@" -- "$name" >"$work/$bundle" </dev/null || exit 2
    sh scripts/certs.sh certs # the name is one of a credential now, so it is a good name of a folder
    mv "$work/$bundle" "certs/clients/$name/$bundle"
    echo "written to certs/clients/$name/$bundle" >&2
    ;;
inspect)
    readable "could not inspect a file" "$LAB_FILE" "make inspect FILE=certs/clients/client-good/fullchain.pem"
    set -- "$command"
    [ -z "$LAB_PASSWORD" ] || set -- "$@" "--password=$LAB_PASSWORD"
    ca "$@" - <"$LAB_FILE"
    ;;
esac
