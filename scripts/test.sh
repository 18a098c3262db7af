#!/bin/sh
# All tests: two files side by side, and then, alone, those of times and memory. TESTS has arguments for pytest, for some.
pytest="$VENV/bin/python -m pytest"
# shellcheck disable=SC2086
[ -z "$TESTS" ] || exec $pytest $TESTS
status=0
$pytest -m 'not alone' --numprocesses=2 --dist=loadfile || status=$?
$pytest -m alone || status=$?
exit $status
