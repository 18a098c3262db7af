#!/bin/sh
# Run every mode and the other servers, explained and stock, and keep what the tools said. CLIENT is the client's command.
# A verdict that differs (new versions of tools are when that happens) stops nothing; what could not be judged does.
set -e
. scripts/error.sh
. scripts/temporary.sh
work_folder
for server in explained stock; do
    for run in required optional off servers; do
        rm -f "reports/$run.json"
        "$MAKE" --no-print-directory "test-$run" SERVER=$server MODE=required PROBE= >&2 || true
        cp "reports/$run.json" "$work/$server-$run.json" 2>/dev/null ||
            error "could not observe" "make test-$run SERVER=$server wrote no report (its reason is above)" "make test-$run SERVER=$server"
    done
done
cat "$work"/*.json >"$work/reports"
# shellcheck disable=SC2086
$CLIENT observe <"$work/reports" >"$work/tar" || exit 2
tar -xof "$work/tar" -C docs/observations
ls docs/observations >&2
