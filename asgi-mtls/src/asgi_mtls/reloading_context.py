"""The server's TLS context, which follows its files while it serves.

Certificate, key, trust file and revocation lists are loaded into an inner context; `ReloadingContext` hands every new
connection to the current one. Replacing it drops the sessions of the old one, and what the new lists revoke is hung up
on. A file that can't be used leaves everything as it is, and says so in the log.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from asgi_mtls.event_log import event
from asgi_mtls.handshake import ExplainedHandshake, HandshakeTerms, explained
from asgi_mtls.handshake_log.recorder import HandshakeLog
from asgi_mtls.peer_certificate import subject_in_words
from asgi_mtls.pem_files import certificates, check_whole, leaf_of, load_context, trust
from asgi_mtls.revocation import (
    RevocationChecker,
    is_about,
    is_current,
    is_early,
    is_partial,
    is_stale,
    key_of,
    load_lists,
)
from asgi_mtls.settings import Settings

POLL_S = 0.5
_SOON = timedelta(days=14)
_REMIND_S = 24 * 3600.0
_RECHECK_S = 60.0
_CURE = "put a good file there: it is taken at once"

Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Loaded:
    """An inner context, and what it was made of."""

    context: ssl.SSLContext
    checker: RevocationChecker
    leaf: x509.Certificate | None
    stamp: Stamp


class ReloadingContext(ssl.SSLContext):
    """A context for Uvicorn's `ssl_context_factory` that is replaced when its files change."""

    settings: Settings
    handshake_log: HandshakeLog | None
    loaded: Loaded

    def __new__(cls, *_: Any) -> ReloadingContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, settings: Settings) -> None:
        """Load the files that the settings name.

        Raises:
            OSError: one can't be read; ssl.SSLError, which is one: or used.
            ValueError: the revocation lists can't be used.
        """
        self.settings = settings
        self.handshake_log = HandshakeLog(settings.open_handshakes) if settings.handshake_log else None
        names = (settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_ca_certs, settings.crl)
        self._paths = [path for path in names if path]
        self.terms = HandshakeTerms()
        self.loaded = self._load()
        self.terms.checker = self.loaded.checker
        self._before = self._tried = self.loaded.stamp
        self._rechecked = self._reminded = time.monotonic()
        self._log_loaded("tls_loaded")

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **keywords: Any
    ) -> ssl.SSLObject:
        """Begin a connection with what is loaded now."""
        handshake = self.loaded.context.wrap_bio(incoming, outgoing, *arguments, **keywords)
        if isinstance(handshake, ExplainedHandshake):
            handshake.incoming, handshake.outgoing = incoming, outgoing
        return handshake

    def reload(self, why: str) -> bool:
        """Load the files again and return whether that worked; if not, what was loaded goes on serving."""
        try:
            loaded = self._load()
            if loaded.stamp != self._stamp():
                return False  # still being written: the next look at the files finds another stamp
            _refuse_worse(loaded.checker, self.loaded.checker)
        except Exception as error:  # whatever it is: it must not end the following
            files = ", ".join(map(str, self._paths))
            event(logging.ERROR, "tls_kept", why=why, files=files, fact=str(error) or repr(error), cure=_CURE)
            return False
        self.loaded = loaded
        self.terms.checker = loaded.checker
        try:
            self._log_loaded("tls_reloaded", why=why)
        finally:
            self.recheck_open_connections()
        return True

    def recheck_open_connections(self) -> None:
        """Hang up on open connections whose certificate has expired, was revoked, or lost its trust anchor."""
        self.terms.recheck_open_connections(self.loaded.checker)

    async def watch(self) -> None:
        """Look at the files, twice a second; nothing but its cancellation ends that."""
        said = ""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self.poll()
            except Exception as error:  # a bug of ours: revocations must not wait for it to be mended
                if said != repr(error):
                    said = repr(error)
                    event(
                        logging.ERROR,
                        "following_failed",
                        fact=said,
                        cure="it goes on; report this, then restart it",
                    )

    def poll(self) -> None:
        """Reload if a file has changed and was left alone for one look; recheck open connections; log what expires."""
        now, stamp = time.monotonic(), self._stamp()
        settled, self._before = stamp == self._before, stamp
        if settled and stamp not in (self._tried, self.loaded.stamp):
            self._tried = stamp
            self.reload("a file changed")
        if now - self._rechecked > _RECHECK_S:
            self._rechecked = now
            self._tried = self.loaded.stamp  # what failed may have been cured elsewhere: descriptors, a folder
            self.recheck_open_connections()
        if now - self._reminded > _REMIND_S:
            self._reminded = now
            self._log_expiry()

    def _load(self) -> Loaded:
        settings = self.settings
        stamp = self._stamp()
        check_whole(path for path in self._paths if path != settings.crl)  # which is read below
        context = load_context(settings)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if settings.verify_strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        if not settings.session_tickets:
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        anchors = certificates(settings.ssl_ca_certs)
        lists = self._check_lists(context, anchors)
        every = len(anchors) == context.cert_store_stats()["x509"]
        checker = RevocationChecker(anchors, lists, chain=settings.crl_check == "chain", every_anchor=every)
        explained(context, checker, self.terms)
        return Loaded(context, checker, leaf_of(settings.ssl_certfile) if settings.ssl_certfile else None, stamp)

    def _check_lists(
        self, context: ssl.SSLContext, anchors: Sequence[x509.Certificate]
    ) -> list[x509.CertificateRevocationList] | None:
        if not self.settings.crl:
            return None
        lists = load_lists(self.settings.crl, anchors, self.settings.ssl_ca_certs)
        trusted = context.cert_store_stats()["x509"]
        trust(context, self.settings.crl)
        stats = context.cert_store_stats()
        if (stats["crl"], stats["x509"]) != (len(lists), trusted):
            raise ValueError(
                f"{self.settings.crl}: OpenSSL finds something else in it than the {len(lists)} lists read here"
            )
        if self.settings.crl_check == "chain":
            # With PARTIAL_CHAIN OpenSSL finds no list for an intermediate that is trusted itself: code 3 for everybody.
            context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_PARTIAL_CHAIN) | ssl.VERIFY_CRL_CHECK_CHAIN
        else:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return lists

    def _stamp(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)

    def _log_loaded(self, name: str, **fields: object) -> None:
        checker, leaf = self.loaded.checker, self.loaded.leaf
        event(
            logging.INFO,
            name,
            **fields,
            certificate=subject_in_words(leaf.public_bytes(Encoding.DER)) if leaf else None,
            serial=f"{leaf.serial_number:x}" if leaf else None,
            expires=leaf.not_valid_after_utc.isoformat() if leaf else None,
            trust_anchors=self.loaded.context.cert_store_stats()["x509"] or None,
            crls=None if checker.lists is None else len(checker.lists),
            crl_check=self.settings.crl_check if self.settings.crl else None,
        )
        if not checker.every_anchor:
            fact = "not every certificate in it can be read here: nobody is hung up on when a CA is removed from it"
            event(logging.WARNING, "trust_unreadable", file=self.settings.ssl_ca_certs, fact=fact)
        self._log_expiry()

    def _log_expiry(self) -> None:
        now = datetime.now(UTC)
        leaf, checker = self.loaded.leaf, self.loaded.checker
        if leaf and leaf.not_valid_after_utc < now:
            event(
                logging.WARNING, "certificate_expired", file=self.settings.ssl_certfile, since=leaf.not_valid_after_utc
            )
        elif leaf and leaf.not_valid_after_utc - now < _SOON:
            until = leaf.not_valid_after_utc
            event(logging.WARNING, "certificate_expires_soon", file=self.settings.ssl_certfile, until=until)
        for crl in checker.lists_in_force(now):
            named = {"file": self.settings.crl, "issuer": crl.issuer.rfc4514_string(), "key": key_of(crl)}
            whose = "that it is about" if is_partial(crl) else "below this CA" if checker.chain else "of this CA"
            refused = f"every client certificate {whose} is refused"
            if is_stale(crl, now):
                fact = f"{refused} (verify error 12) until there is a new list"
                event(logging.ERROR, "crl_expired", **named, since=crl.next_update_utc, fact=fact)
            elif is_early(crl, now):
                fact = f"{refused} (verify error 11) until then; perhaps a clock is wrong"
                event(logging.ERROR, "crl_not_yet_valid", **named, until=crl.last_update_utc, fact=fact)
            elif crl.next_update_utc and crl.next_update_utc - now < _SOON / 7:
                event(logging.WARNING, "crl_expires_soon", **named, until=crl.next_update_utc)
        if (
            checker.lists is not None
            and checker.every_anchor
            and not any(is_about(c, checker.anchors) for c in checker.lists)
        ):
            fact = "it has no list of a CA in the trust file: every client of these is refused (verify error 3)"
            event(logging.ERROR, "crl_of_another_issuer", file=self.settings.crl, fact=fact)


def _refuse_worse(new: RevocationChecker, old: RevocationChecker) -> None:
    """Refuse lists that would lock out everybody whom the old ones let in.

    Where one CA of several has a current list, the new ones are taken: what it revokes must not wait for the others.

    Raises:
        ValueError: no CA in the trust file has a current list among the new ones, and one had among the old ones.
    """
    now = datetime.now(UTC)

    def lets_in(checker: RevocationChecker) -> bool:
        ours = [crl for crl in checker.lists or () if is_about(crl, checker.anchors) or not checker.every_anchor]
        return any(is_current(crl, now) for crl in ours)

    if new.lists is not None and lets_in(old) and not lets_in(new):
        raise ValueError("the new revocation lists have expired, or are of no CA in the trust file, or not valid yet")


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # The time of the status change, too: who may read it is one.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
