"""The command `asgi-mtls`; `python -m asgi_mtls` is the same.

What may be missing is imported late, so that its absence is an error with a cure and not a traceback.
"""

from __future__ import annotations

import sys

from asgi_mtls.requirements import unmet


def main() -> int:
    """Serve until stopped. Returns 2 if what is asked for can't be served."""
    try:
        from asgi_mtls.command_line import main as command
    except ImportError as error:
        print(unmet(error), file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
