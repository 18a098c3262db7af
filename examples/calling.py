"""Call an mTLS service from a service, with an identity of your own: with httpx (async) or requests (threads).

One `SSLContext` and one connection pool for each identity, made once and shared by all requests: a client made for each
request costs a handshake each. All callers share it, too: so it keeps no cookies, and follows no redirect, which could
take a caller's name elsewhere. When a file of the credential changes, the next call uses it, and what is under way ends
on the old one. It imports nothing but the two libraries: take the file into your service.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import requests
from requests.adapters import HTTPAdapter

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 5.0
POOL = 40  # connections: as many as FastAPI has threads
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)")
_LOGGER = logging.getLogger("calling")
_Pool = TypeVar("_Pool")

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Credential:
    """Who we are and whom we believe: PEM files of our chain (leaf first), its key, and the callee's root."""

    certfile: Path
    keyfile: Path
    trust: Path

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts `trust` alone, checks host names, and presents the certificate.

        Raises:
            OSError: a file can't be read, or OpenSSL can't use it (ssl.SSLError is one).
        """
        context = ssl.create_default_context(cafile=self.trust)
        context.load_cert_chain(self.certfile, self.keyfile, password=_no_pass_phrase)
        return context

    def stamp(self) -> Stamp:
        """Return what changes when a file does.

        Raises:
            OSError: one is not there.
        """
        facts = (path.stat() for path in (self.certfile, self.keyfile, self.trust))
        return tuple((fact.st_mtime_ns, fact.st_size, fact.st_ino) for fact in facts)


def _no_cookies() -> DefaultCookiePolicy:
    """Return the policy of a jar that takes none: what the service sets for one caller is not sent for the next."""
    return DefaultCookiePolicy(allowed_domains=[])


def _no_pass_phrase() -> str:
    raise ssl.SSLError("the key has a pass phrase")  # or OpenSSL would ask for it on the terminal


@dataclass
class _Generation(Generic[_Pool]):
    pool: _Pool
    users: int = 0


class _Current(Generic[_Pool]):
    """The pool of what the files hold now; those before it are handed back to be closed when nobody uses them."""

    def __init__(self, credential: Credential, make: Callable[[ssl.SSLContext], _Pool]) -> None:
        self._credential, self._make = credential, make
        self._lock = threading.Lock()
        self._tried = credential.stamp()
        self._generation = _Generation(make(credential.context()))

    def take(self) -> tuple[_Generation[_Pool], _Pool | None]:
        """Return the current generation, and a pool to close."""
        with self._lock:
            before = self._generation
            self._follow()
            self._generation.users += 1
            idle = before is not self._generation and not before.users
            return self._generation, before.pool if idle else None

    def give_back(self, generation: _Generation[_Pool]) -> _Pool | None:
        """End one use; return a pool to close."""
        with self._lock:
            generation.users -= 1
            return generation.pool if generation is not self._generation and not generation.users else None

    def last(self) -> _Pool:
        return self._generation.pool

    def _follow(self) -> None:
        try:
            stamp = self._credential.stamp()
            if stamp == self._tried:
                return
            self._tried = stamp
            self._generation = _Generation(self._make(self._credential.context()))
            _LOGGER.info("client credential reloaded: %s", self._credential.certfile)
        except OSError as error:  # half written, or a key of another certificate: what was loaded goes on
            _LOGGER.error("client credential kept: %s: %s", self._credential.certfile, error)


class AsyncCaller:
    """An `httpx.AsyncClient` for one identity."""

    def __init__(self, credential: Credential, base_url: str) -> None:
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        limits = httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL)

        def make(context: ssl.SSLContext) -> httpx.AsyncClient:
            # trust_env: no proxy, netrc or SSL_CERT_FILE of the environment comes between the two services.
            return httpx.AsyncClient(
                base_url=base_url,
                verify=context,
                timeout=timeout,
                limits=limits,
                trust_env=False,
                cookies=CookieJar(_no_cookies()),
            )

        self._current = _Current(credential, make)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend the shared client for a request."""
        generation, idle = self._current.take()
        if idle:
            await idle.aclose()
        try:
            yield generation.pool
        finally:
            idle = self._current.give_back(generation)
            if idle:
                await idle.aclose()

    async def aclose(self) -> None:
        await self._current.last().aclose()


class _OneIdentity(HTTPAdapter):
    """Gives urllib3 the context; `cert=` and `verify=` of a request can't give it another identity."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=POOL, pool_block=True)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords, ssl_context=self._context)


class ThreadCaller:
    """A `requests.Session` for one identity. It blocks: call it from a plain `def` route."""

    def __init__(self, credential: Credential, base_url: str) -> None:
        self._base_url = base_url

        def make(context: ssl.SSLContext) -> requests.Session:
            session = requests.Session()
            session.trust_env = False  # REQUESTS_CA_BUNDLE would replace `verify`
            session.verify = str(credential.trust)  # True adds certifi's public roots to the context
            session.cookies.set_policy(_no_cookies())
            session.max_redirects = 0  # one raises TooManyRedirects; httpx follows none unless it is told to
            session.mount("https://", _OneIdentity(context))
            return session

        self._current = _Current(credential, make)

    @contextmanager
    def session(self) -> Iterator[requests.Session]:
        """Lend the shared session for a request."""
        generation, idle = self._current.take()
        if idle:
            idle.close()
        try:
            yield generation.pool
        finally:
            idle = self._current.give_back(generation)
            if idle:
                idle.close()

    def get(self, path: str, headers: dict[str, str]) -> requests.Response:
        with self.session() as session:
            return session.get(self._base_url + path, headers=headers, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))

    def close(self) -> None:
        self._current.last().close()


def tls_reason(error: BaseException) -> str | None:
    """Return why TLS failed, from anywhere inside a library's exception: an alert's name as RFC 8446 section 6 spells
    it, or OpenSSL's own words; None if TLS is not what failed.
    """
    for cause in _causes(error, set()):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the service's certificate was not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            alert = _ALERT.fullmatch(cause.reason)
            return f"the service refused this client: {alert[1].lower()}" if alert else cause.reason
    return None


def _causes(error: object, seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__):
        yield from _causes(inner, seen)
