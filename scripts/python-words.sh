#!/bin/sh
# python-words.sh VARIABLE MODULE: run a Python module with the words of a variable as its arguments. Quotes are taken as a
# shell takes them, as in -k 'this or that'; nothing is expanded or run.
. scripts/error.sh
exec "$VENV/bin/python" -c '
import os, shlex, sys
variable, module = sys.argv[1:]
try:
    words = shlex.split(os.environ.get(variable, ""))
except ValueError as error:
    sys.exit(f"error: could not read {variable}: {str(error).lower()}\n  try: make help")
os.execv(sys.executable, [sys.executable, "-m", module, *words])
' "$@"
