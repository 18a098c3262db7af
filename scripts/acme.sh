# Sourced by compose-up.sh and renew.sh, after elsewhere.sh: the ACME server, and how certbot gets a certificate from it.
at_pebble() { # PATH: what its management port says, which hands out the root's key, too, and so listens in its container only
    docker exec "$(container pebble)" curl -q -sSf --max-time 5 --cacert /lab/acme-tls/public_root.pem \
        --connect-to pebble:15000:127.0.0.1:15000 "https://pebble:15000$1" 2>&1
}
# What it signs with is new whenever it starts: LAB_ACME_GENERATION tells certbot whether its account is known there.
start_pebble() {
    output=$(docker compose --progress quiet --profile acme up -d --no-deps pebble 2>&1) ||
        error "could not start the ACME server" "$output" "docker compose --profile acme logs pebble"
    deadline=$(($(date +%s) + 20))
    until root=$(at_pebble /roots/0); do
        services | grep -qx pebble && [ "$(date +%s)" -lt $deadline ] ||
            error "the ACME server does not answer" "$root" "docker compose --profile acme logs pebble"
        sleep 0.2
    done
    LAB_ACME_GENERATION=$(printf '%s' "$root" | cksum | cut -d' ' -f1)
    export LAB_ACME_GENERATION
}
# obtain obtain|renew: have certbot do it beside the server that runs, check what came, and publish the root.
obtain() {
    if ! docker exec "$(container pebble)" cat /lab/acme-tls/public_root.pem |
        docker compose --progress quiet --profile acme run --rm -T --no-deps certbot "$1" >"$work/obtained" 2>"$work/said"; then
        tail -n 20 "$work/said" >&2
        echo >&2
        printf 'error: could not get a certificate: certbot failed (its reason is above)\n  try: make up PUBLIC_CA=acme\n' >&2
        return 2
    fi
    { printf '\n# roots\n' && printf '%s\n' "$root"; } >>"$work/obtained"
    certified <"$work/obtained"
}
