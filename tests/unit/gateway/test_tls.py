"""The API is plain for programs of its own machine only, unless somebody says so."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send

from cairn.cli.errors import CliError
from cairn.cli.http import HttpClient
from cairn.gateway.server import HttpServer
from cairn.gateway.tls import ApiCertificate, api_addresses, is_loopback
from cairn.kernel.error import CairnError
from cairn.kernel.settings import Settings
from cairn.testing.shared import authority_in

LISTEN = "127.0.0.1:1,[::1]:2,localhost:3,10.0.0.1:4,0.0.0.0:5,[::]:6"


@pytest.mark.parametrize(
    ("tls", "plain", "secret"), [("auto", 3, 3), ("always", 0, 6), ("never", 6, 0)], ids=["auto", "always", "never"]
)
def test_addresses_that_others_reach_speak_tls_unless_a_setting_says_otherwise(
    tmp_path: Path, tls: str, plain: int, secret: int
) -> None:
    found = api_addresses(Settings(data_dir=tmp_path, listen=LISTEN, tls=tls))
    assert (len(found.plain), len(found.tls)) == (plain, secret)
    if tls == "auto":
        assert all(is_loopback(host) for host, _ in found.plain)


def test_unknown_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="auto, always, never"):
        api_addresses(Settings(data_dir=tmp_path, tls="yes"))


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def _answer(certificate: ApiCertificate, trusted: Path | None) -> bytes:
    """What a client is answered that trusts the authority in a file."""
    server = HttpServer(_app, certificate.context)
    ((_, port),) = await server.start([("127.0.0.1", 0)])
    context = ssl.create_default_context(cafile=trusted)
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"https://127.0.0.1:{port}/", ssl=context) as answer,
        ):
            return await answer.read()
    finally:
        await server.stop()


async def test_clients_that_trust_the_cloud_s_authority_are_served_and_need_no_certificate(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    certificate = ApiCertificate(Settings(data_dir=tmp_path, tls_names="api.example"), authority, ["0.0.0.0"])
    assert await _answer(certificate, authority.certificate_path) == b"{}"
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await _answer(certificate, None)
    assert not certificate.reload()


async def test_command_line_trusts_the_authority_in_the_file_and_says_what_to_do_without(tmp_path: Path) -> None:
    authority = await authority_in(tmp_path / "pki")
    certificate = ApiCertificate(Settings(data_dir=tmp_path), authority, ["127.0.0.1"])
    server = HttpServer(_app, certificate.context)
    ((_, port),) = await server.start([("127.0.0.1", 0)])

    def ask(ca_file: Path | None) -> bytes:
        http = HttpClient(f"https://127.0.0.1:{port}", ca_file)
        try:
            return http.request("GET", "/").body
        finally:
            http.close()

    import asyncio

    assert await asyncio.to_thread(ask, authority.certificate_path) == b"{}"
    with pytest.raises(CliError, match="CAIRN_CA_FILE"):
        await asyncio.to_thread(ask, None)
    await server.stop()


async def _pair(folder: Path) -> tuple[Path, Path]:
    """A certificate of another authority, and its key: the operator's own."""
    other = await authority_in(folder)
    other.issue_node(["127.0.0.1"])
    return folder / "node.crt", folder / "node.key"


async def test_own_certificate_is_shown_and_loaded_again_when_it_changes(tmp_path: Path) -> None:
    certificate, key = await _pair(tmp_path / "own")
    settings = Settings(data_dir=tmp_path, tls_certificate=str(certificate), tls_key=str(key))
    shown = ApiCertificate(settings, await authority_in(tmp_path / "pki"), ["127.0.0.1"])
    assert await _answer(shown, tmp_path / "own" / "ca.crt") == b"{}"
    assert not shown.reload()

    for new, old in zip(await _pair(tmp_path / "new"), (certificate, key), strict=True):
        new.replace(old)
        os.utime(old, ns=(1, 1))
    assert shown.reload()
    assert await _answer(shown, tmp_path / "new" / "ca.crt") == b"{}"

    certificate.write_text("damaged")
    assert not shown.reload()
    assert await _answer(shown, tmp_path / "new" / "ca.crt") == b"{}", "the one that it has goes on"


@pytest.mark.parametrize(("certificate", "key"), [("nothing.crt", "nothing.key"), ("half.crt", ""), ("", "half.key")])
async def test_certificate_that_cannot_be_used_is_named(tmp_path: Path, certificate: str, key: str) -> None:
    settings = Settings(data_dir=tmp_path, tls_certificate=certificate, tls_key=key)
    with pytest.raises(CairnError) as caught:
        ApiCertificate(settings, await authority_in(tmp_path / "pki"), [])
    assert caught.value.code == "settings.bad-certificate"
