"""The server's TLS context, which follows its files while it serves.

Certificate, key, trust file and revocation lists are loaded into an inner context; `LiveContext` hands every new
connection to the current one. Replacing it drops the sessions of the old one, and what the new lists revoke is hung up
on. A file that can't be used leaves everything as it is, and says so in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server import log, record
from server.files import certificates, check_whole, leaf_of, load_context, trust
from server.handshake import ExplainedHandshake, HandshakeTerms, explained
from server.log import event
from server.peer import subject_in_words
from server.protocol import WithTls
from server.revocation import Judge, is_about, is_current, is_early, is_partial, is_stale, key_of, load_lists
from server.settings import LabSettings, lab_settings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and AEAD only; those of TLS 1.3 all are
POLL_S = 0.5
_SOON = timedelta(days=14)
_REMIND_S = 24 * 3600.0
_JUDGE_S = 60.0
_CURE = "put a good file there: it is taken at once"

Stamp = tuple[tuple[int, ...] | None, ...]


def live_context(config: uvicorn.Config, _: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Uvicorn's `ssl_context_factory`, called in each worker, for what the environment says."""
    lab = lab_settings(os.environ)
    log.configure(lab.log_file, lab.logged_refusals)
    if lab.handshake_log:
        record.HANDSHAKES = record.HandshakeLog()
    WithTls.head_timeout_s = lab.head_timeout_s
    WithTls.proxy = lab.proxy
    return LiveContext(config, lab)


@dataclass(frozen=True)
class Loaded:
    """An inner context, and what it was made of."""

    context: ssl.SSLContext
    judge: Judge
    leaf: x509.Certificate | None
    stamp: Stamp


