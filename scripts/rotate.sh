#!/bin/sh
# Rotate WHAT (server, intermediate or root; of a root: STEP, or all that are left), and show with curl against the
# running server whom it accepts after each step: a client that still holds its old certificate, and one with the new.
set -e
. scripts/ca.sh
. scripts/server.sh
old=.lab/old-holder # stays until a root is retired: a lesson that was interrupted goes on
. scripts/temporary.sh
work_folder
reloads() { log | grep -c '^INFO:* *tls_reloaded' || true; }
copy() { # DIR: what a client holds now
    rm -rf "$1"
    sh scripts/certs.sh "$1" 2>"$work/said" || { cat "$work/said" >&2; exit 2; }
}
accepted() { # DIR: may the client that holds this enter?
    at "$1"
    # shellcheck disable=SC2086
    curl -q -sf $reach --max-time 5 --cacert "$1/public_root.pem" --cert "$1/clients/client-good/fullchain.pem" \
        --key "$1/clients/client-good/privkey.pem" "$url/private" >/dev/null 2>&1
}
outcome() { if accepted "$1"; then echo accepted; else echo refused; fi; }
reloaded() { [ "$(reloads)" -gt "$before" ]; }
is() { [ "$(outcome "$1")" = "$2" ]; }
prove() { # WHO DIR OUTCOME
    within is "$2" "$3" || error "$1 is not $3" "the server says: $(outcome "$2") (CRL and TRUST decide, too)" "make logs"
    printf '  %-28s %s\n' "$1" "$3"
}
rotate() { # ARGUMENTS of the CA; prints what is so now, and waits until the server has it
    before=$(reloads)
    copy "$work/before"
    ca rotate "$@" </dev/null >"$work/out" || exit 2
    sed 's/^/  /' "$work/out"
    copy "$work/new"
    if [ "$WHAT" = server ] || ! cmp -s "$work/before/$trust.pem" "$work/new/$trust.pem"; then
        within reloaded || error "the server did not take over the new files" "it says nothing of them for 15 s" "make logs"
        say_reloaded
        reload_proxy
    fi
}

case $WHAT in server | intermediate | root) ;; *) error "unknown WHAT" "'$WHAT' is none of server, intermediate, root" "make rotate WHAT=server" ;; esac
case $STEP in '' | introduce | move | retire) ;; *) error "unknown STEP" "'$STEP' is none of introduce, move, retire" "make rotate WHAT=root" ;; esac
running || error "could not show a rotation" "no server runs that could take it over" "make up"
case $(log | sed -n 's/^INFO:* *serving server=\([a-z]*\).*/\1/p' | tail -n 1) in
explained) ;;
*) error "could not rotate while serving" "stock Uvicorn reads its files once, when it starts" "make up SERVER=explained" ;;
esac
trust=$(log | sed -n 's/.* --ssl-ca-certs [^ "]*\/\([a-z_]*\)\.pem.*/\1/p' | tail -n 1) # what the server follows
verifies=${trust:=validation_fullchain}
front=$(proxy)
[ -z "$front" ] || verifies=$(docker exec "$(container "$front")" printenv TRUST)
[ "$WHAT $verifies" != "intermediate validation_intermediate" ] || error "could not show a rotation" \
    "the server trusts the intermediate itself: who holds a certificate of the old one would be out at once" "make up TRUST=validation_fullchain"
copy "$work/now"
accepted "$work/now" || error "could not show a rotation" "the server does not let client-good enter even now" "make up MODE=required"

case $WHAT in
server)
    at "$work/now"
    [ "$host" = localhost ] || error "could not rotate the server's certificate" "another CA issued the one that is served, for $host" "make renew"
    echo "a new key and certificate for the server:"
    rotate server
    prove "the client, as before" "$work/now" accepted
    ;;
intermediate)
    echo "a new validation intermediate, and new leaves below it:"
    rotate intermediate
    prove "client with the old one" "$work/now" accepted
    prove "client with the new one" "$work/new" accepted
    ;;
root)
    step=
    until [ "$step" = retire ] || { [ -n "$STEP" ] && [ "$step" = "$STEP" ]; }; do
        [ -e "$old/manifest.json" ] || copy "$old"
        rotate root --step "$STEP" >"$work/shown"
        step=$(sed -n 's/^step  *\([a-z]*\);.*/\1/p' "$work/out")
        case $step in
        introduce) echo "introduce: a new root, trusted beside the old one. Whoever verifies gets it first." ;;
        move) echo "move: a new intermediate below the new root issues all leaves again. Both roots are trusted." ;;
        retire) echo "retire: the old root is no longer trusted. Whoever did not renew is out." ;;
        esac
        cat "$work/shown"
        if [ "$step" = introduce ]; then
            rm -rf "$old" && cp -R "$work/new" "$old"
            prove "client with the old one" "$old" accepted
        else
            old_is=accepted
            [ "$step" = move ] || old_is=refused
            if cmp -s "$old/clients/client-good/cert.pem" "$work/new/clients/client-good/cert.pem"; then
                echo "  (no copy of the old one is left to try)"
            else
                prove "client with the old one" "$old" $old_is
            fi
            prove "client with the new one" "$work/new" accepted
        fi
    done
    [ "$step" != retire ] || rm -rf "$old"
    ;;
esac
sh scripts/certs.sh certs
