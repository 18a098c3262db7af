#!/bin/sh
# Judge each mode with real browsers: switch the server, import what the CA bundled, run the checks, fetch the reports.
# OWN is what the server serves and trusts.
set -e
. scripts/error.sh
sh scripts/images.sh ca server client
sh scripts/images.sh browser
LAB_NAMES_PORT=$((PORT % 65535 + 1)) # of the server that sends the names of its CAs, inside the containers' network
# shellcheck disable=SC2086
export LAB_NAMES_PORT SERVER=explained $OWN
. scripts/temporary.sh
work_folder
bundle=$work/bundle.p12
end() {
    remove_work
    sh scripts/every-profile.sh --progress quiet rm -fs ca-names >/dev/null 2>&1
}
on_end end
status=0
for mode in off optional required; do
    MODE=$mode sh scripts/compose-up.sh
    [ -s "$bundle" ] || sh scripts/compose-run.sh ca export-p12 -- client-good >"$bundle" </dev/null
    if [ $mode = required ]; then sh scripts/every-profile.sh --progress quiet up -d --no-deps ca-names >&2; fi
    sh scripts/compose-run.sh browser --mode $mode --bundle-from-stdin <"$bundle" || { failed=$?; [ $failed -le $status ] || status=$failed; }
done
rm -rf reports/browser && mkdir -p reports
docker compose --progress quiet run --rm -T --no-deps --entrypoint tar client -C /lab/reports -cf - browser | tar -xof - -C reports
if [ -n "$PICTURES" ] && [ "$PICTURES" != 0 ] && [ $status -eq 0 ]; then
    mkdir -p docs/media/browser
    rm -f docs/media/browser/*.png
    cp reports/browser/*.png docs/media/browser/
    echo "pictures copied to docs/media/browser" >&2
fi
echo "each picture, and what was seen: reports/browser" >&2
exit $status
