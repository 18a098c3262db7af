"""Where the lab is, and what a probe is to present: the catalogue joined with the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import catalogue
from catalogue import Catalogue, LabError, ManifestError, Scenario, Sends, Tls, Variant, nearest
from catalogue.manifest import NAME, Issued, Manifest
from catalogue.manifest import load as load_manifest


@dataclass(frozen=True)
class View:
    """The lab as somebody sees it: the probe itself, or the person who pastes its command on the host.

    `certs` is the folder with the manifest, `python` the command that runs a Python with requests. `address` is where
    the server is, if its name does not lead there; else it is empty.
    """

    url: str
    certs: str
    python: str
    address: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    @property
    def connect_to(self) -> str:
        """The host or address to connect to."""
        return self.address or self.host

    @property
    def public_root(self) -> str:
        return f"{self.certs}/public_root.pem"

    def at(self, port: int) -> View:
        """Return the same view of the server on another port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return replace(self, url=f"https://{host}:{port}")

    def named(self, name: str) -> View:
        """Return the view of a server whose certificate is for a name, which need not lead to this machine."""
        if not name or name == self.host:
            return self
        elsewhere = self.host if name == "localhost" else ""  # which leads to whoever asks
        address = "127.0.0.1" if self.host == "localhost" else elsewhere
        return replace(self, url=f"https://{name}:{self.port}", address=address)


@dataclass(frozen=True)
class Attempt:
    """One scenario, presented once: in a TLS version, with files as a view sees them."""

    scenario: Scenario
    issued: Issued | None
    tls: Tls
    view: View

    @property
    def url(self) -> str:
        """What is asked for."""
        return self.view.url + self.scenario.path

    @property
    def address_url(self) -> str:
        """The same with the server's address in place of its name, where the name does not lead there."""
        view = self.view
        return f"https://{view.address}:{view.port}{self.scenario.path}" if view.address else self.url

    @property
    def host_header(self) -> dict[str, str]:
        """The header that names the server where the URL does not."""
        return {"Host": f"{self.view.host}:{self.view.port}"} if self.view.address else {}

    @property
    def http_request(self) -> str:
        """The request that a probe makes which speaks no HTTP itself."""
        return f"GET {self.scenario.path} HTTP/1.1\r\nHost: {self.view.host}\r\nConnection: close\r\n\r\n"

    @property
    def cert(self) -> str | None:
        """The file to present: leaf and intermediates, or the leaf alone; None without a credential."""
        return self._file("fullchain" if self.scenario.sends is Sends.FULLCHAIN else "cert")

    @property
    def chain(self) -> str | None:
        """The intermediates to send, or None if there are none to send."""
        if self.scenario.sends is Sends.LEAF or not self.issued or self.issued.subject == self.issued.issuer:
            return None
        return self._file("chain")

    @property
    def key(self) -> str | None:
        return self._file("privkey")

    def unreadable(self) -> str | None:
        """Return which of the attempt's files can't be read, and why, or None."""
        for path in filter(None, (self.view.public_root, self.cert, self.chain, self.key)):
            try:
                Path(path).open("rb").close()
            except OSError as error:
                return f"{path}: {error.strerror}"
        return None

    @property
    def pass_phrase(self) -> str:
        """The key's pass phrase, empty if it has none."""
        return self.issued.pass_phrase if self.issued else ""

    def _file(self, name: str) -> str | None:
        return f"{self.view.certs}/{self.issued.files[name]}" if self.issued else None


