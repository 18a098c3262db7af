#!/bin/sh
# obtain.sh obtain|renew: have the ACME server certify LAB_DOMAIN, and print the certificate and its chain. It runs in the
# network of the server, where the name leads: the answer to the challenge is at port 80. Standard input is the root by
# which the ACME server's own certificate is believed.
set -e
config=/etc/letsencrypt
cat >/tmp/acme_root.pem
export REQUESTS_CA_BUNDLE=/tmp/acme_root.pem
# The test server forgets everything when it ends: accounts, orders and its roots. What it signed before is of no use.
if [ "$(cat $config/acme_generation 2>/dev/null)" != "$LAB_ACME_GENERATION" ]; then
    for name in accounts archive csr keys live renewal; do rm -rf "${config:?}/$name"; done
    echo "$LAB_ACME_GENERATION" >$config/acme_generation
fi
certbot() { # the real one writes below /var, too, which takes root
    command certbot "$@" --non-interactive --work-dir /tmp/certbot --logs-dir /tmp/certbot >&2
}
case $1 in
obtain)
    certbot certonly --standalone --preferred-challenges http --domain "$LAB_DOMAIN" --keep-until-expiring \
        --server "$LAB_ACME_SERVER" --agree-tos --register-unsafely-without-email --deploy-hook /app/deploy.sh
    ;;
renew) certbot renew --force-renewal --no-random-sleep-on-renew --cert-name "$LAB_DOMAIN" ;; # its hook is in renewal/
esac
lineage=$config/live/$LAB_DOMAIN
cmp -s "$lineage/fullchain.pem" "/deployed/$LAB_DOMAIN/fullchain.pem" || RENEWED_LINEAGE=$lineage sh /app/deploy.sh
cat "$lineage/fullchain.pem"
