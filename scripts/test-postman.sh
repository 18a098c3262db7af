#!/bin/sh
# Put the server into each mode, and run newman against it with and without certificates. Exits 1 if anything differs.
# MAKE is make, OWN what the server serves and trusts. Reports go to reports/postman/.
. scripts/error.sh
what="could not test with newman"
[ "$SERVER" != stock ] || error "$what" "a plain Uvicorn tells the application nothing about clients" "make test-postman SERVER=explained"
sh scripts/images.sh postman || exit 2
. scripts/temporary.sh
work_folder
umask 077
status=0
for mode in off optional required; do
    # shellcheck disable=SC2086
    $MAKE --no-print-directory serve MODE=$mode $OWN || exit 2
    if [ $mode = off ]; then # what make export-p12 writes, in its two kinds
        sh scripts/compose-run.sh ca export-p12 client-good >"$work/bundle.p12" </dev/null || exit 2
        sh scripts/compose-run.sh ca export-p12 --legacy client-good >"$work/bundle-legacy.p12" </dev/null || exit 2
        tar -cf "$work/bundles.tar" -C "$work" bundle.p12 bundle-legacy.p12
    fi
    sh scripts/compose-run.sh postman --mode $mode <"$work/bundles.tar"
    case $? in 0) ;; 1) status=1 ;; *) status=2 ;; esac
    [ $status -lt 2 ] || break
done
mkdir -p reports
rm -rf reports/postman
docker compose --progress quiet run --rm -T --no-deps --entrypoint sh postman -c \
    'cd /lab/reports && mkdir -p postman && tar -cf - postman' </dev/null | tar -xof - -C reports || status=2
echo "What newman printed and reported, and the certificate lists it was given: reports/postman/"
exit $status
