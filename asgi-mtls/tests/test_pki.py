"""The certificates of the tests are good to a strict verifier, but for the fault that they are for."""

from __future__ import annotations

import ssl

import pytest
from pki import CredentialFiles, Pki

from asgi_mtls.reloading_context import ReloadingContext
from asgi_mtls.settings import Settings


def verify_code(pki: Pki, client: CredentialFiles) -> int:
    """Do a handshake in memory; return the server's verify error, 0 for none."""
    serving = ReloadingContext(Settings(**pki.tls())).loaded.context
    assert serving.verify_flags & ssl.VERIFY_X509_STRICT
    calling = pki.calling(client)
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [calling.wrap_bio(down, up, server_hostname="localhost"), serving.wrap_bio(up, down, server_side=True)]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            assert end is ends[1], "the client refused the server"
            return error.verify_code
    return 0


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("expired", 10), ("untrusted", 20)])
def test_each_credential_has_one_fault_at_most(pki: Pki, name: str, code: int) -> None:
    assert verify_code(pki, getattr(pki, name)) == code
