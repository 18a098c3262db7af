"""`python -m asgi_mtls` is the command `asgi-mtls`."""

import sys

from asgi_mtls.command_line import main

sys.exit(main())
