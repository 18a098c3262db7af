"""What newman is run with, and what must come of it: each run of `make test-postman`.

Paths are relative to the folder with the Makefile, which the container has a likeness of, so that a run can be repeated
by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catalogue import Mode

COLLECTION = "client/postman/mtls-lab.postman_collection.json"
ENVIRONMENT = "client/postman/mtls-lab.postman_environment.json"
PUBLIC_ROOT = "certs/public_root.pem"

HOST, BARE_HOST = "localhost", "127.0.0.1"  # the environment's: one server, two names
OFF, OPTIONAL, REQUIRED = "1 off", "2 optional", "3 required"
OPTIONAL_WITH, OPTIONAL_WITHOUT = "optional: with a certificate", "optional: without a certificate"
REQUIRED_WITH = "required: with a certificate"
FAULTY, DIRECT = "a faulty certificate", "a refused request"

# What a request failed with: a TLS alert (RFC 8446 6), or Node's error code or text where nothing was sent.
CERTIFICATE_REQUIRED, CERTIFICATE_EXPIRED = "alert 116", "alert 45"
UNKNOWN_CA = "alert 48"

Entry = dict[str, object]  # of a client certificate list


@dataclass(frozen=True)
class Run:
    """One run of newman, and what it must report.

    `failed` is how many assertions must fail, `errors` what requests must fail with, in this order. `entries` is the
    client certificate list, None for none. Without `trust` newman is not told of the public root.
    """

    name: str
    shows: str
    folders: tuple[str, ...]
    options: tuple[str, ...] = ()
    entries: tuple[Entry, ...] | None = None
    failed: int = 0
    errors: tuple[str, ...] = ()
    trust: bool = True
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """What newman must exit with: any failed assertion, and any request without a response, makes it 1."""
        return 1 if self.failed or self.errors else 0

    def command(self, port: int, reports: str) -> list[str]:
        """Return newman's command line; its reports go to files in a folder, named after the run."""
        words = ["newman", "run", COLLECTION, "--environment", ENVIRONMENT, "--env-var", f"port={port}"]
        words += [word for folder in self.folders for word in ("--folder", folder)]
        words += ["--ssl-extra-ca-certs", PUBLIC_ROOT] if self.trust else []
        words += self.options
        words += ["--ssl-client-cert-list", f"{reports}/{self.name}.certificates.json"] if self.entries else []
        words += ["--timeout-request", "10000", "--color", "off"]
        return [*words, "-r", "cli,json", "--reporter-json-export", f"{reports}/{self.name}.json"]


def runs(mode: Mode, port: int, bundles: str) -> tuple[Run, ...]:
    """Return the runs against a server in a mode.

    Args:
        bundles: the folder with `bundle.p12`, `bundle-legacy.p12` and `keyless.p12`.
    """
    good, expired = _pem(HOST, port), _pem(BARE_HOST, port, "client-expired")
    pfx = _pfx(port, f"{bundles}/bundle.p12")
    return {Mode.OFF: _off, Mode.OPTIONAL: _optional, Mode.REQUIRED: _required}[mode](good, expired, pfx) + (
        _mistakes(port, bundles) if mode is Mode.REQUIRED else _ignored(port) if mode is Mode.OPTIONAL else ()
    )


def _off(good: Entry, _: Entry, pfx: Entry) -> tuple[Run, ...]:
    return (
        Run("none", "no certificate", (OFF,)),
        Run("options", "--ssl-client-cert, an expired one: not asked for", (OFF,), _options("client-expired")),
        Run("list-pem", "--ssl-client-cert-list, PEM: not asked for", (OFF,), entries=(good,)),
        Run("list-pfx", "--ssl-client-cert-list, PFX: not asked for", (OFF,), entries=(pfx,)),
    )


def _optional(good: Entry, expired: Entry, pfx: Entry) -> tuple[Run, ...]:
    return (
        Run("none", "no certificate: anonymous", (OPTIONAL_WITHOUT,)),
        Run("options", "--ssl-client-cert: authenticated", (OPTIONAL_WITH,), _options("client-good")),
        Run("list-pem", "PEM for one host: authenticated there, anonymous at the other", (OPTIONAL,), entries=(good,)),
        Run("list-pfx", "PFX for one host: the same", (OPTIONAL,), entries=(pfx,)),
        Run(
            "carrier-expired",
            "an expired certificate is refused, not ignored",
            (FAULTY,),
            entries=(good, expired),
            errors=(CERTIFICATE_EXPIRED,),
        ),
    )


def _ignored(port: int) -> tuple[Run, ...]:
    there = ("--env-var", f"bare_host={HOST}")
    return (
        Run(
            "entries-that-never-match",
            "port, host, scheme, blank or path wrong: nothing is sent, nothing said",
            (OPTIONAL_WITHOUT,),
            there,
            entries=_never_matching(port),
        ),
        Run(  # the twin: with an entry that matches the same assertions fail
            "entry-that-matches",
            "one that matches is sent, and nobody is anonymous",
            (OPTIONAL_WITHOUT,),
            there,
            entries=(*_never_matching(port), _pem(HOST, port)),
            failed=3,
        ),
    )


