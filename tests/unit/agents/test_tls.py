from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.agents.certificates import TestAuthority

from cairn.agents.protocol.peer import PeerContext
from cairn.agents.tls import is_management_node, machine_context, node_context, server_context

NODE, HOST, SERVER = "cairn:node/n1", "cairn:agent/h1", "cairn:agent/b1"


def exchange(server: ssl.SSLContext, client: ssl.SSLContext, address: str = "127.0.0.1") -> str:
    """One connection; what the client has to say of it, or ``ok``. The server's complaint counts as well."""
    complaints: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            try:
                with server.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except (ssl.SSLError, OSError) as error:
                complaints.append(str(error))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as plain,
                client.wrap_socket(plain, server_hostname=address) as tls,
            ):
                tls.send(b"x")
        except (ssl.SSLError, OSError) as error:
            return str(error)
        finally:
            thread.join()
    return complaints[0] if complaints else "ok"


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path / "pki")


def listening(authority: TestAuthority, name: str, uri: str, address: str = "127.0.0.1") -> PeerContext:
    return server_context(authority.issue(name, uri, address=address), lambda serial: False)


def test_a_host_calls_management_nodes_and_no_machine_in_their_place(authority: TestAuthority) -> None:
    client = node_context(authority.issue("h", HOST))

    assert exchange(listening(authority, "n", NODE), client) == "ok"
    assert "not a management node" in exchange(listening(authority, "cairn-management-node", SERVER), client)


def test_a_host_fetches_images_from_the_machine_that_has_the_address(authority: TestAuthority) -> None:
    client = machine_context(authority.issue("h", HOST), lambda serial: False)

    assert exchange(listening(authority, "b", SERVER), client) == "ok"
    assert "IP address mismatch" in exchange(listening(authority, "evil", SERVER, "10.0.0.66"), client)


@pytest.mark.parametrize("make", [machine_context, server_context])
def test_a_revoked_certificate_is_refused_in_both_directions(
    authority: TestAuthority, make: Callable[..., PeerContext]
) -> None:
    other = authority.issue("b", SERVER)
    strict = make(authority.issue("h", HOST), lambda serial: True)
    server, client = (
        (strict, node_or_any(authority))
        if make is server_context
        else (server_context(other, lambda serial: False), strict)
    )

    assert "revoked" in exchange(server, client)


def node_or_any(authority: TestAuthority) -> PeerContext:
    return machine_context(authority.issue("n", NODE), lambda serial: False)


def test_only_a_nodes_certificate_is_a_management_nodes() -> None:
    assert is_management_node({"subjectAltName": (("URI", NODE),)})
    for names in ((("URI", HOST),), (("DNS", "cairn-management-node"),), ()):
        subject = ((("commonName", "cairn-management-node"),),)
        assert not is_management_node({"subject": subject, "subjectAltName": names})
    assert not is_management_node(None)
