#!/bin/sh
# local-run.sh PROGRAM ARGUMENTS: run one of the programs on the files of the local runtime.
export LAB_STATE=.lab LAB_CERTS=.lab/client-tls LAB_SHOWN_CERTS=certs LAB_URL="https://localhost:$PORT" \
    LAB_SHOWN_PYTHON="$VENV/bin/python" LAB_SERVER_LOG=.lab/server.log LAB_RUNTIME=local
exec "$VENV/bin/python" -m "$@"