def _required(good: Entry, expired: Entry, pfx: Entry) -> tuple[Run, ...]:
    both, direct = (REQUIRED,), (DIRECT,)
    refused, unknown = (CERTIFICATE_REQUIRED,), (UNKNOWN_CA,)
    encrypted = ("--ssl-client-passphrase", "mtls-lab", "--env-var", "client=client-encrypted-key")
    foreign = _options("client-untrusted-root")
    return (
        Run("options", "--ssl-client-cert: authenticated", (REQUIRED_WITH,), _options("client-good")),
        Run(
            "passphrase",
            "an encrypted key, --ssl-client-passphrase",
            (REQUIRED_WITH,),
            _options("client-encrypted-key") + encrypted,
        ),
        Run("list-pem", "PEM for one host; without one: refused", both, entries=(good,), errors=refused),
        Run("list-pfx", "PFX for one host; without one: refused", both, entries=(pfx,), errors=refused),
        Run(
            "carrier-expired",
            "an expired certificate: refused",
            (FAULTY,),
            entries=(good, expired),
            errors=(CERTIFICATE_EXPIRED,),
        ),
        Run("none", "no certificate: no response; green test, exit 1", direct, errors=refused),
        Run("untrusted", "a certificate of another CA: no response", direct, foreign, errors=unknown),
    )


def _mistakes(port: int, bundles: str) -> tuple[Run, ...]:
    with_, direct = (REQUIRED_WITH,), (DIRECT,)
    there = ("--env-var", f"bare_host={HOST}")
    never, legacy = _never_matching(port), _pfx(port, f"{bundles}/bundle-legacy.p12")
    keyless = _pfx(port, f"{bundles}/keyless.p12")
    wrong = _pfx(port, f"{bundles}/bundle.p12", "mtls-lob")
    locked = _pem(HOST, port, "client-encrypted-key")
    absent = _pem(HOST, port, "client-that-is-not-there")
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    return (
        Run("list-pfx-legacy", "the older kind of PFX", with_, entries=(legacy,)),
        Run("entries-that-never-match", "not sent: refused", direct, there, never, errors=(CERTIFICATE_REQUIRED,)),
        Run("file-not-there", "not sent: refused", direct, there, (absent,), errors=(CERTIFICATE_REQUIRED,)),
        Run("pfx-keyless", "a PFX without a key", direct, there, (keyless,), errors=("ERR_CRYPTO_OPERATION_FAILED",)),
        Run("pfx-passphrase", "a wrong passphrase", direct, there, (wrong,), errors=("mac verify failure",)),
        Run("key-passphrase", "no passphrase", direct, there, (locked,), errors=("ERR_OSSL_BAD_DECRYPT",)),
        Run(
            "no-trust",
            "the public root was not named",
            direct,
            _options("client-good"),
            errors=("UNABLE_TO_GET_ISSUER_CERT_LOCALLY",),
            trust=False,
        ),
        Run(
            "proxy",
            "HTTPS_PROXY names a proxy",
            direct,
            _options("client-good"),
            errors=("tunneling socket could not be established",),
            environ=proxy,
        ),
    )


def _file(credential: str, name: str) -> str:
    return f"certs/clients/{credential}/{name}"


def _options(credential: str) -> tuple[str, ...]:
    chain, key = _file(credential, "fullchain.pem"), _file(credential, "privkey.pem")
    return ("--ssl-client-cert", chain, "--ssl-client-key", key)


def _entry(matches: str, credential: str) -> Entry:
    chain, key = _file(credential, "fullchain.pem"), _file(credential, "privkey.pem")
    return {"name": credential, "matches": [matches], "cert": {"src": chain}, "key": {"src": key}}


def _pem(host: str, port: int, credential: str = "client-good") -> Entry:
    return _entry(f"https://{host}:{port}/*", credential)


def _pfx(port: int, bundle: str, passphrase: str = "mtls-lab") -> Entry:  # noqa: S107 (documented, and no secret)
    matches = [f"https://{HOST}:{port}/*"]
    return {"name": "bundle", "matches": matches, "pfx": {"src": bundle}, "passphrase": passphrase}


def _never_matching(port: int) -> tuple[Entry, ...]:
    """Return entries for a good certificate that are not used for `https://localhost:PORT/`."""
    patterns = (
        f"https://{HOST}:{port % 65535 + 1}/*",
        f"https://{HOST}/*",  # means port 443
        f"https://{BARE_HOST}:{port}/*",
        f"https://{HOST.upper()}:{port}/*",
        f"http://{HOST}:{port}/*",
        f" https://{HOST}:{port}/*",
        f"https://{HOST}:{port}",  # a pattern has a path
    )
    return tuple(_entry(pattern, "client-good") for pattern in patterns)