class LiveContext(ssl.SSLContext):
    """A context for Uvicorn's `ssl_context_factory` that is replaced when its files change."""

    config: uvicorn.Config
    lab: LabSettings
    loaded: Loaded

    def __new__(cls, *_: Any) -> LiveContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, config: uvicorn.Config, lab: LabSettings) -> None:
        """Load the files that the configuration names.

        Raises:
            OSError: one can't be read; ssl.SSLError, which is one: or used.
            ValueError: the revocation lists can't be used.
        """
        self.config, self.lab = config, lab
        names = (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs, lab.crl)
        self._paths = [Path(name) for name in names if name]
        self.terms = HandshakeTerms()
        self.loaded = self._load()
        self.terms.judge = self.loaded.judge
        self._before = self._tried = self.loaded.stamp
        self._judged = self._reminded = time.monotonic()
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
            _refuse_worse(loaded.judge, self.loaded.judge)
        except Exception as error:  # whatever it is: it must not end the following
            files = ", ".join(map(str, self._paths))
            event(logging.ERROR, "tls_kept", why=why, files=files, fact=str(error) or repr(error), cure=_CURE)
            return False
        self.loaded = loaded
        self.terms.judge = loaded.judge
        try:
            self._log_loaded("tls_reloaded", why=why)
        finally:
            self.judge_open()
        return True

    def judge_open(self) -> None:
        """Hang up on open connections whose certificate has expired, was revoked, or lost its trust anchor."""
        self.terms.judge_open(self.loaded.judge)

    async def follow(self) -> None:
        """Look at the files, twice a second; nothing but its cancellation ends that."""
        said = ""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self.look()
            except Exception as error:  # a bug of ours: revocations must not wait for it to be mended
                if said != repr(error):
                    said = repr(error)
                    event(
                        logging.ERROR,
                        "following_failed",
                        fact=said,
                        cure="it goes on; report this, then restart it",
                    )

    def look(self) -> None:
        """Reload if a file has changed and was left alone for one look; judge who is there; remind of what expires."""
        now, stamp = time.monotonic(), self._stamp()
        settled, self._before = stamp == self._before, stamp
        if settled and stamp not in (self._tried, self.loaded.stamp):
            self._tried = stamp
            self.reload("a file changed")
        if now - self._judged > _JUDGE_S:
            self._judged = now
            self._tried = self.loaded.stamp  # what failed may have been cured elsewhere: descriptors, a folder
            self.judge_open()
        if now - self._reminded > _REMIND_S:
            self._reminded = now
            self._log_expiry()

    def _load(self) -> Loaded:
        config, lab = self.config, self.lab
        stamp = self._stamp()
        check_whole(path for path in self._paths if path != lab.crl)  # which is read below
        context = load_context(
            str(config.ssl_certfile),
            str(config.ssl_keyfile) if config.ssl_keyfile else None,
            config.ssl_keyfile_password,
            config.ssl_version,
            config.ssl_cert_reqs,
            config.ssl_ca_certs,
            config.ssl_ciphers or CIPHERS,
        )
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if lab.strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        if not lab.tickets:
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        anchors = certificates(config.ssl_ca_certs)
        lists = self._check_lists(context, anchors)
        every = len(anchors) == context.cert_store_stats()["x509"]
        judge = Judge(anchors, lists, chain=lab.crl_check == "chain", every_anchor=every)
        explained(context, judge, self.terms)
        return Loaded(context, judge, leaf_of(str(config.ssl_certfile)), stamp)

    def _check_lists(
        self, context: ssl.SSLContext, anchors: Sequence[x509.Certificate]
    ) -> list[x509.CertificateRevocationList] | None:
        if not self.lab.crl:
            return None
        lists = load_lists(self.lab.crl, anchors, self.config.ssl_ca_certs)
        trusted = context.cert_store_stats()["x509"]
        trust(context, self.lab.crl)
        stats = context.cert_store_stats()
        if (stats["crl"], stats["x509"]) != (len(lists), trusted):
            raise ValueError(
                f"{self.lab.crl}: OpenSSL finds something else in it than the {len(lists)} lists read here"
            )
        if self.lab.crl_check == "chain":
            # With PARTIAL_CHAIN OpenSSL finds no list for an intermediate that is trusted itself: code 3 for everybody.
            context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_PARTIAL_CHAIN) | ssl.VERIFY_CRL_CHECK_CHAIN
        else:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return lists

    def _stamp(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)

    def _log_loaded(self, name: str, **fields: object) -> None:
        judge, leaf = self.loaded.judge, self.loaded.leaf
        event(
            logging.INFO,
            name,
            **fields,
            certificate=subject_in_words(leaf.public_bytes(Encoding.DER)) if leaf else None,
            serial=f"{leaf.serial_number:x}" if leaf else None,
            expires=leaf.not_valid_after_utc.isoformat() if leaf else None,
            trust_anchors=self.loaded.context.cert_store_stats()["x509"] or None,
            crls=None if judge.lists is None else len(judge.lists),
            crl_check=self.lab.crl_check if self.lab.crl else None,
        )
        if not judge.every_anchor:
            fact = "not every certificate in it can be read here: nobody is hung up on when a CA is removed from it"
            event(logging.WARNING, "trust_unreadable", file=self.config.ssl_ca_certs, fact=fact)
        self._log_expiry()

    def _log_expiry(self) -> None:
        now = datetime.now(UTC)
        leaf, judge = self.loaded.leaf, self.loaded.judge
        if leaf and leaf.not_valid_after_utc < now:
            event(logging.WARNING, "certificate_expired", file=self.config.ssl_certfile, since=leaf.not_valid_after_utc)
        elif leaf and leaf.not_valid_after_utc - now < _SOON:
            until = leaf.not_valid_after_utc
            event(logging.WARNING, "certificate_expires_soon", file=self.config.ssl_certfile, until=until)
        for crl in judge.lists_in_force(now):
            named = {"file": self.lab.crl, "issuer": crl.issuer.rfc4514_string(), "key": key_of(crl)}
            whose = "that it is about" if is_partial(crl) else "below this CA" if judge.chain else "of this CA"
            refused = f"every client certificate {whose} is refused"
            if is_stale(crl, now):
                fact = f"{refused} (verify error 12) until there is a new list"
                event(logging.ERROR, "crl_expired", **named, since=crl.next_update_utc, fact=fact)
            elif is_early(crl, now):
                fact = f"{refused} (verify error 11) until then; perhaps a clock is wrong"
                event(logging.ERROR, "crl_not_yet_valid", **named, until=crl.last_update_utc, fact=fact)
            elif crl.next_update_utc and crl.next_update_utc - now < _SOON / 7:
                event(logging.WARNING, "crl_expires_soon", **named, until=crl.next_update_utc)
        if judge.lists is not None and judge.every_anchor and not any(is_about(c, judge.anchors) for c in judge.lists):
            fact = "it has no list of a CA in the trust file: every client of these is refused (verify error 3)"
            event(logging.ERROR, "crl_of_another_issuer", file=self.lab.crl, fact=fact)


def _refuse_worse(new: Judge, old: Judge) -> None:
    """Refuse lists that would lock out everybody whom the old ones let in.

    Where one CA of several has a current list, the new ones are taken: what it revokes must not wait for the others.

    Raises:
        ValueError: no CA in the trust file has a current list among the new ones, and one had among the old ones.
    """
    now = datetime.now(UTC)

    def lets_in(judge: Judge) -> bool:
        ours = [crl for crl in judge.lists or () if is_about(crl, judge.anchors) or not judge.every_anchor]
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
