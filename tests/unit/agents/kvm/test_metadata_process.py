from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import aiohttp
import msgspec
import pytest

from cairn.agents.kvm.metadata_process import Change, main, serve
from cairn.agents.protocol.network import MetadataEntry


def message(change: Change) -> bytes:
    body = msgspec.json.encode(change)
    return len(body).to_bytes(4, "big") + body


async def get(port: int) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/latest/meta-data/hostname") as answered,
    ):
        return answered.status


async def test_changes_count_when_they_are_acknowledged_and_the_end_of_input_is_the_end() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    heard, told = os.pipe()
    changes = asyncio.StreamReader()
    serving = asyncio.create_task(serve(listening, changes, told))

    async def acknowledged() -> bytes:
        return await asyncio.to_thread(os.read, heard, 1)

    assert await acknowledged() == b"+"
    assert await get(port) == 404
    changes.feed_data(message(Change(told=[MetadataEntry(ip="127.0.0.1", vm="a" * 32, hostname="web")])))
    assert await acknowledged() == b"+"
    assert await get(port) == 200
    changes.feed_data(message(Change(gone=["127.0.0.1", "10.0.0.9"])))
    assert await acknowledged() == b"+"
    assert await get(port) == 404
    changes.feed_eof()
    await serving
    os.close(heard)
    os.close(told)


def test_a_process_that_gave_up_its_rights_can_do_nothing_but_serve(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o555)
    script = f"""
import os, socket
from cairn.agents.kvm.metadata_process import give_up_rights
give_up_rights({str(tmp_path / "root")!r})
import resource
limits = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]
try:
    os.fork()
    forked = True
except OSError:
    forked = False
print(os.getuid() != 0, os.getgid() != 0, os.getgroups(), os.listdir("/"), limits, forked)
"""
    if os.geteuid() != 0:
        pytest.skip("only root has rights to give up")
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True True [] [] [0, 0, 0] False", done.stderr


def test_it_wants_its_socket_and_its_folder() -> None:
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    with pytest.raises(SystemExit):
        main([])
    assert resource.getrlimit(resource.RLIMIT_NPROC) == before
