"""The httpx library: everything about TLS is in the SSL context that it is given."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from catalogue import Outcome, Tool
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed
from client.probes.in_python import InPython, in_words, load_credential, load_statement
from client.probes.library import answer, failed, listening_context, local_port

_PROGRAM = """\
import httpx, ssl; \
c = ssl.create_default_context(cafile={root}); \
{load}c.minimum_version = c.maximum_version = ssl.TLSVersion.TLSv{tls}; \
r = {get}; print(r.text); r.raise_for_status()"""


class WithHttpx(InPython):
    """`httpx.get(url, verify=context)`."""

    name = Tool.HTTPX

    def version(self) -> str | None:
        import httpx

        return f"httpx {httpx.__version__}"

    def program(self, attempt: Attempt) -> str:
        view = attempt.view
        return _PROGRAM.format(
            root=json.dumps(view.public_root),
            load=load_statement(attempt),
            tls=attempt.tls.replace(".", "_"),
            get=_get(attempt),
        )

    def run(self, attempt: Attempt) -> Observed:
        import httpx

        try:
            context = listening_context(attempt)
            load_credential(context, attempt)
        except OSError as error:  # ssl.SSLError is one
            return Observed(Outcome.NOT_PRESENTED, detail=in_words(error))
        try:
            with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT_S) as client:
                response = client.get(attempt.address_url, **_name(attempt))
        except httpx.HTTPError as error:
            return replace(failed(error, context), local_port=local_port(context))
        return replace(answer(response, httpx.HTTPStatusError), local_port=local_port(context))


def _name(attempt: Attempt) -> dict[str, Any]:
    """Return what names the server where its name does not lead to it."""
    if not attempt.host_header:
        return {}
    return {"headers": attempt.host_header, "extensions": {"sni_hostname": attempt.view.host}}


def _get(attempt: Attempt) -> str:
    """Return the Python expression of a request; only a client takes `extensions`."""
    url, options = json.dumps(attempt.address_url), f"verify=c, trust_env=False, timeout={TIMEOUT_S}"
    names = "".join(f", {key}={json.dumps(value)}" for key, value in _name(attempt).items())
    return f"httpx.Client({options}).get({url}{names})" if names else f"httpx.get({url}, {options})"
