from __future__ import annotations

import json
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cairn.cli.http import HttpClient
from cairn.cli.up.daemon import Daemon
from cairn.cli.up.front import FrontProcess, Side, configuration
from cairn.cli.up.programs import free_port, program

PLAIN = Side(address=("127.0.0.1", 8080), tls=False, nodes={1: ("127.0.0.1", 20001), 2: ("127.0.0.1", 20002)})
SECRET = Side(address=("fd00::1", 8080), tls=True, nodes={1: ("fd00::1", 20001)})


def test_configuration_has_a_part_for_each_address_and_a_line_for_each_node() -> None:
    text = configuration([PLAIN, SECRET])
    assert re.findall("^    (bind .*|server .*|mode .*)$", text, re.M) == [
        "bind 127.0.0.1:8080",
        "mode http",
        "server node-1 127.0.0.1:20001 check",
        "server node-2 127.0.0.1:20002 check",
        "bind [fd00::1]:8080",
        "mode tcp",
        "server node-1 [fd00::1]:20001 check check-ssl verify none",
    ]


def test_only_what_may_be_made_twice_is_sent_to_another_node() -> None:
    (rule,) = re.findall("disable-l7-retry (.*)$", configuration([PLAIN]), re.M)
    assert rule == "unless METH_GET or METH_HEAD or METH_DELETE or { req.hdr(x-job-uuid) -m found }"


def test_errors_of_the_proxy_read_as_those_of_nodes() -> None:
    found = re.findall("http-error status ([0-9]+) .*? string '(.*?)'", configuration([PLAIN]))
    problems = {int(status): json.loads(text) for status, text in found}
    assert {status: problem["code"] for status, problem in problems.items()} == {
        502: "proxy.answer-lost",
        503: "proxy.no-node",
        504: "proxy.answer-lost",
    }
    assert all(problem["status"] == status for status, problem in problems.items())


def test_program_is_started_once_and_takes_changes_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "haproxy"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    signals: list[signal.Signals] = []
    monkeypatch.setattr(Daemon, "tell", lambda daemon, number: signals.append(number))
    front = FrontProcess(tmp_path, {"PATH": f"{tmp_path}:/bin:/usr/bin"})
    try:
        assert front.ensure([PLAIN], "http://x")
        assert not front.ensure([PLAIN], "http://x")
        assert signals == []
        assert not front.ensure([PLAIN, SECRET], "http://x")
        assert signals == [signal.SIGUSR2]
        assert front.file.read_text() == configuration([PLAIN, SECRET])
    finally:
        front.daemon.stop(0)


class Node(BaseHTTPRequestHandler):
    """A node that takes calls, or does not."""

    ready = 200

    def do_GET(self) -> None:
        """Say which one it is."""
        self.send_response(self.ready if self.path == "/readyz" else 200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"2" if self.ready == 200 else b"5")

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


class Leaving(Node):
    """One that is leaving."""

    ready = 503


@pytest.mark.skipif(program("haproxy") is None, reason="haproxy is not installed: make packages")
def test_proxy_takes_the_configuration_and_leads_to_nodes_that_are_ready(tmp_path: Path) -> None:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Node, Leaving)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    nodes = {number: ("127.0.0.1", server.server_port) for number, server in enumerate(servers, 1)}
    address = ("127.0.0.1", free_port(set()))
    url = f"http://127.0.0.1:{address[1]}"
    front = FrontProcess(tmp_path, {"PATH": "/usr/sbin:/usr/bin:/bin"})
    client = HttpClient(url)
    try:
        front.ensure([Side(address=address, tls=False, nodes=nodes)], url)
        front.daemon.await_ready(lambda: "node-2 is DOWN" in front.daemon.last_lines(), 20)
        assert [client.request("GET", "/healthz").body for _ in range(6)] == [b"2"] * 6
    finally:
        client.close()
        front.daemon.stop(0)
        for server in servers:
            server.shutdown()
            server.server_close()
