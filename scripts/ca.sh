# Sourced by the scripts for people. ca ARGUMENTS: the CA of this runtime; files go in by stdin and come out by stdout.
. scripts/error.sh
ca() {
    if [ "$RUNTIME" = compose ]; then
        sh scripts/compose-run.sh ca "$@"
    else
        sh scripts/local-run.sh ca "$@"
    fi
}
system_roots() { # the file of the roots that this machine trusts, if it has one
    for system in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        if [ -e "$system" ]; then echo "$system" && return; fi
    done
}
readable() { # WHAT FILE CURE
    [ -n "$2" ] || error "$1" "no file was named" "$3"
    { [ -f "$2" ] || [ -p "$2" ]; } && [ -r "$2" ] || error "$1" "$(word "$2" "the file") cannot be read" "ls -l $(word "$2" .)"
}
