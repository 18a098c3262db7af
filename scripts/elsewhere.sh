# Sourced by compose-up.sh and local-up.sh: a server certificate that another CA issued. The CA checks it, and publishes
# the root that clients have to believe; it prints settings, as `ca issue` does.
. scripts/ca.sh
. scripts/server.sh
. scripts/temporary.sh
work_folder # a key passes through
certified() { # OPTIONS: certificate, chain, key and roots come in by stdin
    settings=$(ca elsewhere "$@") || return 2
    for setting in $settings; do export "${setting?}"; done
    serial=$LAB_ELSEWHERE_SERIAL
    # The explained server follows its files; plain Uvicorn has to be started again for another certificate.
    [ "$SERVER" = stock ] || unset LAB_ELSEWHERE_SERIAL
}
loaded() { log | sed -n 's/^INFO:* *tls_\(re\)\{0,1\}loaded .*serial=\([0-9a-f]*\).*/\2/p' | tail -n 1; }
has() { [ "$(loaded)" = "$1" ]; }
taken_over() { # does the server that runs have what was certified?
    [ "$SERVER" = stock ] || within has "$serial" ||
        error "the server did not take over the certificate" "it has $(loaded), and not $serial" "make logs"
}
# A folder as certbot makes them: live/<domain>, or a copy of it.
from_folder() {
    what="could not use LAB_SERVER_CERT_DIR" folder=$LAB_SERVER_CERT_DIR
    cure="make up LAB_SERVER_CERT_DIR=mycert, where mycert is a folder with fullchain.pem and privkey.pem"
    copied="sudo rm -rf mycert && sudo cp -rL $(word "$folder" /etc/letsencrypt/live/...) mycert && sudo chown -R $(id -un) mycert && make up LAB_SERVER_CERT_DIR=mycert"
    [ -d "$folder" ] || error "$what" "$folder is no folder that can be entered" "$cure; if it is root's: $copied"
    for file in fullchain.pem privkey.pem; do
        [ -e "$folder/$file" ] || error "$what" "there is no $folder/$file" "$cure"
        [ -r "$folder/$file" ] || error "$what" "$folder/$file may not be read" "$copied"
    done
    roots=$folder/root.pem
    [ -e "$roots" ] || roots=$(system_roots)
    [ -r "$roots" ] || error "$what" "there is no $folder/root.pem, and this system has no roots that are known here" "put the CA's root into $folder/root.pem"
    { cat "$folder/fullchain.pem" && echo && cat "$folder/privkey.pem" && printf '\n# roots\n' && cat "$roots"; } >"$work/given"
    certified --with-key <"$work/given" || exit 2
}
