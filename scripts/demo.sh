#!/bin/sh
# Record docs/media/ anew. Nothing there changes until everything was recorded and looked at by tests/unit/test_media.py.
# MAKE is make, OWN what the server serves and trusts.
set -e
. scripts/error.sh
new=.lab/demo
# shellcheck disable=SC2086
export SERVER=explained PROXY=none TERM=xterm $OWN
bin=$VENV/bin
rm -rf "$new"
mkdir -p "$new"
. scripts/temporary.sh
forget() { rm -f "$new/bundle.p12"; }
on_end forget
"$MAKE" --no-print-directory serve # so that nothing has to be built or issued while somebody watches

echo "recording the terminal (a minute and a half)" >&2
ASCIINEMA_CONFIG_HOME=$new/.config "$bin/asciinema" rec -q --cols 112 --rows 30 -i 2 -e TERM \
    -c "sh scripts/demo-session.sh && touch $new/.finished" "$new/terminal.cast" </dev/null || true
if ! [ -e "$new/.finished" ]; then
    "$bin/asciinema" cat "$new/terminal.cast" | tail -n 20 >&2
    error "could not record the terminal" "the session failed (its last lines are above)" "make demo, when make test-required passes"
fi
"$bin/termtosvg" render "$new/terminal.cast" "$new/terminal.svg" -t window_frame -m 130 -D 4000 >&2

echo "filming the browser (a minute)" >&2
sh scripts/images.sh demo
(umask 077 && sh scripts/compose-run.sh ca export-p12 -- client-good >"$new/bundle.p12" </dev/null)
for mode in optional required; do
    "$MAKE" --no-print-directory serve MODE=$mode
    sh scripts/compose-run.sh demo $mode <"$new/bundle.p12"
done
sh scripts/compose-run.sh demo cut </dev/null
docker compose --progress quiet run --rm -T --no-deps --entrypoint tar demo -C /lab/reports/film -cf - browser.mp4 browser.gif </dev/null |
    tar -xof - -C "$new"

LAB_MEDIA=$new "$bin/python" -m pytest -q -o addopts= tests/unit/test_media.py >&2 ||
    error "docs/media/ stays as it is" "a test did not like what was recorded (above; it is in $new)" "make demo"
mkdir -p docs/media
for file in terminal.cast terminal.svg browser.mp4 browser.gif; do mv "$new/$file" "docs/media/$file"; done
ls -l docs/media >&2
