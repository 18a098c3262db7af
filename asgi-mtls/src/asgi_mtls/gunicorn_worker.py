"""The worker class `asgi_mtls.GunicornWorker`: gunicorn starts the processes, Uvicorn with mutual TLS serves in each.

It does for this library what `uvicorn-worker` (Encode OSS, BSD-3-Clause) does for Uvicorn. The master checks everything
before it starts a worker.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

import uvicorn
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from asgi_mtls.environment import of_variables, texts
from asgi_mtls.serving import log_serving
from asgi_mtls.settings import CERT_REQS, Settings, SettingsError, Spelling, parsed
from asgi_mtls.startup_checks import await_certificate, check, check_files
from asgi_mtls.uvicorn_config import MtlsConfig

_OPTIONS = {
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "ssl_ca_certs": "ca_certs",
    "ssl_cert_reqs": "cert_reqs",
    "ssl_ciphers": "ciphers",
}
_TICK_S = 1.0  # how often gunicorn is told that the worker lives
_RETRY_S = 0.5
_logging: set[str] = set()  # the loggers that have gunicorn's handlers


class GunicornWorker(Worker):  # type: ignore[misc]
    """A gunicorn worker that serves an ASGI application with mutual TLS.

    It is named on the command line: `gunicorn -k asgi_mtls.GunicornWorker myapp:app --certfile fullchain.pem ...`. The
    settings of TLS are gunicorn's options, or else UVICORN_SSL_*; the other settings are ASGI_MTLS_*. gunicorn's
    `ssl_version` is not used; UVICORN_SSL_VERSION is. The files are followed; SIGHUP has a worker load them again.

    CONFIG_KWARGS: further options of `uvicorn.Config`, for a class of your own.
    """

    CONFIG_KWARGS: dict[str, Any] = {}

    _server: uvicorn.Server | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Check in the master, before the first worker, that this can be served; gunicorn ends if not."""
        try:
            settings = settings_of(cfg)
            _log_with(log, settings)
            await_certificate(settings)
            check(settings)
            log_serving(settings)
        except SettingsError as error:
            log.error("%s", error.spelled(_spelling(cfg)))
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def init_signals(self) -> None:
        """Have gunicorn's signals do what they do in its other workers; Uvicorn takes SIGTERM and SIGINT later."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGABRT, self.handle_abort)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop without waiting for requests."""
        self.alive = False
        self.cfg.worker_int(self)
        if self._server:
            self._server.should_exit = self._server.force_exit = True

    def run(self) -> None:
        """Serve until gunicorn or `max_requests` ends it."""
        try:
            settings = settings_of(self.cfg)
            _log_with(self.log, settings)
            self._await_files(settings)
            if not self.alive:
                return
            self._server = uvicorn.Server(MtlsConfig(self.wsgi, settings, **self._options(), **self.CONFIG_KWARGS))
            self._server.run(sockets=self.sockets)
        except SettingsError as error:
            self.log.error("%s", error.spelled(_spelling(self.cfg)))
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        if not self._server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _options(self) -> dict[str, Any]:
        return {
            "log_config": None,
            "access_log": bool(self.log.access_log.handlers),
            "backlog": self.cfg.backlog,
            "callback_notify": self._tick,
            "forwarded_allow_ips": self.cfg.forwarded_allow_ips,
            "limit_max_requests": self.max_requests if self.cfg.max_requests > 0 else None,
            "timeout_graceful_shutdown": self.cfg.graceful_timeout,
            "timeout_keep_alive": self.cfg.keepalive,
            "timeout_notify": _TICK_S,
        }

    async def _tick(self) -> None:
        self.notify()
        orphaned = self.ppid != os.getppid()
        if self._server and (orphaned or not self.alive):  # `alive` ends with gunicorn's --reload
            self._server.should_exit = True

    def _await_files(self, settings: Settings) -> None:
        """Check the files; a worker that takes another's place waits for good ones.

        A worker that fails to boot ends gunicorn, and with it all workers that serve on with the files they have.

        Raises:
            SettingsError: a first worker can't use them.
        """
        said = ""
        while self.alive and settings.ssl_certfile:
            try:
                check_files(settings)
                return
            except SettingsError as error:
                if self.age <= self.cfg.workers:
                    raise
                if said != str(error):
                    said = str(error)
                    self.log.error("%s", error.spelled(_spelling(self.cfg)))
            self.notify()
            time.sleep(_RETRY_S)


def settings_of(cfg: Any) -> Settings:
    """Return the settings that gunicorn's options and the environment make.

    Raises:
        SettingsError: they make none, or gunicorn is told what a worker of this class does not do.
    """
    given, of_environment = _given(cfg), texts()
    if getattr(cfg.ssl_context, "__module__", "") != "gunicorn.config":
        fact = "gunicorn's hook is not called: the context of this worker follows its files"
        raise SettingsError("ssl_context", fact, "leave it out")
    if (given or "ssl_certfile" in of_environment) and any(isinstance(address, str) for address in cfg.address):
        fact = "asgi-mtls accepts TCP connections; on a socket file no refused client would get its alert"
        raise SettingsError("--bind", fact, "--bind 127.0.0.1:8443")
    return Settings(**parsed(of_environment | {setting: _text(value) for setting, value in given.items()}))


def _given(cfg: Any) -> dict[str, Any]:
    """Return the settings that gunicorn's options give."""
    return {setting: getattr(cfg, option) for setting, option in _OPTIONS.items() if getattr(cfg, option)}


def _spelling(cfg: Any) -> Spelling:
    """Return how a user of gunicorn names settings: its options, and variables for what they lack."""
    given, of_environment, variables = _given(cfg), texts(), of_variables()

    def name(setting: str) -> str:
        if setting in _OPTIONS and (setting in given or setting not in of_environment):
            return "--" + _OPTIONS[setting].replace("_", "-")
        return variables.name(setting)

    def assign(name: str, value: str) -> str:
        if not name.startswith("--"):
            return variables.assign(name, value)
        return f"{name} {int(CERT_REQS[value]) if value in CERT_REQS else value}" if value else f"leave out {name}"

    return Spelling(name, assign)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, int) else str(value)


def _log_with(log: Any, settings: Settings) -> None:
    """Send what Uvicorn logs to gunicorn's handlers, and events, unless their logger is configured already."""
    loggers = {"uvicorn.error": log.error_log, "uvicorn.access": log.access_log}
    if settings.logger in _logging or not logging.getLogger(settings.logger).hasHandlers():
        loggers[settings.logger] = log.error_log
    for name, gunicorns in loggers.items():
        logger = logging.getLogger(name)
        logger.handlers = list(gunicorns.handlers)
        logger.propagate = False
        logger.setLevel(gunicorns.level)
        _logging.add(name)
