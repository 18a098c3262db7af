#!/bin/sh
# All tests: those that share no server side by side, the longest first, and then, alone, those of times. Half
# as many at once as there are cores, since each starts processes, and at least two. TESTS has arguments for pytest, for some.
. scripts/temporary.sh
forget() { rm -rf "$memory"; }
pytest="$VENV/bin/python -m pytest"
[ -z "$TESTS" ] || exec sh scripts/python-words.sh TESTS pytest
# What they write goes to memory where there is enough of it and programs may run from it: thousands of small files cost a
# disk more time than what is tested.
if [ -z "$TMPDIR" ] && [ "$(df -Pk /dev/shm 2>/dev/null | awk 'END { print int($4 / 1048576) }')" -ge 2 ] &&
    memory=$(mktemp -d /dev/shm/mtls-lab.XXXXXX 2>/dev/null); then
    on_end forget
    { cp /bin/true "$memory" && "$memory/true"; } 2>/dev/null && export TMPDIR="$memory"
fi
unset PYTHONDONTWRITEBYTECODE # some machines set it: a thousand processes would each compile what they import
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
workers=$((cores < 4 ? 2 : cores / 2))
status=0
$pytest -m 'not alone' --numprocesses=$workers --dist=loadscope --no-loadscope-reorder tests/make tests/live asgi-mtls/tests tests/unit ||
    status=$?
[ $status -ne 2 ] || exit 2 # interrupted
$pytest -m alone || status=$?
[ $status -eq 0 ] || echo "not all tests have passed: see the first summary, too" >&2
exit $status
