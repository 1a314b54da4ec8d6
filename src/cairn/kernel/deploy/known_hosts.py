"""The pinned host keys of machines, the same on all nodes of a cloud."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from cairn.kernel.deploy.model import KnownHost
from cairn.kernel.deploy.pem import write
from cairn.kernel.deploy.sharing import write_first
from cairn.kernel.deploy.ssh import HostKey, SshTarget, host_key_changed, parse_keys, wrong_host_key
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Store, Tx

_UUID = re.compile(r"[0-9A-Za-z-]{1,64}")


class KnownHosts:
    """The pinned host keys of machines, the same on all nodes of a cloud.

    They lie in the database. ``ssh`` reads them from files, one for each machine and named by its uuid; a node writes that anew
    whenever it looks what is pinned, which `check` does before each connection.

    Args:
        store: of the cloud.
        folder: of this node's files.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def path(self, uuid: str) -> Path:
        """The known_hosts file of a machine; it is there once `pinned` or `check` has found the machine pinned."""
        if not _UUID.fullmatch(uuid):
            raise CairnError("ssh.bad-name", f"uuid: found {uuid!r}; letters, digits and dashes would fit.")
        return self._folder / uuid

    async def pinned(self, uuid: str) -> tuple[HostKey, ...]:
        """The keys pinned for a machine; empty if it was never seen. The file is as the database says then."""
        path = self.path(uuid)
        row = await self._store.look(lambda tx: tx.get(KnownHost, uuid))
        keys = () if row is None else parse_keys(f"{uuid} {line}" for line in row.host_keys.splitlines())
        await asyncio.to_thread(self._copy, path, "".join(f"{uuid} {key.kind} {key.blob}\n" for key in keys))
        return keys

    async def check(
        self, uuid: str, target: SshTarget, found: Sequence[HostKey], expected: str | None = None
    ) -> tuple[HostKey, ...]:
        """Pin `found` (from `scan_host_key`) if this machine was never seen, else compare. Safe to repeat.

        A key of a kind that was not pinned is not trusted, and does no harm as long as a pinned one is shown too.

        Args:
            expected: the fingerprint that somebody who knows the machine gave. It counts more than what was pinned.

        Returns:
            The keys that are pinned now.

        Raises:
            CairnError: ``ssh.host-key-changed`` if a pinned key differs, or if the host no longer shows any of them;
                ``ssh.wrong-host-key`` if none of `found` has the expected fingerprint.
        """
        pinned = await self.pinned(uuid)
        if expected is not None:
            return await self._check_expected(uuid, target, found, expected, pinned)
        if not pinned and await write_first(self._store, KnownHost(uuid=uuid, host_keys=host_key_lines(found))):
            return await self.pinned(uuid)
        pinned = pinned or await self.pinned(uuid)  # another node has seen it first
        shown = {key.kind: key for key in found}
        wrong = [key for key in pinned if key.kind in shown and shown[key.kind] != key]
        if wrong or not any(shown.get(key.kind) == key for key in pinned):
            was = (wrong or list(pinned))[0]
            raise host_key_changed(target, shown.get(was.kind) or found[0], was)
        return pinned

    async def _check_expected(
        self, uuid: str, target: SshTarget, found: Sequence[HostKey], expected: str, pinned: Sequence[HostKey]
    ) -> tuple[HostKey, ...]:
        wanted = [key for key in found if key.fingerprint == expected.rstrip("=")]
        if not wanted:
            known = [key for key in pinned if key.fingerprint == expected.rstrip("=")]
            raise host_key_changed(target, found[0], known[0]) if known else wrong_host_key(target, found, expected)
        if not set(wanted) <= set(pinned):
            await self._pin(KnownHost(uuid=uuid, host_keys=host_key_lines(wanted)))
        return await self.pinned(uuid)

    async def _pin(self, row: KnownHost) -> None:
        """Pin other keys than before: somebody has said which ones."""
        if not await write_first(self._store, row):
            await self._store.write(lambda tx: tx.update(KnownHost, row.uuid, host_keys=row.host_keys))

    def forget(self, tx: Tx, uuid: str) -> None:
        """Drop the pin, if there is one: the key that is seen next is pinned. Safe to repeat."""
        path = self.path(uuid)
        tx.delete(KnownHost, uuid)
        tx.after_commit(lambda: path.unlink(missing_ok=True))

    def _copy(self, path: Path, text: str) -> None:
        if not text:
            path.unlink(missing_ok=True)
            return
        if path.exists() and path.read_text() == text:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(path, text.encode(), 0o600)


def host_key_lines(keys: Sequence[HostKey]) -> str:
    """The lines that stand for keys in the database."""
    return "".join(f"{key.kind} {key.blob}\n" for key in keys)
