"""What the server's context makes of its files, and of what nobody expects, without a connection."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pki import Authority, CredentialFiles, Pki

from asgi_mtls import reloading_context as context
from asgi_mtls.handshake import NoLongerGoodError
from asgi_mtls.reloading_context import ReloadingContext
from asgi_mtls.revocation import RevocationChecker
from asgi_mtls.settings import Settings


def crl(pki: Pki, *revoked: x509.Certificate, issuer: str = "client_intermediate", **which: Any) -> bytes:
    """A revocation list of one of the authorities."""
    by: Authority = getattr(pki, issuer)
    return by.crl(*revoked, **which)


@pytest.fixture
def live(pki: Pki) -> Callable[..., ReloadingContext]:
    """Make a context of a server that requires certificates, with further settings."""

    def make(**settings: Any) -> ReloadingContext:
        return ReloadingContext(Settings(**pki.tls(**settings)))

    return make


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("asgi_mtls"), "propagate", True)
    caplog.set_level(logging.INFO, "asgi_mtls")
    return lambda: [record.getMessage() for record in caplog.records]


def test_following_goes_on_whatever_happens(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, looks = live(), []
    monkeypatch.setattr(context, "POLL_S", 0)

    def look() -> None:
        looks.append(len(looks))
        if len(looks) < 5:
            raise LookupError(f"nobody thought of this {len(looks) // 2}")

    async def follow() -> None:
        following = asyncio.create_task(loaded.watch())
        while len(looks) < 8 and not following.done():
            await asyncio.sleep(0)
        following.cancel()

    monkeypatch.setattr(loaded, "poll", look)
    asyncio.run(follow())
    assert len(looks) >= 8
    failures = [line for line in said() if line.startswith("following_failed ")]
    assert len(failures) == 3  # each once, not at every look
    assert "nobody thought of this" in failures[0]
    assert " cure=" in failures[0]


def test_any_failure_to_load_keeps_what_is_loaded(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = live()
    before = loaded.loaded

    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(context, "load_context", fail)
    assert loaded.reload("a test") is False
    assert loaded.loaded is before
    assert any(line.startswith("tls_kept ") and "nobody thought of this" in line for line in said())


def test_who_can_not_be_rechecked_is_good_no_longer() -> None:
    problem = RevocationChecker().verify_error([b"\x30\x03abc"])
    assert problem
    assert (problem.verify_code, "can't be judged" in problem.verify_message) == (1, True)


def test_a_certificate_among_the_lists_is_no_trust_anchor(
    live: Callable[..., ReloadingContext], pki: Pki, tmp_path: Path
) -> None:
    lists = crl(pki)
    root = pki.other_root.cert_pem
    file = tmp_path / "lists-and-more.pem"
    file.write_bytes(lists)
    before = live(crl=file).loaded.context.get_ca_certs()
    file.write_bytes(lists + root)
    with pytest.raises(ValueError, match=r"something besides revocation lists in it.* sed -n"):
        live(crl=file)
    file.write_bytes(lists)
    assert live(crl=file).loaded.context.get_ca_certs() == before


def half_way(loaded: ReloadingContext, pki: Pki, credential: CredentialFiles) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A client and the server, which has sent what it has: the client's certificate is still to come."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = loaded.wrap_bio(to_server, to_client, server_side=True)
    client = pki.calling(credential).wrap_bio(to_client, to_server, server_hostname="localhost")
    for end in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
    return client, server


def test_without_a_loop_of_ours_a_refusal_is_raised_at_the_next_step(
    live: Callable[..., ReloadingContext], pki: Pki
) -> None:
    """Where nobody would hang up on who stays, the connection must not be kept open for what is still sent."""
    client, server = half_way(live(), pki, pki.expired)
    client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):  # for the alert to go out
        server.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        server.do_handshake()


def test_a_handshake_under_way_is_rechecked_by_the_lists_that_came_meanwhile(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    def finish(*, revoke: bool) -> None:
        file = tmp_path / "crl.pem"
        file.write_bytes(crl(pki))
        loaded = live(crl=file)
        client, server = half_way(loaded, pki, pki.good)
        file.write_bytes(crl(pki, *[pki.good.certificate] * revoke))
        assert loaded.reload("a test")
        client.do_handshake()
        server.do_handshake()

    finish(revoke=False)
    with pytest.raises(NoLongerGoodError):
        finish(revoke=True)
    refused = [line for line in said() if line.startswith("handshake_refused ")]
    assert len(refused) == 1
    assert "reason=REFUSED_BY_NEW_FILES verify_code=23" in refused[0]


def test_a_file_that_is_cured_with_the_same_size_and_time_is_tried_again(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    """As after `chmod`, which changes neither; the tests may run as root, who reads everything."""
    file = tmp_path / "crl.pem"
    good = crl(pki)
    file.write_bytes(good)
    loaded = live(crl=file)
    file.write_bytes(bytes(len(good)))
    before = file.stat()
    for _ in range(3):
        loaded.poll()
    assert [line.split()[0] for line in said()][-1] == "tls_kept"
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system is coarse
        file.write_bytes(good)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        loaded.poll()
    assert "tls_reloaded" in [line.split()[0] for line in said()]


def test_what_failed_is_tried_again_after_a_minute(
    live: Callable[..., ReloadingContext], monkeypatch: pytest.MonkeyPatch, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(crl(pki))
    loaded = live(crl=file)
    before, load = loaded.loaded, context.load_context

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(context, "load_context", fail)
    file.write_bytes(crl(pki, pki.good.certificate))
    for _ in range(3):
        loaded.poll()
    monkeypatch.setattr(context, "load_context", load)
    loaded.poll()
    assert loaded.loaded is before
    monkeypatch.setattr(context, "_RECHECK_S", -1.0)
    for _ in range(2):
        loaded.poll()
    assert loaded.loaded is not before


def test_nobody_is_hung_up_on_for_an_anchor_that_only_openssl_can_read(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    trust = tmp_path / "trust.pem"
    roots = pki.trust_file.read_text()
    der = pki.client_root.certificate.public_bytes(Encoding.DER)
    of_version_10 = ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1))
    chain = [c.public_bytes(Encoding.DER) for c in (pki.good.certificate, pki.client_intermediate.certificate)]

    def problem(text: str) -> object:
        trust.write_text(text)
        loaded = live(ssl_ca_certs=trust)
        return loaded.loaded.checker.verify_error(chain)

    assert problem(roots) is None
    assert not [line for line in said() if line.startswith("trust_unreadable ")]
    other = pki.other_root.cert_pem.decode()
    assert "removed" in str(problem(other))
    assert problem(of_version_10 + other) is None
    assert len([line for line in said() if line.startswith("trust_unreadable ")]) == 1
    assert said()[-2].endswith(" trust_anchors=2")  # as many as OpenSSL has


def test_a_list_that_is_not_valid_yet_replaces_no_good_one_and_is_told(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(crl(pki))
    loaded = live(crl=file)
    file.write_bytes(crl(pki, days=9, since=1))
    assert loaded.reload("a test") is False
    assert "or not valid yet" in said()[-1]
    live(crl=file)
    assert [line.split()[0] for line in said()][-1] == "crl_not_yet_valid"


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def scope(**which: Any) -> dict[str, Any]:
    """What a list is about, if not about all that its CA has issued (RFC 5280 5.2.5)."""
    names = ("full_name", "relative_name", "only_some_reasons")
    flags = ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs")
    values = dict.fromkeys(names) | dict.fromkeys(flags, False) | which
    return {"critical": [x509.IssuingDistributionPoint(**values)]}


AT_A_PLACE = scope(full_name=[x509.UniformResourceIdentifier("http://lab.test/crl")])
# The lists of the client's CA, in short: whether one revokes it, and how it differs from one of these two days.
REVOKES, STALE, EARLY = {"revokes": True}, {"since": -9, "days": -1}, {"since": 1, "days": 9}
NEWER, OLDER = {"since": -1}, {"since": -3}
OF_ANOTHER_KEY, OF_ANOTHER_CA = {"key": OTHER_KEY}, {"issuer": "client_root"}
OF_NO_CA_HERE = {"issuer": "other_intermediate"}
IN_OTHER_LETTERS = {
    "name": x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EXAMPLE "),
            x509.NameAttribute(NameOID.COMMON_NAME, " CLIENT  Intermediate"),
        ]
    )
}


@pytest.mark.parametrize(
    ("lists", "code"),
    [
        ([{}], 0),
        ([REVOKES], 23),
        ([STALE], 12),
        ([EARLY], 11),
        ([STALE | REVOKES], 12),
        ([STALE, REVOKES], 23),
        ([STALE | REVOKES, {}], 0),
        ([STALE | NEWER | REVOKES, OLDER], 0),
        ([STALE, STALE | OLDER | REVOKES], 12),
        ([NEWER | REVOKES, OLDER], 23),
        ([NEWER, OLDER | REVOKES], 0),
        ([EARLY, REVOKES], 23),
        ([EARLY | REVOKES, {}], 0),
        ([EARLY, STALE | REVOKES], 11),
        ([OF_ANOTHER_CA], 3),
        ([OF_ANOTHER_CA, STALE], 12),
        ([OF_ANOTHER_CA | STALE, REVOKES], 23),
        ([OF_ANOTHER_CA | STALE, {}], 0),
        ([OF_ANOTHER_KEY], 3),
        ([OF_ANOTHER_KEY | NEWER | REVOKES, OLDER], 0),
        ([OF_ANOTHER_KEY, STALE], 12),
        ([{"key_id": False}], 0),
        ([{"key_id": False} | NEWER | REVOKES, OLDER], 23),
        ([{"key_id": False} | OLDER | REVOKES, NEWER], 0),
        ([IN_OTHER_LETTERS], 0),
        ([IN_OTHER_LETTERS | NEWER | REVOKES, OLDER], 23),
        ([scope(only_contains_user_certs=True) | REVOKES], 23),
        ([scope(only_contains_user_certs=True) | NEWER, OLDER | REVOKES], 0),
        ([scope(only_contains_ca_certs=True)], 44),
        ([scope(only_contains_ca_certs=True) | NEWER, OLDER | REVOKES], 23),
        ([scope(only_contains_ca_certs=True) | NEWER, STALE | REVOKES], 12),
        ([scope(only_contains_attribute_certs=True)], 44),
        ([AT_A_PLACE], 44),
        ([AT_A_PLACE | NEWER | REVOKES, OLDER], 0),
        ([REVOKES, STALE, EARLY, OF_ANOTHER_CA, OF_ANOTHER_KEY, OLDER], 23),
        ([REVOKES | OLDER, STALE, EARLY, OF_ANOTHER_CA, OF_ANOTHER_KEY, {}], 0),
    ],
)
def test_openssl_and_the_judge_choose_the_same_list(
    live: Callable[..., ReloadingContext], pki: Pki, tmp_path: Path, lists: list[dict[str, Any]], code: int
) -> None:
    """A new handshake and an open connection get the same verdict, in any order of the lists."""
    file = tmp_path / "crl.pem"
    made = [crl(pki, *[pki.good.certificate] * some.pop("revokes", False), **some) for some in map(dict, lists)]
    for order in (made, made[::-1], made[1:] + made[:1]):
        file.write_bytes(b"".join(order))
        loaded = live(crl=file)
        chain = [pki.good.certificate, pki.client_intermediate.certificate]
        for known in (chain, chain[:1]):  # before Python 3.13 the leaf alone
            problem = loaded.loaded.checker.verify_error([c.public_bytes(Encoding.DER) for c in known])
            assert (problem.verify_code if problem else 0) == code
        assert of_a_new_handshake(loaded, pki) == code


def of_a_new_handshake(loaded: ReloadingContext, pki: Pki) -> int:
    """The verify error of a client that connects now; 0 if it is accepted."""
    client, server = half_way(loaded, pki, pki.good)
    client.do_handshake()
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            server.do_handshake()
        return refused.value.verify_code
    return 0


def test_of_two_lists_of_one_second_the_first_counts(
    live: Callable[..., ReloadingContext], pki: Pki, tmp_path: Path
) -> None:
    """As in OpenSSL, which takes another only if it is newer."""
    file, made = tmp_path / "crl.pem", []
    while len({x509.load_pem_x509_crl(pem).last_update_utc for pem in made}) != 1:
        made = [crl(pki, pki.good.certificate), crl(pki)]
    for order, code in ((made, 23), (made[::-1], 0)):
        file.write_bytes(b"".join(order))
        loaded = live(crl=file)
        problem = loaded.loaded.checker.verify_error([pki.good.certificate.public_bytes(Encoding.DER)])
        assert (problem.verify_code if problem else 0) == code == of_a_new_handshake(loaded, pki)


def test_without_a_key_in_the_certificate_the_issuers_counts_or_each(pki: Pki) -> None:
    """Where the issuer is known, its key counts, as in OpenSSL. With only the leaf a revocation is not missed."""
    by = pki.client_intermediate
    now = datetime.now(UTC)
    names = x509.CertificateBuilder(by.certificate.subject, x509.Name([]), OTHER_KEY.public_key(), 5)
    validity = names.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    client = validity.sign(by.key, hashes.SHA256())
    chain = [certificate.public_bytes(Encoding.DER) for certificate in (client, by.certificate)]

    def codes(*lists: bytes) -> list[int]:
        judge = RevocationChecker([by.certificate], [x509.load_pem_x509_crl(pem) for pem in lists])
        return [problem.verify_code if (problem := judge.verify_error(known)) else 0 for known in (chain, chain[:1])]

    of_another_key = OF_ANOTHER_KEY | NEWER
    assert codes(crl(pki), crl(pki, **of_another_key)) == [0, 0]
    assert codes(crl(pki, client), crl(pki, **of_another_key)) == [23, 23]
    assert codes(crl(pki), crl(pki, client, **of_another_key)) == [0, 23]
    assert codes(crl(pki, **of_another_key)) == [3, 0]
    assert codes() == [3, 3]


def test_lists_in_the_trust_file_count_too(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    """OpenSSL takes them from there, wherever the certificates are checked against lists."""
    trust, file = tmp_path / "trust.pem", tmp_path / "crl.pem"
    trusted = pki.trust_file.read_bytes()
    file.write_bytes(crl(pki, **OLDER))
    for revoked, code in ((True, 23), (False, 0)):
        trust.write_bytes(trusted + crl(pki, *[pki.good.certificate] * revoked))
        loaded = live(ssl_ca_certs=trust, crl=file)
        assert " crls=2 " in next(line for line in reversed(said()) if line.startswith("tls_loaded "))
        problem = loaded.loaded.checker.verify_error([pki.good.certificate.public_bytes(Encoding.DER)])
        assert (problem.verify_code if problem else 0) == code == of_a_new_handshake(loaded, pki)
    assert live(ssl_ca_certs=trust).loaded.checker.lists is None  # where nothing is checked
    assert of_a_new_handshake(live(ssl_ca_certs=trust), pki) == 0


@pytest.mark.parametrize(
    ("which", "fact"),
    [
        ({"critical": [x509.DeltaCRLIndicator(1)]}, "changes"),
        (scope(indirect_crl=True), "several CAs"),
        (scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise])), "some reasons"),
        ({"critical": [x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")]}, "critical extension"),
    ],
)
def test_a_list_that_openssl_takes_for_another_is_refused(
    live: Callable[..., ReloadingContext], pki: Pki, tmp_path: Path, which: dict[str, Any], fact: str
) -> None:
    """OpenSSL 3.0 takes a list of changes for a complete one: a client that is revoked in that one would be let in."""
    file = tmp_path / "crl.pem"
    revokes = crl(pki, pki.good.certificate, **OLDER)
    file.write_bytes(revokes + crl(pki, **NEWER, **which))
    with pytest.raises(ValueError, match=f"{file}: the list of CN=Client Intermediate.* {fact}"):
        live(crl=file)
    file.write_bytes(revokes + crl(pki, **NEWER))
    live(crl=file)


def test_lists_that_openssl_does_not_count_as_the_server_does_are_refused(
    live: Callable[..., ReloadingContext], monkeypatch: pytest.MonkeyPatch, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(crl(pki) + crl(pki, **NEWER) + crl(pki, **OF_ANOTHER_CA) * 2)
    load = context.load_lists
    assert len(live(crl=file).loaded.checker.lists or ()) == 3
    monkeypatch.setattr(context, "load_lists", lambda *files: load(*files)[1:])
    with pytest.raises(ValueError, match=f"{file}: OpenSSL finds something else"):
        live(crl=file)


def about_lists(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("crl_")]


def test_a_stale_list_beside_a_current_one_is_not_told_as_a_refusal(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    current = crl(pki, days=9)
    for others in ([STALE], [EARLY], [STALE, EARLY, STALE | {"since": -11}]):
        made = [crl(pki, **other) for other in others]
        for order in ([current, *made], [*made, current]):
            file.write_bytes(b"".join(order))
            loaded = live(crl=file)
            assert of_a_new_handshake(loaded, pki) == 0
            assert f" crls={len(order)} " in said()[-1]
    assert not about_lists(said())


def test_whose_list_is_stale_is_told_once_and_what_follows(
    live: Callable[..., ReloadingContext], said: Callable[[], list[str]], pki: Pki, tmp_path: Path
) -> None:
    """Beside a current one of another CA, or of another key of the same name."""
    file = tmp_path / "crl.pem"
    stale = [crl(pki, **STALE), crl(pki, since=-11, days=-2)]
    for other in (OF_ANOTHER_CA, OF_ANOTHER_KEY):
        for order in ([*stale, crl(pki, days=9, **other)], [crl(pki, days=9, **other), *stale]):
            file.write_bytes(b"".join(order))
            before = len(said())
            loaded = live(crl=file)
            assert of_a_new_handshake(loaded, pki) == 12
            [line] = about_lists(said()[before:])
            assert line.startswith(f'crl_expired file={file} issuer="CN=Client Intermediate,O=Example" key=')
            assert "every client certificate of this CA is refused (verify error 12)" in line
            latest = x509.load_pem_x509_crl(stale[0])
            assert f'since="{latest.next_update_utc}"' in line
            key = latest.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
            assert key
            assert f" key={key.hex()} " in line


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ([{}], [STALE, REVOKES], True),
        ([{}], [EARLY, REVOKES], True),
        ([{}], [STALE], False),
        ([{}], [EARLY], False),
        ([{}], [STALE, EARLY], False),
        ([STALE, {}], [STALE | NEWER], False),
        ([STALE], [STALE | NEWER], True),
        ([{}, OF_ANOTHER_CA], [REVOKES, OF_ANOTHER_CA | STALE], True),  # what one CA revokes does not wait for another
        ([{}, OF_ANOTHER_CA], [STALE, OF_ANOTHER_CA], True),
        ([{}, OF_ANOTHER_CA], [STALE, OF_ANOTHER_CA | STALE], False),
        ([{}], [OF_ANOTHER_KEY], False),
        ([{}], [OF_ANOTHER_KEY, STALE], False),
        ([{}], [OF_ANOTHER_KEY | STALE, REVOKES], True),
        ([{}], [OF_NO_CA_HERE], False),
        ([{}], [OF_NO_CA_HERE, STALE], False),
        ([{}], [OF_NO_CA_HERE | STALE, REVOKES], True),
        ([STALE], [OF_NO_CA_HERE], True),
    ],
)
def test_lists_that_lock_everybody_out_replace_none_that_let_some_in(
    live: Callable[..., ReloadingContext],
    said: Callable[[], list[str]],
    pki: Pki,
    tmp_path: Path,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    taken: bool,
) -> None:
    file = tmp_path / "crl.pem"

    def made(lists: list[dict[str, Any]]) -> list[bytes]:
        return [crl(pki, *[pki.good.certificate] * some.pop("revokes", False), **some) for some in map(dict, lists)]

    for order in (made(after), made(after)[::-1]):
        file.write_bytes(b"".join(made(before)))
        loaded = live(crl=file)
        file.write_bytes(b"".join(order))
        assert loaded.reload("a test") is taken, said()[-1]
        if REVOKES in after:
            assert of_a_new_handshake(loaded, pki) == 23
        if not taken:
            assert "the new revocation lists have expired, or are of no CA in the trust file" in said()[-1]
