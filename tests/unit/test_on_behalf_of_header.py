"""The header of the examples comes back as it was written, through both libraries, or is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import httpx
import pytest
import requests

from asgi_mtls.identity import ClientIdentity
from examples.on_behalf_of import HEADER, MAX_NAME, Party, headers, party, read

SHA256 = "0123456789abcdef" * 4
VISIBLE = [
    "CN=a,O=b",
    "EMAIL:a@b",
    "a b;name=c, d",
    "100%",
    "%41",
    "Zoë 客户 \U0001f510",
    "\ufffd",
    "/a?b#c&d",
    "n" * MAX_NAME,
]
UNSEEN = ["", "a\r\nX: b", "a\0", "a\u202eb", "a\u200bb", "a\u2028b"]


@pytest.mark.parametrize("name", VISIBLE)
def test_a_name_comes_back(name: str) -> None:
    assert read([headers(Party(SHA256, name))[HEADER]]) == Party(SHA256, name)


@pytest.mark.parametrize("name", [*VISIBLE, *UNSEEN])
def test_a_name_is_one_field_with_either_library(name: str) -> None:
    made = headers(Party(SHA256, name))
    assert re.fullmatch(r"[!-~]+", made[HEADER])
    assert requests.Request("GET", "https://a.test/", headers=made).prepare().headers[HEADER] == made[HEADER]
    assert httpx.Request("GET", "https://a.test/", headers=made).headers[HEADER] == made[HEADER]


@pytest.mark.parametrize("name", UNSEEN)
def test_a_name_that_can_not_be_seen_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=HEADER):
        read([headers(Party(SHA256, name))[HEADER]])


def test_no_header_is_nobody_and_two_are_refused() -> None:
    value = headers(Party(SHA256, "a"))[HEADER]
    assert read([]) is None
    assert read([value])
    with pytest.raises(ValueError, match="2 headers"):
        read([value, value])


def test_a_long_name_is_cut_and_the_fingerprint_is_not() -> None:
    identity = ClientIdentity(
        subject=f"CN={'客' * 40_000}",
        common_name=None,
        issuer="CN=a",
        sans=(),
        serial="1",
        sha256=SHA256,
        not_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_after=datetime(2027, 1, 1, tzinfo=UTC),
        verified=True,
    )
    known = party(identity)
    assert (known.sha256, len(known.name)) == (SHA256, MAX_NAME)
    assert len(headers(known)[HEADER]) < 4096  # servers take heads of 8 or 16 KiB
    assert read([headers(known)[HEADER]]) == known
