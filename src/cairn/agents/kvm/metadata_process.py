"""The process that serves one network's metadata: `python -m cairn.agents.kvm.metadata_process`.

Guests talk to it, so it has nothing that they could want: it is in the network's own name space, has no user's rights, no
files, cannot start programs, and knows only what the guests of its network are told. The agent starts it
(`metadata_server`) and tells it of changes over its standard input; when that ends, it ends.

Each message is four bytes with its length, then a `Change` in JSON. It is answered by one byte on the standard output once
it counts; the first byte says that the server is up.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import pwd
import resource
import signal
import socket
import sys

import msgspec
from msgspec import Struct

from cairn.agents.kvm.metadata_http import LIMITS, MetadataHttp
from cairn.agents.protocol.network import MetadataEntry

#: The user that dnsmasq runs as, too.
USER = "nobody"
_CLONE_NEWNET = 0x40000000
_SET_DEATH_SIGNAL = 1
_SET_NO_NEW_PRIVILEGES = 38
_MEMORY_BYTES = 1 << 30
#: Besides connections: the listening socket, standard streams, what the loop needs.
_OTHER_FILES = 32


class Change(Struct, frozen=True, kw_only=True):
    """What guests are told from now on."""

    told: list[MetadataEntry] = []  #: replaces what was known of these addresses
    gone: list[str] = []  #: addresses that nobody has any more


def give_up_rights(root: str) -> None:
    """Keep nothing but what is open: an empty root folder, no user's rights, no programs, no files. Not root: only limits."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    files = LIMITS.connections + _OTHER_FILES
    for kind, most in (
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


async def serve(listening: socket.socket, changes: asyncio.StreamReader, told: int) -> None:
    """Serve on `listening` until `changes` ends; each change that counts is answered by a byte written to the file `told`."""
    known: dict[str, MetadataEntry] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(MetadataHttp(known.get).protocol, sock=listening)
    os.write(told, b"+")
    try:
        while True:
            size = int.from_bytes(await changes.readexactly(4), "big")
            change = msgspec.json.decode(await changes.readexactly(size), type=Change)
            for address in change.gone:
                known.pop(address, None)
            known.update((entry.ip, entry) for entry in change.told)
            os.write(told, b"+")
    except asyncio.IncompleteReadError:
        server.close()


def main(arguments: list[str] | None = None) -> None:
    """``metadata_process --socket FD [--namespace FD] --root FOLDER``: the files are open already."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--namespace", type=int)
    parser.add_argument("--root", required=True)
    options = parser.parse_args(arguments)
    listening = socket.socket(fileno=options.socket)
    if options.namespace is not None:
        _enter(options.namespace)
        os.close(options.namespace)
    asyncio.run(_run(listening, options.root))


async def _run(listening: socket.socket, root: str) -> None:
    reader = asyncio.StreamReader(limit=1 << 16)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    give_up_rights(root)  # everything that is needed has been loaded
    await serve(listening, reader, sys.stdout.fileno())


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
