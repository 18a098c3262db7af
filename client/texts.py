"""Error texts that mean one thing, whoever says them: those of no certificate, and nginx's."""

from __future__ import annotations

import re

from catalogue.model import NGINX_FAULTY, NGINX_NONE

# What is no matter of certificates.
_ELSEWHERE = (
    (
        r"connection refused|errno 111|ECONNREFUSED|failed to connect|could ?n[o']t connect",
        "nobody listens at that address and port: is the server up, is the port right?",
    ),
    (
        r"could not resolve|name or service not known|getaddrinfo|\bENOTFOUND\b|nodename nor servname",
        "the server's name is not known: is it spelled right, is it in DNS or /etc/hosts?",
    ),
    (r"no such file|ENOENT|can't open", "a file that the tool should load is not there: is the path right?"),
    (
        r"wrong.version.number|http.request( |$|_received)|packet length too long",
        "one side speaks TLS and the other does not: http:// for https://, or the wrong port",
    ),
)
# nginx says no more than this to those it refuses, with status 400.
_OF_NGINX = {
    NGINX_NONE: "nginx asks for a client certificate and got none: the client was given none, or none of a CA that "
    "nginx names (RFC 8446 4.2.4), and withheld it. More: make explain S=client-none",
    NGINX_FAULTY: "nginx refuses the certificate of the client. Why stands in its error log alone, at level info, "
    "with OpenSSL's verify error: client SSL certificate verify error: (10:certificate has expired). Here: make logs. "
    "Which fault has which number: docs/scenarios.md",
}


def meaning_of(text: str) -> tuple[str, str] | None:
    """Return a headline and what such a text means, if it is one of these."""
    for pattern, meaning in _ELSEWHERE:
        if re.search(pattern, text, re.I):
            return "This is not about certificates.", f"Most likely {meaning}"
    for words, meaning in _OF_NGINX.items():
        if words.lower() in text.lower():
            return words, meaning
    return None
