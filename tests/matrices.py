"""What tests of whole matrices share."""

from __future__ import annotations

import re

from client.judge import Verdict
from client.matrix import Matrix
from client.probes import PROBES

# A Node for each attempt is half of what a matrix costs: it is not in all of them.
WITHOUT_NODE = {name: probe for name, probe in PROBES.items() if name != "node"}


def assert_as_expected(done: Matrix) -> None:
    """Everything passed, and what was skipped was skipped for a reason of the tool's."""
    assert not done.wrong, [result.reason for result in done.wrong]
    assert not done.unjudged, [result.reason for result in done.unjudged]
    for result in done.results:
        if result.verdict is Verdict.SKIP:
            assert re.search("not installed|needs |pass phrase|GnuTLS|too old", result.reason), result.reason
    tried = [r for r in done.results if r.probe in ("raw", "requests", "httpx", "curl", "openssl")]
    few = {"client-mldsa", "client-encrypted-key", "server-ca-as-server"}
    assert {r.scenario for r in tried if r.verdict is Verdict.SKIP} <= few
