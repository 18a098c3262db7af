"""`python -m client`: start again without what could change a verdict, then run one command (`client.commands`)."""

import os
import sys

# Nothing else of the environment reaches the probes: no proxy, CA bundle, key log, OpenSSL or curl configuration.
_KEPT = ("PATH", "TERM", "COLUMNS", "LINES", "NO_COLOR", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_KEPT_PREFIXES = ("LAB_", "PYTHON")
_ALONE = "LAB_CLIENT_ALONE"  # set once that is done; not compared, because Python itself adds LC_CTYPE (PEP 538)


def _alone() -> None:
    """Start again without the part of the environment that could change a verdict."""
    if _ALONE not in os.environ:
        kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}
        os.execve(sys.executable, [sys.executable, "-m", "client", *sys.argv[1:]], kept | {_ALONE: "1"})


if __name__ == "__main__":
    _alone()
    from client.commands import main  # not before: it would be imported twice

    sys.exit(main())
