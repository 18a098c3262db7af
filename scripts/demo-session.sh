#!/bin/sh
# What a person types to see the three phases: `make demo` records it. Every command is really run, here and now, and the
# session fails where one does not end as it should. The pauses are for whoever watches.
set -e
. scripts/error.sh
# As for a person: nothing of the make that records, nothing of a .curlrc, no proxy in between.
unset MAKEFLAGS MFLAGS MAKELEVEL MODE RUNTIME WHY LAB_VERBOSE LAB_ERROR
export CURL_HOME=/nowhere no_proxy=localhost NO_PROXY=localhost
. scripts/temporary.sh
work_folder
said=$work/said

type_out() { # TEXT, four letters at a time if somebody watches
    rest=$1
    if [ -t 1 ]; then
        while [ -n "$rest" ]; do
            after=${rest#????}
            [ "$after" != "$rest" ] || after= # the last few
            printf %s "${rest%"$after"}"
            rest=$after
            sleep 0.13
        done
        sleep 0.4
    fi
    echo "$rest"
}
say() { # COMMENT
    printf '$ \033[36m'
    type_out "# $1"
    printf '\033[0m'
}
show() { # typed|again COMMAND: the second time a person presses an arrow key, and a long one is pasted
    printf '$ '
    if [ "$1" = typed ]; then
        type_out "$2"
    else
        sleep 0.6
        echo "$2"
        sleep 0.4
    fi
}
run() { # typed|again COMMAND, which must succeed
    show "$1" "$2"
    eval "$2" || error "the session failed" "this did not succeed: $2" "make logs"
    finish
}
fresh() { printf '\033c'; } # not `clear`, which fills the screen with spaces, in each picture of the SVG
finish() {
    echo
    sleep 1.5
}

url=https://localhost:$PORT/
curl="curl --cacert certs/public_root.pem"

say "Mutual TLS with FastAPI and Uvicorn. Phase 1: TLS alone."
run typed "make up MODE=off | grep 'served as'"
run typed "$curl $url"
fresh
say "Phase 2: the server asks for a certificate, but does not insist (--ssl-cert-reqs 1)."
run typed "make up MODE=optional | grep 'served as'"
run again "$curl $url"
run typed "me='--cert certs/clients/client-good/fullchain.pem --key certs/clients/client-good/privkey.pem'"
run typed "$curl \$me $url"
fresh
say "Phase 3: no certificate, no service (--ssl-cert-reqs 2)."
run typed "make up MODE=required | grep 'served as'"
show again "$curl $url"
if eval "$curl $url" 2>"$said"; then error "the session failed" "nobody was refused in MODE=required" "make logs"; fi
cat "$said"
finish
say "What does that mean?"
run again "make explain E='$(tail -n 1 "$said" | tr -d "'\r")'"
fresh
say "So, with the certificate:"
run again "$curl \$me $url"
fresh
say "And every other way it can go, with every client at hand:"
run typed "make matrix"
sleep 3
