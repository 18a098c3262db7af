"""The requests library, as a person would use it; an adapter pins the TLS version, which requests has no option for."""

from __future__ import annotations

import json
from dataclasses import replace

from catalogue import Outcome, Tool
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed
from client.probes.in_python import InPython, in_words, json_tuple
from client.probes.library import answer, failed, listening_context, local_port

_PROGRAM = """\
import requests, ssl; from requests.adapters import HTTPAdapter; \
s = requests.Session(); s.trust_env = False; a = HTTPAdapter(); s.mount("https://", a); v = ssl.TLSVersion.TLSv{tls}; \
a.init_poolmanager(1, 1, ssl_minimum_version=v, ssl_maximum_version=v{name}); \
r = s.get({url}, {host}verify={root}, {cert}timeout={timeout}); print(r.text); r.raise_for_status()"""


class WithRequests(InPython):
    """`requests.get(url, verify=..., cert=(..., ...))`."""

    name = Tool.REQUESTS

    def version(self) -> str | None:
        import requests

        return f"requests {requests.__version__}"

    def lacks(self, attempt: Attempt) -> str | None:
        if attempt.pass_phrase:
            return "its cert=(certificate, key) has no place for a pass phrase (psf/requests#2519)"
        return None

    def program(self, attempt: Attempt) -> str:
        view = attempt.view
        return _PROGRAM.format(
            root=json.dumps(view.public_root),
            tls=attempt.tls.replace(".", "_"),
            url=json.dumps(attempt.address_url),
            name=f", server_hostname={json.dumps(view.host)}" if view.address else "",
            host=f"headers={json.dumps(attempt.host_header)}, " if view.address else "",
            cert=f"cert={json_tuple(attempt.cert, attempt.key)}, " if attempt.cert else "",
            timeout=TIMEOUT_S,
        )

    def run(self, attempt: Attempt) -> Observed:
        import requests

        view = attempt.view
        cert = (attempt.cert, attempt.key) if attempt.cert and attempt.key else None
        try:
            context = listening_context(attempt)
        except OSError as error:  # ssl.SSLError is one
            return Observed(Outcome.NOT_PRESENTED, detail=f"{in_words(error)} ({view.public_root})")
        context.hostname_checks_common_name = False  # as in the context that urllib3 would have made
        with requests.Session() as session:
            session.trust_env = False  # neither proxies nor REQUESTS_CA_BUNDLE, which would override verify
            adapter = requests.adapters.HTTPAdapter()
            name = view.host if view.address else None
            adapter.init_poolmanager(1, 1, ssl_context=context, server_hostname=name)
            session.mount("https://", adapter)
            try:
                url, headers = attempt.address_url, attempt.host_header
                response = session.get(url, headers=headers, verify=view.public_root, cert=cert, timeout=TIMEOUT_S)
            except requests.RequestException as error:
                return replace(failed(error, context), local_port=local_port(context))
            except OSError as error:  # the key or certificate could not be loaded
                return Observed(Outcome.NOT_PRESENTED, detail=in_words(error))
        return replace(answer(response, requests.HTTPError), local_port=local_port(context))
