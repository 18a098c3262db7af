"""What can't be served is an error before the start, which names the setting at fault."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pki import Pki

from asgi_mtls import Settings, SettingsError
from asgi_mtls.startup_checks import check_files


def error_of(pki: Pki, **settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check_files(Settings(**pki.tls(**settings)))
    return str(caught.value).removeprefix("error: could not start the server: ")


@pytest.fixture
def encrypted(pki: Pki, tmp_path: Path) -> Path:
    path = tmp_path / "encrypted.pem"
    command = [
        "openssl",
        "pkey",
        "-in",
        str(pki.server.privkey),
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        str(path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_good_files(pki: Pki, encrypted: Path) -> None:
    check_files(Settings(**pki.tls()))
    check_files(Settings(**pki.tls(ssl_keyfile=encrypted, ssl_keyfile_password="secret")))


@pytest.mark.parametrize("setting", ["ssl_certfile", "ssl_keyfile", "ssl_ca_certs"])
@pytest.mark.parametrize(
    "content", ["garbage", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "-----BEGIN X-----\n"]
)
def test_the_file_that_can_not_be_used_is_named(pki: Pki, tmp_path: Path, setting: str, content: str) -> None:
    path = tmp_path / "bad.pem"
    path.write_text(content)
    error = error_of(pki, **{setting: path})
    fact, _, cure = error.partition("\n  try: ")
    assert fact.startswith(f"{setting}: ")
    assert str(path) in fact
    assert str(path) in cure
    others = [pki.tls()[name] for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs") if name != setting]
    assert not any(str(other) in error for other in others)


def test_a_key_that_is_missing(pki: Pki) -> None:
    error = error_of(pki, ssl_keyfile=None)
    assert error == (
        f"ssl_keyfile: not set, and {pki.server.fullchain} has no private key\n  try: ssl_keyfile='privkey.pem'"
    )


def test_a_key_of_another_certificate(pki: Pki) -> None:
    assert error_of(pki, ssl_keyfile=pki.good.privkey).startswith(f"ssl_keyfile: {pki.good.privkey} is not the key of ")


def test_a_key_that_is_encrypted(pki: Pki, encrypted: Path) -> None:
    assert error_of(pki, ssl_keyfile=encrypted).startswith(f"ssl_keyfile_password: not set, and {encrypted} is encry")
    wrong = error_of(pki, ssl_keyfile=encrypted, ssl_keyfile_password="wrong")
    assert wrong.startswith(f"ssl_keyfile_password: it does not open {encrypted}")
    assert "'wrong'" not in wrong


def test_cipher_suites_that_openssl_does_not_know(pki: Pki) -> None:
    assert error_of(pki, ssl_ciphers="nope") == (
        "ssl_ciphers: OpenSSL knows no cipher suite of TLS 1.2 in 'nope'\n  try: ssl_ciphers=None"
    )
