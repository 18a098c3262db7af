"""What the end of a handshake means, in a sentence for those who learn.

The numbers of verify errors, and what each is for, follow OpenSSL's x509_vfy.h (Copyright The OpenSSL Project Authors,
Apache-2.0). The alerts are those of RFC 8446 6.
"""

from __future__ import annotations

_VERIFY = {  # OpenSSL's X509_V_ERR
    2: "The issuer of a certificate in the client's chain was not found.",
    3: "The server must check a revocation list, and has none of the CA that issued the client's certificate.",
    7: "The signature on the client's certificate is not its issuer's: it was altered, or another CA has that name.",
    9: "The client's certificate is not valid yet; perhaps a clock is wrong.",
    10: "The client's certificate has expired: it needs a new one.",
    11: "The server's revocation list is not valid yet; perhaps a clock is wrong.",
    12: "The server's revocation list has expired. Until there is a new one, nobody below its issuer gets in.",
    18: "The client's certificate is signed by itself, so nobody whom the server trusts vouches for it.",
    19: "The client's chain ends in a root that the server does not trust.",
    20: "The server can't build a path from the client's certificate to a CA that it trusts: "
    "another CA issued it, or the client did not send the intermediate.",
    21: "The client sent its certificate alone, and the server does not know who issued it.",
    22: "The client's chain is longer than the server is ready to verify.",
    23: "The client's certificate was revoked by its CA.",
    24: "A certificate in the chain issued another one, and is no CA.",
    25: "A CA in the chain may not have so many CAs below it (path length).",
    26: "The certificate may not be used by a TLS client: its extended key usage lacks clientAuth.",
    47: "A name in the certificate is not one that its CA may issue for (name constraints).",
    66: "The key of the client's certificate is too weak.",
    68: "The client's certificate is signed with a digest that is no longer secure.",
}
_ALERTS = {
    "certificate_required": "The client sent no certificate, and the server requires one.",
    "handshake_failure": "The two found nothing in common; in TLS 1.2 also: the client sent no certificate.",
    "protocol_version": "The client speaks no TLS version that the server allows.",
    "no_application_protocol": "The two have no application protocol in common (ALPN).",
    "decode_error": "A message could not be read.",
    "unexpected_message": "A message came that had no place there.",
    "decrypt_error": "A signature was wrong: the sender does not hold the key of its certificate.",
    "unrecognized_name": "There is no such server here (SNI).",
}
_CLIENT_ALERTS = {
    "unknown_ca": "it does not trust the CA that issued the server's certificate.",
    "bad_certificate": "it found the server's certificate wrong, its name perhaps.",
    "certificate_expired": "the server's certificate has expired.",
    "certificate_unknown": "it could not accept the server's certificate; browsers say so before one clicks on.",
    "unsupported_certificate": "the server's certificate may not be used for a server.",
    "certificate_revoked": "the server's certificate was revoked.",
}
_REASONS = {
    "HTTP_REQUEST": "The client spoke plain HTTP: the address begins with https://.",
    "HTTPS_PROXY_REQUEST": "The client took the server for a proxy.",
    "WRONG_VERSION_NUMBER": "What the client sent is no TLS.",
    "UNSUPPORTED_PROTOCOL": _ALERTS["protocol_version"],
    "NO_SHARED_CIPHER": "The client offers no cipher suite that the server allows.",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _ALERTS["certificate_required"],
    "RESUMED_SESSION_REFUSED": "The client resumed a session whose certificate has since expired, been revoked or "
    "lost its CA. OpenSSL would have let it in; this server judges again.",
}
_OUTCOMES = {
    "lost": "The connection ended before the handshake was over: the client left, and did not say why.",
    "timeout": "The client did not finish its handshake in time.",
    "turned_away": "Too many connections were open: this client was silent, and gave way to a newcomer.",
}


def explanation(
    outcome: str,
    *,
    verify_code: int | None,
    alert: str | None,
    by_client: bool,
    reason: str | None,
    resumed: bool,
    named: bool,
) -> str:
    """Return the sentence. `named`: the client sent a certificate; `by_client`: the alert is the client's."""
    if outcome == "accepted":
        return _accepted(resumed=resumed, named=named)
    if verify_code and reason != "RESUMED_SESSION_REFUSED":
        return _VERIFY.get(verify_code, "The server could not verify the client's certificate.")
    if alert and by_client:
        return "The client refused the server: " + _CLIENT_ALERTS.get(alert, "it says no more than the alert.")
    said = _REASONS.get(reason or "") or _ALERTS.get(alert or "") or _OUTCOMES.get(outcome)
    return said or "The handshake failed; the reason is OpenSSL's own word for it."


def _accepted(*, resumed: bool, named: bool) -> str:
    if resumed:
        return "A session was resumed: no certificate was sent again, and the one from the first handshake counts."
    if named:
        return "The server verified the client's certificate, and the client proved that it holds the key."
    return "The client sent no certificate: it is anonymous, but the connection is encrypted."
