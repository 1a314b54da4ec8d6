"""The proxy before several nodes: HAProxy, at the one address that clients know.

It asks each node twice a second whether it takes calls (``/readyz``), and takes out those that do not: dead ones, and those that
are leaving, which take calls until it has noticed. A connection that a node refuses is tried with the next one, and so is a
request that a node has died with, if it can be made twice.

An address where nodes speak TLS is passed through as it is: the certificate is the nodes' own.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.cli.up.daemon import Daemon
from cairn.cli.up.programs import program
from cairn.kernel.error import ErrorKind
from cairn.kernel.words import titled

#: the longest that a node keeps a client waiting is 300 s
_CONFIG = """global
    log stderr format raw daemon notice
    fd-hard-limit 200000
    hard-stop-after 400s
defaults
    log global
    timeout connect 2s
    timeout check 2s
    timeout queue 10s
    timeout client 330s
    timeout server 330s
    timeout http-keep-alive 110s
    http-error status 502 content-type application/problem+json string '{lost}'
    http-error status 503 content-type application/problem+json string '{none}' hdr Retry-After 2
    http-error status 504 content-type application/problem+json string '{late}'
    # when the file is taken again, a kept connection is closed after an answer, never under a request
    option idle-close-on-response
    option redispatch 1
    # none of them waits, and one that goes to a dead node again costs nothing
    retries 10
    default-server inter 500ms fastinter 200ms fall 3 rise 1
"""
_LOST = (
    "proxy.answer-lost",
    "The node that worked on this call has gone, and whether it was done is not known. With the same X-Job-UUID it may be "
    "made again.",
)
_NONE = ("proxy.no-node", "No management node takes calls just now. Nothing was done; try again in a moment.")
_HTTP = """    mode http
    option forwardfor
    # a request is sent to another node when one has died with it: only those that may be made twice
    http-request disable-l7-retry unless METH_GET or METH_HEAD or METH_DELETE or { req.hdr(x-job-uuid) -m found }
    retry-on conn-failure empty-response
"""
_TCP = """    mode tcp
"""
_CHECK = """    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
"""


class Side(Struct, frozen=True, kw_only=True):
    """An address where clients come, and where the nodes listen for it."""

    address: tuple[str, int]
    tls: bool  #: the nodes speak TLS there
    nodes: Mapping[int, tuple[str, int]]  #: by their numbers


def configuration(sides: Sequence[Side]) -> str:
    """The file for HAProxy."""
    head = _CONFIG.format(lost=_problem(502, *_LOST), none=_problem(503, *_NONE), late=_problem(504, *_LOST))
    return head + "".join(_listen(number, side) for number, side in enumerate(sides, 1))


def _listen(number: int, side: Side) -> str:
    check = "check check-ssl verify none" if side.tls else "check"
    lines = [f"listen api-{number}", f"    bind {_text(side.address)}"]
    lines.append((_TCP if side.tls else _HTTP).rstrip("\n"))
    lines.append(_CHECK.rstrip("\n"))
    lines += [f"    server node-{node} {_text(address)} {check}" for node, address in sorted(side.nodes.items())]
    return "\n".join(lines) + "\n"


def _problem(status: int, code: str, detail: str) -> str:
    """An error as nodes write it."""
    told = {"type": f"urn:cairn:error:{code}", "title": titled(code), "status": status, "code": code, "detail": detail}
    return msgspec.json.encode({**told, "kind": ErrorKind.UNAVAILABLE.value}).decode()


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"{f'[{host}]' if ':' in host else host}:{port}"


class FrontProcess:
    """The proxy of a data folder.

    Args:
        data_dir: its configuration is ``haproxy.cfg`` there.
        environment: it runs with this.
    """

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.daemon = Daemon("front", data_dir)
        self.file = data_dir / "haproxy.cfg"
        self._environment = environment

    def ensure(self, sides: Sequence[Side], url: str) -> bool:
        """Start it, or have it take new addresses of nodes; no call is lost by that. Returns whether it was started."""
        text = configuration(sides)
        changed = not self.file.exists() or self.file.read_text() != text
        self.file.write_text(text)
        if self.daemon.running() is None:
            # -W: a master, which takes the file again at SIGUSR2, without a pause
            self.daemon.start(
                [str(program("haproxy", self._environment)), "-W", "-f", str(self.file)], self._environment, url
            )
            return True
        if changed:
            self.daemon.tell(signal.SIGUSR2)
        return False
