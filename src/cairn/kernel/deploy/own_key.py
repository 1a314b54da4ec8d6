"""The cloud's own SSH key: machines let it in once their agent is there, so that nobody's password has to be kept.

It is one for all nodes of a cloud, and lies sealed in their database. ``ssh`` reads it from a file, so each node has a copy.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cairn.kernel.deploy.model import ONLY, SshKeyPair
from cairn.kernel.deploy.pem import private_folder, write
from cairn.kernel.deploy.sharing import write_first
from cairn.kernel.store.store import Store


class OwnKey:
    """The cloud's key pair, with a copy of its private half in a file that only this node can read.

    Args:
        store: of the cloud.
        path: of the copy, in OpenSSH's form.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self.path = path

    async def file(self) -> Path | None:
        """The file of the private key, as it is in the database; None: no node has needed one yet."""
        row = await self._store.look(lambda tx: tx.get(SshKeyPair, ONLY))
        if row is None:
            return None
        await asyncio.to_thread(self._copy, row.private_key)
        return self.path

    async def public(self) -> str:
        """The line for ``authorized_keys``: commands only, no forwarding of anything. Makes the pair if there is none."""
        if await self.file() is None:
            await write_first(self._store, SshKeyPair(private_key=await asyncio.to_thread(_made)))
            await self.file()
        key = serialization.load_ssh_private_key(self.path.read_bytes(), password=None)
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return f"restrict {line.decode('ascii')} cairn"

    def _copy(self, key: str) -> None:
        try:
            if self.path.read_text(encoding="ascii") == key and not os.stat(self.path).st_mode & 0o077:
                return
        except (FileNotFoundError, ValueError):
            """There is no copy, or one that is damaged."""
        private_folder(self.path.parent)
        write(self.path, key.encode("ascii"), 0o600)


def _made() -> str:
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        .decode("ascii")
    )