@dataclass(frozen=True)
class Lab:
    """Everything a probe needs: what should happen, what was issued, and where the servers are.

    `ports` has the port of each server that runs besides the default one, by its variant's name.
    """

    catalogue: Catalogue
    manifest: Manifest
    view: View
    shown: View
    server_log: Path | None
    reports: Path
    runtime: str
    ports: Mapping[str, int]

    def attempt(self, scenario: Scenario, tls: Tls) -> Attempt:
        """Return what a probe is to do, at the server that the scenario asks for if that one runs."""
        port = self.ports.get(scenario.server.name)
        return self._attempt(scenario, tls, self.view.at(port) if port else self.view)

    def shown_attempt(self, attempt: Attempt) -> Attempt:
        """Return the same attempt as a person on the host would make it, who has one server."""
        return self._attempt(attempt.scenario, attempt.tls, self.shown)

    def log_of(self, variant: Variant) -> Path | None:
        """Return the log of a server."""
        if self.server_log and variant.name in self.ports:
            return self.server_log.with_name(f"{variant.name}.log")
        return self.server_log

    def _attempt(self, scenario: Scenario, tls: Tls, view: View) -> Attempt:
        issued = self.manifest.credentials[scenario.credential] if scenario.credential else None
        return Attempt(scenario, issued, tls, view)


def knobs(variant: Variant) -> str:
    """Return what to add to `make up` for a server: nothing for the default one."""
    default = Variant()
    words = [f"SERVER_CREDENTIAL={variant.credential}"] if variant.credential != default.credential else []
    words += [f"TRUST={variant.trust}"] if variant.trust != default.trust else []
    words += [f"CRL={variant.crl}"] if variant.crl != default.crl else []
    words += [f"CRL_CHECK={variant.crl_check}"] if variant.crl_check != default.crl_check else []
    return " ".join(words)


def scenario(known: Catalogue, id_: str) -> Scenario:
    """Find a scenario.

    Raises:
        LabError: there is none of that name; the message suggests the nearest.
    """
    if not id_:
        raise LabError("could not choose a scenario", "no scenario was named", "make explain S=client-good")
    if id_ not in known.scenarios:
        fact = f"no such scenario; {nearest(id_, known.scenarios)}"
        raise LabError(f"could not find {id_}", fact, "make explain S=client-good")
    return known.scenarios[id_]


def reports_folder(environ: Mapping[str, str]) -> Path:
    """Return where reports go."""
    return Path(environ.get("LAB_REPORTS") or "reports")


def open_lab(environ: Mapping[str, str]) -> Lab:
    """Join the catalogue with the manifest, and find the server.

    Raises:
        ManifestError: the certificates are missing, or were issued for another catalogue.
    """
    known = catalogue.load()
    certs = environ.get("LAB_CERTS") or ".lab/client-tls"
    url = environ.get("LAB_URL") or "https://localhost:8443"
    path = Path(certs) / NAME
    manifest = load_manifest(path)
    if manifest.catalogue_sha256 != known.sha256:
        fact = "it was issued for another catalogue than this client's (a stale volume)"
        raise ManifestError(f"could not use {path}", fact, "make up")
    absent = [n for n in (*known.credentials, *known.server_credentials) if n not in manifest.credentials]
    if absent:
        raise ManifestError(f"could not use {path}", f"it lacks {', '.join(absent)}", "make clean up")
    log = environ.get("LAB_SERVER_LOG")
    return Lab(
        known,
        manifest,
        View(url, certs, "python3").named(manifest.server_name),
        View(
            environ.get("LAB_SHOWN_URL") or url,
            environ.get("LAB_SHOWN_CERTS") or certs,
            environ.get("LAB_SHOWN_PYTHON") or "python3",
        ).named(manifest.server_name),
        Path(log) if log else None,
        reports_folder(environ),
        environ.get("LAB_RUNTIME") or "local",
        _ports(environ.get("LAB_PORTS", "")),
    )


def _ports(text: str) -> dict[str, int]:
    """Read `server-expired=9001 server-good-validation_root=9002`."""
    pairs = [word.partition("=") for word in text.split()]
    if not all(port.isdigit() for _, _, port in pairs):
        raise LabError("could not read LAB_PORTS", f"{text!r} is no list of name=port", "make test-servers")
    return {name: int(port) for name, _, port in pairs}
