"""The server reads from a PEM file what OpenSSL reads from it, with any text between and around the blocks."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pki import Pki

from asgi_mtls.pem_files import certificates, check_whole, load_context, trust
from asgi_mtls.revocation import load_lists
from asgi_mtls.settings import Settings

Mutation = Callable[[bytes], bytes]


def each_line(prefix: bytes, suffix: bytes = b"") -> Mutation:
    return lambda pem: b"".join(prefix + line + suffix + b"\n" for line in pem.splitlines())


def replaced(old: bytes, new: bytes, count: int = -1) -> Mutation:
    return lambda pem: pem.replace(old, new, count)


def with_trust(pem: bytes) -> bytes:
    """Say in it what it is trusted for."""
    command = ["openssl", "x509", "-trustout", "-addtrust", "clientAuth", "-setalias", "a CA of clients"]
    return subprocess.run(command, input=pem, check=True, capture_output=True).stdout


BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
# OpenSSL takes the block.
READ: dict[str, Mutation] = {
    "as it is": lambda pem: pem,
    "text around": lambda pem: b"subject=CN = a root\n\n" + pem + b"\nnotes\n",
    "CRLF": replaced(b"\n", b"\r\n"),
    "spaces after BEGIN": replaced(BEGIN, BEGIN + b" \t "),
    "spaces after END": replaced(END, END + b" \t "),
    "spaces after each line": each_line(b"", b"  "),
    "an indented body": replaced(b"\nMI", b"\n  MI"),
    "an empty line after BEGIN": replaced(BEGIN, BEGIN + b"\n"),
    "its body on one line": lambda pem: b"\n".join([BEGIN, b"".join(pem.splitlines()[1:-1]), END, b""]),
    "its old name": replaced(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "its name, trusted": replaced(b" CERTIFICATE", b" TRUSTED CERTIFICATE"),
    "what it is trusted for": with_trust,
    "a comment that names BEGIN": lambda pem: b"# " + BEGIN + b" begins each\n" + pem,
    "a byte order mark": lambda pem: b"\xef\xbb\xbf" + pem,
    "BEGIN after 254 bytes of a line": lambda pem: b"#" * 254 + pem,
    "an END without BEGIN before it": lambda pem: END + b"\n" + pem,
    "a block of another kind before it": lambda pem: pem.replace(b"CERTIFICATE", b"PKCS7") + pem,
    "itself once more": lambda pem: pem + pem,
}
# OpenSSL takes the block for text.
TEXT: dict[str, Mutation] = {
    "# before BEGIN": replaced(BEGIN, b"#" + BEGIN),
    "# before each line": each_line(b"#"),
    "# and a space before each line": each_line(b"# "),
    "; before each line": each_line(b"; "),
    "an indented block": each_line(b"    "),
    "a tab before BEGIN": replaced(BEGIN, b"\t" + BEGIN),
    "a vertical tab before BEGIN": replaced(BEGIN, b"\x0b" + BEGIN),
    "a carriage return before BEGIN": replaced(BEGIN, b"\r" + BEGIN),
    "a quoted block": each_line(b'"', b'"'),
    "a block in a mail": each_line(b"> "),
    "BEGIN after 253 bytes of a line": lambda pem: b"#" * 253 + pem,
    "BEGIN after text": replaced(BEGIN, b"here: " + BEGIN),
    "four dashes": replaced(b"-----", b"----"),
    "SSH's dashes": replaced(b"-----BEGIN", b"---- BEGIN"),
    "nothing but END": lambda _: END + b"\n",
}
# OpenSSL takes the block for one of another kind.
OTHER: dict[str, Mutation] = {
    "another name": replaced(b" CERTIFICATE", b" PKCS7"),
    "a name in small letters": replaced(b" CERTIFICATE", b" certificate"),
    "a name with a space behind it": replaced(b"CERTIFICATE-----", b"CERTIFICATE -----"),
    "a request's name": replaced(b" CERTIFICATE", b" CERTIFICATE REQUEST"),
}
# OpenSSL refuses the file, or would take a part of it and say nothing.
REFUSED: dict[str, Mutation] = {
    "no END": lambda pem: pem[: pem.index(END)],
    "an indented END": replaced(END, b" " + END),
    "END after a body without line break": replaced(b"\n" + END, END),
    "cut in the middle": lambda pem: pem[: len(pem) // 2] + b"\n",
    "cut in the line of BEGIN": lambda pem: pem[:15],
    "text after BEGIN": replaced(BEGIN, BEGIN + b" x"),
    "text after END": replaced(END, END + b" x"),
    "letters beyond ASCII after BEGIN": replaced(BEGIN, BEGIN + b"\xc3\xa9"),  # read, where char is signed
    "a block without line breaks": lambda pem: pem.replace(b"\n", b" ") + b"\n",
    "line breaks as \\n": lambda pem: pem.replace(b"\n", b"\\n") + b"\n",
    "line breaks of old Macs": lambda pem: pem.replace(b"\n", b"\r") + b"\n",
    "BEGIN twice": lambda pem: BEGIN + b"\n" + pem,
    "END of another name": replaced(END, b"-----END X509 CERTIFICATE-----"),
    "two spaces after BEGIN": replaced(b"BEGIN ", b"BEGIN  "),
    "six dashes": replaced(BEGIN, BEGIN + b"-"),
    "END and BEGIN on one line": lambda pem: pem.rstrip(b"\n") + pem,
    "a character that base64 lacks": replaced(b"\nMI", b"\nM!I"),
    "a comment in the body": replaced(b"\nMI", b"\n# comment\nMI"),
    "base64 of nothing that is known": replaced(b"\nMI", b"\nAI"),
    "nothing in it": lambda _: BEGIN + b"\n" + END + b"\n",
    "an empty line in the body": lambda pem: b"\n\n".join(pem.rsplit(b"\n", 4)),
    "two empty lines after BEGIN": replaced(BEGIN, BEGIN + b"\n\n"),
    "a header": replaced(BEGIN, BEGIN + b"\nComment: a root\n"),
    "a damaged block of another kind": lambda pem: b"-----BEGIN PKCS7-----\n!\n-----END PKCS7-----\n" + pem,
    "a NUL on a line of its own": lambda pem: b"\0\n" + pem,
    "a NUL in BEGIN": replaced(BEGIN, BEGIN + b"\0"),
    "UTF-16 with a block of ASCII behind it": lambda pem: pem.decode().encode("utf-16") + b"\n" + pem,
    "a byte order mark before a later line": lambda pem: b"the root:\n\xef\xbb\xbf" + pem,
}


def as_list(mutation: Mutation) -> Mutation:
    """The same for a revocation list."""
    return lambda pem: mutation(pem.replace(b"X509 CRL", b"CERTIFICATE")).replace(b"CERTIFICATE", b"X509 CRL")


def placed(pki: Pki, mutation: Mutation) -> list[bytes]:
    """A trust file with a certificate that was changed: alone, and in each place beside others."""
    changed = mutation(pki.client_intermediate.cert_pem)
    first, last = (root.cert_pem for root in (pki.client_root, pki.other_root))
    return [changed, changed + first, first + changed + last, first + changed]


def read(pki: Pki, trust: Path) -> tuple[int, int]:
    """How many certificates the server has read from a trust file, and how many OpenSSL."""
    check_whole([trust])
    context = load_context(Settings(**pki.tls(ssl_ca_certs=trust)))
    return len(certificates(trust)), context.cert_store_stats()["x509"]


def read_lists(file: Path) -> None:
    load_lists(file, [])
    trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), file)


def refusal(pki: Pki, trust: Path) -> str:
    with pytest.raises((OSError, ValueError)) as refused:
        read(pki, trust)
    return str(refused.value)


@pytest.mark.parametrize("mutation", READ.values(), ids=READ)
def test_what_openssl_reads_is_read(pki: Pki, tmp_path: Path, mutation: Mutation) -> None:
    trust = tmp_path / "trust.pem"
    for data, count in zip(placed(pki, mutation), (1, 2, 3, 2), strict=True):
        trust.write_bytes(data)
        assert read(pki, trust) == (count, count)


@pytest.mark.parametrize("mutation", (TEXT | OTHER).values(), ids=TEXT | OTHER)
def test_what_openssl_takes_for_no_certificate_is_none(pki: Pki, tmp_path: Path, mutation: Mutation) -> None:
    trust = tmp_path / "trust.pem"
    for data, count in zip(placed(pki, mutation), (0, 1, 2, 1), strict=True):
        trust.write_bytes(data)
        if count:
            assert read(pki, trust) == (count, count)
        else:
            assert str(trust) in refusal(pki, trust)


@pytest.mark.parametrize("mutation", REFUSED.values(), ids=REFUSED)
def test_what_openssl_refuses_or_reads_half_is_refused_and_named(pki: Pki, tmp_path: Path, mutation: Mutation) -> None:
    trust = tmp_path / "trust.pem"
    for data in placed(pki, mutation):
        trust.write_bytes(data)
        assert str(trust) in refusal(pki, trust)


def test_a_file_cut_at_any_byte_is_refused_or_ends_with_a_block(pki: Pki, tmp_path: Path) -> None:
    trust = tmp_path / "trust.pem"
    first, last = (root.cert_pem for root in (pki.client_root, pki.other_root))
    whole = []
    for length in range(len(first) + 1, len(first + last)):
        trust.write_bytes((first + last)[:length])
        with suppress(ValueError):
            check_whole([trust])
            whole.append(length)
    assert whole == [len(first + last) - 1]  # only its last line break lacks


def test_the_file_of_the_servers_certificate_is_named_too(pki: Pki, tmp_path: Path) -> None:
    chain = tmp_path / "fullchain.pem"
    leaf, separator, rest = pki.server.fullchain.read_bytes().partition(END)
    chain.write_bytes(leaf + separator + rest.replace(b"\nMII", b"\nAII"))
    with pytest.raises(ValueError, match=str(chain)):
        load_context(Settings(ssl_certfile=chain, ssl_keyfile=pki.server.privkey))


def test_a_key_with_headers_is_whole(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey"]  # two blocks
    plain = subprocess.run(command, check=True, capture_output=True).stdout
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret"]
    encrypted = subprocess.run(command, input=plain, check=True, capture_output=True).stdout
    assert b"Proc-Type: 4,ENCRYPTED" in encrypted
    for data in (plain, encrypted):
        key.write_bytes(data)
        check_whole([key])


@pytest.mark.parametrize("mutation", TEXT.values(), ids=TEXT)
def test_what_is_text_among_revocation_lists_is_none(pki: Pki, tmp_path: Path, mutation: Mutation) -> None:
    """A list that is commented out does not count. A commented certificate is not one that OpenSSL would trust."""
    file = tmp_path / "crl.pem"
    one, other = pki.client_intermediate.crl(), pki.client_root.crl()
    for data in (as_list(mutation)(one) + other, other + as_list(mutation)(one)):
        file.write_bytes(data)
        assert len(load_lists(file, [])) == 1
    file.write_bytes(other + mutation(pki.other_root.cert_pem))
    assert len(load_lists(file, [])) == 1


@pytest.mark.parametrize("mutation", REFUSED.values(), ids=REFUSED)
def test_a_file_of_lists_is_refused_as_a_whole(pki: Pki, tmp_path: Path, mutation: Mutation) -> None:
    file = tmp_path / "crl.pem"
    changed, other = as_list(mutation)(pki.client_intermediate.crl()), pki.client_root.crl()
    for data in (changed + other, other + changed):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=str(file)):
            read_lists(file)


@pytest.mark.parametrize("name", ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PRIVATE KEY", "X"])
def test_every_other_block_among_lists_is_refused(pki: Pki, tmp_path: Path, name: str) -> None:
    file = tmp_path / "crl.pem"
    root = pki.other_root.cert_pem
    file.write_bytes(pki.client_intermediate.crl() + root.replace(b"CERTIFICATE", name.encode()))
    with pytest.raises(ValueError, match="something besides revocation lists"):
        load_lists(file, [])
    file.write_bytes(pki.client_intermediate.crl())
    assert len(load_lists(file, [])) == 1
