#!/bin/sh
# All tests: two of what shares no server side by side, the longest first, and then, alone, those of times and memory.
# TESTS has arguments for pytest, for some.
pytest="$VENV/bin/python -m pytest"
[ -z "$TESTS" ] || eval "exec $pytest $TESTS" # as a shell takes them: -k 'this or that'
status=0
$pytest -m 'not alone' --numprocesses=2 --dist=loadscope --no-loadscope-reorder tests/make tests/live tests/unit || status=$?
[ $status -ne 2 ] || exit 2 # interrupted
$pytest -m alone || status=$?
[ $status -eq 0 ] || echo "not all tests have passed: see the first summary, too" >&2
exit $status
