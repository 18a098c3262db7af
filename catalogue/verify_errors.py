"""OpenSSL's verify errors (X509_V_ERR): their names, and the TLS alert with which OpenSSL reports each.

Names are those of x509_vfy.h and X509_STORE_CTX_get_error(3); alerts those of OpenSSL's own table (x509table in
ssl/statem/statem_lib.c, the same from 3.0 to 3.5), in the words of RFC 8446 6.2. An error that the table does not
list is reported as certificate_unknown, "some other (unspecified) issue".

The two tables follow OpenSSL's (Copyright The OpenSSL Project Authors, Apache-2.0).
"""

from __future__ import annotations

_BY_ALERT: dict[str, dict[int, str]] = {
    "unknown_ca": {
        2: "UNABLE_TO_GET_ISSUER_CERT",
        3: "UNABLE_TO_GET_CRL",
        18: "DEPTH_ZERO_SELF_SIGNED_CERT",
        19: "SELF_SIGNED_CERT_IN_CHAIN",
        20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        22: "CERT_CHAIN_TOO_LONG",
        25: "PATH_LENGTH_EXCEEDED",
        79: "INVALID_CA",
    },
    "decrypt_error": {7: "CERT_SIGNATURE_FAILURE"},
    "certificate_expired": {10: "CERT_HAS_EXPIRED", 12: "CRL_HAS_EXPIRED"},
    "certificate_revoked": {23: "CERT_REVOKED"},
    "unsupported_certificate": {26: "INVALID_PURPOSE"},
    "bad_certificate": {
        9: "CERT_NOT_YET_VALID",
        27: "CERT_UNTRUSTED",
        28: "CERT_REJECTED",
        62: "HOSTNAME_MISMATCH",
        64: "IP_ADDRESS_MISMATCH",
        66: "EE_KEY_TOO_SMALL",
        67: "CA_KEY_TOO_SMALL",
        68: "CA_MD_TOO_WEAK",
    },
    "certificate_unknown": {
        24: "NO_ISSUER_PUBLIC_KEY",
        32: "KEYUSAGE_NO_CERTSIGN",
        34: "UNHANDLED_CRITICAL_EXTENSION",
        37: "INVALID_NON_CA",
        41: "INVALID_EXTENSION",
        43: "NO_EXPLICIT_POLICY",
        47: "PERMITTED_VIOLATION",
        48: "EXCLUDED_VIOLATION",
        80: "PATHLEN_INVALID_FOR_NON_CA",
        81: "PATHLEN_WITHOUT_KU_KEY_CERT_SIGN",
        82: "KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA",
        85: "MISSING_AUTHORITY_KEY_IDENTIFIER",
        86: "MISSING_SUBJECT_KEY_IDENTIFIER",
        89: "CA_BCONS_NOT_CRITICAL",
        92: "CA_CERT_MISSING_KEY_USAGE",
    },
}

VERIFY_ERRORS: dict[int, str] = {code: name for codes in _BY_ALERT.values() for code, name in codes.items()}
"""The names without their X509_V_ERR_, by number."""

ALERT_OF: dict[int, str] = {code: alert for alert, codes in _BY_ALERT.items() for code in codes}
"""The RFC 8446 name of the alert that OpenSSL sends for a verify error, by number."""
