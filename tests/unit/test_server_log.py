"""Why a connection was refused is found in each log: the lab's server's, HAProxy's and nginx's."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from client.server_log import ServerLog

OURS = 'WARNING handshake_refused peer=172.18.0.3:40001 subject="CN=a,O=b" reason=x verify_code=10 tls=1.3\n'
HAPROXY = """\
WARNING handshake_failed peer=172.18.0.3:40002 subject="CN=a,O=b" tls=1.3 verify_code=26 ca_verify_code=0 reason="x"
WARNING handshake_failed peer=172.18.0.3:40003 subject="CN=a,O=b" tls=1.2 verify_code=0 ca_verify_code=10 reason="x"
WARNING handshake_failed peer=172.18.0.3:40004 subject="" tls=1.3 verify_code=0 ca_verify_code=0 reason="x"
INFO request peer=172.18.0.3:40009 status=200 verify_code=0 subject="" request="GET / HTTP/1.1"
"""
NGINX = """\
INFO request peer=172.18.0.3:40005 connection=12 status=400 tls=TLSv1.3 subject="CN=a" request="GET / HTTP/1.1"
2026/11/24 20:06:22 [info] 12#12: *2 client SSL certificate verify error: (9:certificate is not yet valid) while x
2026/11/24 20:06:22 [info] 12#12: *12 client SSL certificate verify error: (10:certificate has expired) while x
2026/11/24 20:06:22 [info] 12#12: *13 client sent no required SSL certificate while reading client request headers
INFO request peer=172.18.0.3:40006 connection=13 status=400 tls=TLSv1.3 subject="-" request="GET / HTTP/1.1"
INFO request peer=172.18.0.3:40007 connection=14 status=400 tls=TLSv1.3 subject="-" request="GET / HTTP/1.1"
INFO request peer=172.18.0.3:40008 connection=12 status=200 tls=TLSv1.3 subject="-" request="GET / HTTP/1.1"
"""


@pytest.fixture
def log(tmp_path: Path) -> ServerLog:
    reading = ServerLog(tmp_path / "log")
    (tmp_path / "log").write_text(OURS + HAPROXY + NGINX)
    return reading


@pytest.mark.parametrize(
    ("port", "code"), [(40001, 10), (40002, 26), (40003, 10), (40004, None), (40005, 10), (40006, None)]
)
def test_the_verify_error_is_found_by_the_port(log: ServerLog, port: int, code: int | None) -> None:
    refusal = log.by_port(port)
    assert refusal
    assert refusal.verify_code == code


@pytest.mark.parametrize("port", [4000, 40007, 40008, 40009, 50000])
def test_what_was_not_refused_for_a_certificate_has_no_reason(log: ServerLog, port: int) -> None:
    """A 400 of the application itself (40007) has a line in the access log and none in the error log."""
    assert log.by_port(port) is None


def test_a_line_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    log = ServerLog(path)
    writer = threading.Timer(0.1, path.write_text, [HAPROXY])
    writer.start()
    refusal = log.by_port(40002, wait_s=10)
    writer.join()
    assert refusal
    assert refusal.verify_code == 26


def test_a_log_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    assert ServerLog(tmp_path / "absent").by_port(40001, wait_s=10) is None
    assert ServerLog(None).by_port(40001, wait_s=10) is None
    assert time.monotonic() - start < 5
