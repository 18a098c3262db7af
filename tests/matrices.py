"""What tests of whole matrices share."""

from __future__ import annotations

import re

import catalogue
from catalogue import Tls
from client.judge import Verdict
from client.matrix import Matrix
from client.probes import chosen

# A matrix of all tools costs seven times one of these two: they are for what is not about the tools.
FEW = "raw,curl"
SOME = f"PROBE={FEW}"  # as make takes it
# And Node, wget and gnutls-cli are two thirds of it.
MOST = "raw,requests,httpx,curl,openssl"


def results_of(probes: str = "") -> int:
    """Return how many results a matrix of the default server has."""
    return len(catalogue.load().of(default_server=True)) * len(chosen(probes)) * len(Tls)


def assert_as_expected(done: Matrix) -> None:
    """Everything passed, and what was skipped was skipped for a reason of the tool's."""
    assert not done.wrong, [result.reason for result in done.wrong]
    assert not done.unjudged, [result.reason for result in done.unjudged]
    for result in done.results:
        if result.verdict is Verdict.SKIP:
            assert re.search("not installed|needs |pass phrase|GnuTLS|too old", result.reason), result.reason
    tried = [r for r in done.results if r.probe in MOST.split(",")]
    few = {"client-mldsa", "client-encrypted-key", "server-ca-as-server"}
    assert {r.scenario for r in tried if r.verdict is Verdict.SKIP} <= few
