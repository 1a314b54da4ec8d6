from __future__ import annotations

import socket

import pytest
from tests.unit.cli.fakes import FakeNode, served

from cairn.cli.errors import CliError, Exit
from cairn.cli.http import HttpClient, Response, problem_in


def test_wrong_url_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(CliError) as caught:
        HttpClient("ftp://x")
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://127.0.0.1:8080/", "http://127.0.0.1:8080"])
def test_the_same_node_has_one_url(url: str) -> None:
    assert HttpClient(url).url == "http://127.0.0.1:8080"


def test_connection_that_the_node_closed_meanwhile_is_made_again() -> None:
    node = FakeNode()
    with served(node):
        http = HttpClient(node.url)
        http.request("GET", "/readyz")
        assert http._kept is not None
        http._kept.sock.shutdown(socket.SHUT_RDWR)
        assert http.request("GET", "/readyz").status == 200
        http.close()


def test_error_of_something_between_is_told_with_its_words() -> None:
    problem = problem_in(Response(502, b"<html>Bad gateway"))
    assert (problem.status, problem.code) == (502, "cli.http")
    assert "Bad gateway" in problem.detail
